"""What makes a site of the repository's pages and docstrings, as extensions of Sphinx's."""
