"""The floors of the house: a file imports from its own floor or from below, without a circle."""

import ast
import graphlib
import sys
from pathlib import Path

import pytest

import npformer

ROOT = Path(npformer.__file__).parent
FLOORS = [
    {"_lazy", "_version"},
    {"core", "verify"},
    {"masks"},
    {"biases"},
    {"functional"},
    {"layers"},
    {"models", "formats", "audio"},
    {"training", "generation", "interop", "catalogue"},
    {"survey"},
    {"__main__", "cli", "recipes", "hub", "compare", "ablate", "explain"},
]
FLOOR = {part: level for level, parts in enumerate(FLOORS) for part in parts}


def dotted(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {dotted(path): path for path in sorted(ROOT.rglob("*.py"))}


class WhatRuns(ast.NodeTransformer):
    """Drops what is there for type checkers only."""

    def visit_If(self, node):
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


def imports(module, running=False):
    """Full names of what a file imports, also inside functions and for type checkers."""
    path = FILES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    tree = ast.parse(path.read_text())
    for node in ast.walk(WhatRuns().visit(tree) if running else tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                yield whole if whole in FILES else source


def part(module):
    return module.split(".")[1]


OURS = [module for module in FILES if module != "npformer"]


@pytest.mark.parametrize("module", OURS)
def test_a_file_imports_from_no_floor_above_its_own(module):
    for name in imports(module):
        if name.startswith("npformer"):
            assert FLOOR[part(name)] <= FLOOR[part(module)], f"{module} imports {name}"


@pytest.mark.parametrize("module", [m for m in OURS if part(m) in ("core", "verify")])
def test_the_checker_stands_on_the_core_alone_and_the_core_on_itself(module):
    allowed = {"core", "verify", "_lazy"} if part(module) == "verify" else {"core"}
    for name in imports(module):
        if name.startswith("npformer"):
            assert part(name) in allowed, f"{module} imports {name}"


@pytest.mark.parametrize("module", FILES)
def test_only_numpy_and_the_standard_library_are_imported_outright(module):
    outside = {name.partition(".")[0] for name in imports(module)} - {"npformer", "numpy"}
    assert outside <= sys.stdlib_module_names


def test_no_file_imports_itself_by_way_of_others():
    graph = {module: {n for n in imports(module, running=True) if n in FILES} for module in OURS}
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError with the circle


def test_every_part_has_a_floor():
    assert {part(module) for module in OURS} <= FLOOR.keys()


def test_an_operation_keeps_its_backward_beside_it():
    for module in OURS:
        *_, folder, stem = module.split(".")
        if folder == "functional" and not stem.startswith("_"):
            tree = ast.parse(FILES[module].read_text())
            defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert {stem, f"{stem}_backward"} <= defined
