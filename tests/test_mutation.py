"""The mutation runner: what it changes, what it finds alive, and that its list is up to date."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from mutation.mutate import bare, drawn, mutants
from mutation.score import Row, fingerprint, read, write
from mutation.targets import Target, targets

import npformer
import npformer.functional as F
from npformer import layers

MUTATION = Path(__file__).parent / "mutation"
PACKAGE = Path(npformer.__file__).parent

OPERATION = '''
def scale(x, weight):
    return x * weight, weight


def scale_backward(dy, saved):
    """Not mutated."""
    return _times(dy, saved)


def _times(dy, weight):
    return dy * weight
'''
TEST = """
from npformer.functional.scale import scale_backward


def test_gradient():
    assert scale_backward(3.0, {weight}) == 3.0 * {weight}
"""
SLOW = "(sum(range(10**6)) and 2.0)"  # a weight of 2 that takes its time
QUICK = """
from npformer.functional.scale import _times


def test_quick():
    assert _times(3.0, 1.0) == 3.0
"""
TRUE = """@ functional/scale.py scale_backward
- return _times(dy, saved)
+ return _times(saved, dy)
= a product does not mind
"""


def afters(source):
    (function,) = ast.parse(source).body
    return {mutant.after for mutant in mutants(function)}


def test_formulas_are_mutated():
    found = afters('def f(dy, x, w):\n    "y"\n    dx = dy @ w.T\n    return dx - 2.0 * x, -x')
    assert found >= {
        "dx = dy * w.T", "dx = w.T @ dy", "dx = dy @ w", "dx = dy", "dx = w.T", "dx = x @ w.T",
        "dx = -(dy @ w.T)", "dx = 1.001 * (dy @ w.T)",
        "return (dx + 2.0 * x, -x)", "return (2.0 * x - dx, -x)", "return (dx, -x)",
        "return (dx - 1.0 * x, -x)", "return (dx - x, -x)", "return (dx - 2.0 * dx, -x)",
        "return (-x, dx - 2.0 * x)", "return (dx - 2.0 * x, x)",
    }  # fmt: skip


def test_calls_conditions_and_statements_are_mutated():
    found = afters(
        "def f(self, dy, n):\n"
        "    dx = np.sum(dy, axis=-1, keepdims=True).copy()\n"
        "    dx *= n\n"
        "    self.weight.add_grad(dx)\n"
        "    if n > 1 and not dx.ndim:\n"
        "        dx = dx * n\n"
        "    return dx[..., 0]"
    )
    assert found >= {
        "dx = np.sum(dy, axis=-1, keepdims=True)", "dx = dy.copy()",
        "dx = np.sum(dy, axis=0, keepdims=True).copy()",
        "dx = np.sum(dy, axis=-2, keepdims=True).copy()", "dx = np.sum(dy, axis=-1).copy()",
        "dx = np.sum(dy, axis=-1, keepdims=False).copy()",
        "dx = np.mean(dy, axis=-1, keepdims=True).copy()",
        "dx /= n", "dx += n", "dx = n", "pass", "self.weight.add_grad(-dx)",
        "if n >= 1 and (not dx.ndim):", "if n > 1 or not dx.ndim:", "if n > 1:", "if True:",
        "if not (n > 1 and (not dx.ndim)):", "if n > 1 and dx.ndim:",
        "dx *= n dx = dx", "return dx", "return dx[..., 1]",
    }  # fmt: skip


def test_what_python_itself_warns_of_is_no_mutant():
    """Where warnings are errors, as in our tests, it would end the run."""
    found = afters("def f(x, flag):\n    y = (x if flag else 0)[0]\n    return y")
    assert "y = x[0]" in found
    assert "y = 0[0]" not in found


def test_mutants_differ_and_leave_the_function_as_it_was():
    for target in targets(PACKAGE)[:3]:
        before = ast.unparse(target.node)
        sources = [mutant.source for mutant in mutants(target.node)]
        assert len(sources) == len(set(sources)) > 10
        assert ast.unparse(target.node) == before


def test_a_sample_is_drawn_by_its_seed_and_in_order():
    (function,) = ast.parse("def f(dy, x, w):\n    dx = dy @ w.T\n    return dx - 2.0 * x, -x").body
    made = mutants(function)
    some = drawn(made, 5, 0)
    assert len(some) == 5
    assert some == drawn(made, 5, 0) == [m for m in made if m in some]
    assert some != drawn(made, 5, 1)
    assert set(some) < set(drawn(made, 6, 0))
    assert drawn(made, None, 0) == drawn(made, len(made) + 1, 0) == made


def test_every_backward_is_a_target():
    names = {target.qualname for target in targets(PACKAGE)}
    backward = {name for name in F.__all__ if name.endswith("_backward")}
    built = {name for name in layers.__all__ if issubclass(getattr(layers, name), npformer.Layer)}
    assert names >= backward | {f"{name}.backward" for name in built}
    assert names >= {"residual_backward", "unbroadcast", "Parameter.add_grad"}
    assert names >= {"_turn", "_exact", "MultiHeadAttention._cut"}  # helpers of theirs
    assert names >= {"_head_backward", "_Case.groups", "_Case.works", "_Head.scores", "mix"}
    assert names >= {"_Relative.add_gradient", "_ByDistance._distances", "_diagonal_sums"}


def test_what_is_listed_as_equivalent_is_still_a_mutant():
    lines = (MUTATION / "equivalents.txt").read_text(encoding="utf-8").splitlines()
    assert {line[:2] for line in lines} <= {"# ", "@ ", "- ", "+ ", "= "}
    by_name = {target.name: target for target in targets(PACKAGE)}
    for line in lines:
        if line[0] == "@":
            made = mutants(by_name[line[2:]].node)
            known = {(bare(m.before), bare(m.after)) for m in made}
        elif line[0] == "-":
            before = bare(line[2:])
        elif line[0] == "+":
            assert (before, bare(line[2:])) in known


def test_the_record_keeps_what_was_tried_of_the_same_code(tmp_path):
    path, two = tmp_path / "README.md", targets(PACKAGE)[:2]
    path.write_text("# What it is\n\n")
    (one, code), (other, its) = ((target.name, fingerprint(target)) for target in two)

    def record(**new):
        write(path, two, {one: new["a"], other: new["b"]} if new else {}, lambda _: 99)
        return read(path)

    write(path, two, {one: Row(code, 50, 9, 1)}, lambda _: 99)
    assert read(path) == {one: Row(code, 50, 9, 1), other: Row(its, 99), "all": Row("", 149, 9, 1)}
    rows = record(a=Row(code, 50, 8, 1), b=Row(its, 99, 5, 1, 1))
    assert rows[one] == Row(code, 50, 9, 1)  # of which more had been tried
    assert rows[other] == Row(its, 99, 5, 1, 1)
    assert record(a=Row(code, 50, 10), b=Row(its, 99, 4))[one] == Row(code, 50, 10)
    text = path.read_text()
    assert text.startswith("# What it is\n\n| function |")
    assert text.endswith("| all |  | 149 | 17 | 15 | 1 | 1 |\n")
    path.write_text(text.replace(its, "00000000"))  # as if the function had changed
    assert record()[other] == Row(its, 99)


def test_a_fingerprint_is_the_code_s_alone():
    one, same, other = (
        Target("a.py", "f", ast.parse(f"def f(x):\n    {text}").body[0])
        for text in ("return x + 1", '"A docstring."\n    return (x + 1)  # why', "return x + 2")
    )
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)


def run(root, weight, equivalents="", *options, more=""):
    """Mutate a package of one operation, which its test tries at one weight.

    A single test is in the first round: the one that promises most for its time.
    """
    files = {
        "setup.cfg": "[tool:pytest]\n",
        "npformer/__init__.py": "",
        "npformer/functional/__init__.py": "",
        "npformer/functional/scale.py": OPERATION,
        "tests/functional/test_scale.py": TEST.format(weight=weight) + more,
        "tests/mutation/equivalents.txt": equivalents,
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    start = f"import sys; sys.path[0] = {str(MUTATION)!r}; import run; run.SOON = 0.0; "
    start += "sys.exit(run.main())"
    command = [sys.executable, "-c", start, "--root", str(root), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_survivor_is_reported_and_may_be_listed_as_equivalent(tmp_path):
    """At weight 1 nobody sees that it is forgotten."""
    blind = run(tmp_path, 1.0)
    assert blind.returncode == 1, blind.stdout + blind.stderr
    assert "npformer/functional/scale.py:12 operand dropped" in blind.stdout
    assert "    - return dy * weight\n    + return dy\n" in blind.stdout
    sharp = run(tmp_path, 2.0, TRUE, "--record")
    assert sharp.returncode == 0, sharp.stdout + sharp.stderr
    assert "1 equivalent, 0 survive; score 100.00 %" in sharp.stdout
    record = (tmp_path / "tests/mutation/README.md").read_text()
    assert re.search(
        r"\| functional/scale.py scale_backward \| \w{8} \| 5 \| 5 \| 4 \| 1 \| 0 \|", record
    )
    assert record.endswith("| all |  | 13 | 13 | 12 | 1 | 0 |\n")


def test_what_is_listed_and_killed_or_no_mutant_is_reported_and_a_sample_is_enough(tmp_path):
    """The true equivalent is not drawn, and not missed."""
    false = "@ functional/scale.py _times\n- return dy * weight\n+ return weight\n= it looks so\n"
    none = "+ return height\n= it was so\n"
    stale = run(tmp_path, 2.0, TRUE + false + none, "--sample", "4")
    assert stale.returncode == 1, stale.stdout + stale.stderr
    assert "listed as equivalent, but it is killed by" in stale.stdout
    assert stale.stdout.count("there is no such mutant") == 1
    assert "8 mutants of 13, drawn by seed 0: 8 killed, 0 equivalent" in stale.stdout


def test_a_challenge_tries_what_is_listed_and_nothing_else_by_all_tests(tmp_path):
    """The quick test sees no weight, and what is listed meets no other unless it is doubted."""
    false = "@ functional/scale.py _times\n- return dy * weight\n+ return dy\n= it looks so\n"
    trusted = run(tmp_path, SLOW, TRUE + false, more=QUICK)
    assert trusted.returncode == 0, trusted.stdout + trusted.stderr
    assert "13 mutants: 11 killed, 2 equivalent, 0 survive; score 100.00 %" in trusted.stdout
    doubted = run(tmp_path, SLOW, TRUE + false, "--challenge", more=QUICK)
    assert doubted.returncode == 1, doubted.stdout + doubted.stderr
    assert "\n2 mutants: 1 killed, 1 equivalent, 0 survive; " in doubted.stdout
    assert "but it is killed by tests/functional/test_scale.py::test_gradient" in doubted.stdout


def test_nothing_counts_as_killed_where_the_tests_fail_anyway(tmp_path):
    done = run(tmp_path, "1.0 / 0")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "without any mutant tests/functional/test_scale.py::test_gradient does" in done.stdout
