"""The numbered equations: how they are read from a module's docstring, and from its comments."""

import ast
import io
import re
import tokenize
from pathlib import Path

import npformer

ROOT = Path(npformer.__file__).parent
TAG = r"\((\d+'?)\)"
FILES = {
    path.relative_to(ROOT).as_posix(): path
    for folder in ("functional", "layers", "models")
    for path in sorted((ROOT / folder).glob("*.py"))
}


def docstring(path):
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")), clean=False) or ""


def in_docstring(text):
    """The tags that open an equation, in their order: indented, perhaps behind "pre"."""
    return re.findall(rf"^ {{4,}}(?:pre +)?{TAG} ", text, re.MULTILINE)


def named(text):
    """The tags in a comment: single ones, and all of "(1) - (3)" or "(3') to (1')"."""
    tags = set()
    for first, last in re.findall(rf"(?<!\w){TAG}(?:\s*(?:-|to)\s*{TAG})?", text):
        prime = "'" if first.endswith("'") else ""
        low, high = sorted(int(tag.rstrip("'")) for tag in (first, last or first))
        tags |= {f"{n}{prime}" for n in range(low, high + 1)}
    return tags


def in_code(source):
    """The tags in comments, and in the first docstring line of a helper: "Equations (1) to ..."."""
    tags = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            tags |= named(token.string)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            first_line = (ast.get_docstring(node) or "").partition("\n")[0]
            if first_line.startswith("Equation"):
                tags |= named(first_line)
    return tags


NUMBERED = [name for name, path in FILES.items() if in_docstring(docstring(path))]
