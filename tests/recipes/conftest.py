"""Recipes made tiny."""

from support.recipes import book, command, small

__all__ = ["book", "command", "small"]
