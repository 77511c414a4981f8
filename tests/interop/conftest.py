"""Recipes made tiny, for their pictures."""

from support.recipes import book, command, runs, small

__all__ = ["book", "command", "runs", "small"]
