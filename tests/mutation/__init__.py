"""Mutations of the backward passes, and which of them the tests do not notice."""
