"""How Sphinx makes the site: `sphinx-build -W -c docs . build/site` in the repository's folder.

The source is the whole repository, so that the pages' links, which lead from file to file, hold
on the site as they stand. `website` has what Sphinx and MyST do not do by themselves.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

import npformer  # noqa: E402

project = "npformer"
copyright = "the authors of npformer, MIT licence"
version = release = npformer.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.linkcode",
    "numpydoc",
    "website.equations",
    "website.diagrams",
    "website.contents",
    "website.reference",
    "website.sources",
    "website.check",
]

root_doc = "docs/index"
include_patterns = [
    "README.md",
    "tests/**/README.md",
    "docs/*.md",
    "docs/**/*.md",
    "docs/api/*.rst",
]
exclude_patterns = [".*", "build", "dist", "runs", "npformer", "benchmarks"]

# GitHub's Markdown.
myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math", "mermaid"]
myst_heading_anchors = 4

default_role = "py:obj"
numpydoc_show_class_members = False
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
maximum_signature_line_length = 80

html_theme = "furo"
html_title = f"npformer {version}"
html_math_renderer = "mathml"
templates_path = ["website"]
html_additional_pages = {"index": "start.html"}
html_static_path = ["website/site.css"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
