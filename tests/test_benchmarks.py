"""The benchmarks' own arithmetic: what the profiler counts as what, FLOPs, tables, arguments."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "NPFORMER_NUM_THREADS": "1"}


def load(name):
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


instrument, recorder_module, gpt = load("_instrument"), load("_recorder"), load("_gpt")
MATMUL, ELEMENTWISE, COPIES = recorder_module.KINDS


def profiled(body, **names):
    """Run the body of a function, rewritten; return its result, and the records by kind."""
    recorder = recorder_module.Recorder()
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    source = f"import math\nimport numpy as np\ndef f({', '.join(names)}):\n{lines}\n"
    space = {instrument.TIMED: recorder}
    exec(instrument.rewritten(source, "body.py", recorder), space)
    result = space["f"](**names)
    kinds = {}
    for (_, kind), (calls, _, entries, flops) in recorder.take().items():
        old = kinds.get(kind, (0, 0, 0))
        kinds[kind] = tuple(a + b for a, b in zip(old, (calls, entries, flops), strict=True))
    return result, kinds


def run(script, *arguments, **options):
    command = [sys.executable, str(FOLDER / script), *arguments]
    environment = {**os.environ, **ONE_THREAD}
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True, **options
    ).stdout


A, B = np.ones((2, 3)), np.ones((3, 4))
IDS = np.array([2, 0, 1, 1])


@pytest.mark.parametrize(
    ("body", "kind", "entries"),
    [
        ("return a + 1.0", ELEMENTWISE, 6),
        ("return 1.0 - a", ELEMENTWISE, 6),
        ("return -a", ELEMENTWISE, 6),
        ("return a > 0", ELEMENTWISE, 6),
        ("return np.exp(a)", ELEMENTWISE, 6),
        ("ufunc = np.exp\nreturn ufunc(a)", ELEMENTWISE, 6),
        ("return np.add.reduce(a)", ELEMENTWISE, 6),
        ("return a.sum(axis=0)", ELEMENTWISE, 6),
        ("return np.where(True, a, 0.0)", ELEMENTWISE, 6),
        ("return np.einsum('ij,ij->i', a, a)", ELEMENTWISE, 6),
        ("x = a.view()\nx *= 2.0\nreturn x", ELEMENTWISE, 6),
        ("x = [a.view()]\nx[0] *= 2.0\nreturn x[0]", ELEMENTWISE, 6),
        ("x = a.view()\nx[0] += 1.0\nreturn x", ELEMENTWISE, 3),
        ("return a.copy()", COPIES, 6),
        ("return a.astype(np.float32)", COPIES, 6),
        ("return a.T.reshape(-1)", COPIES, 6),
        ("return np.concatenate([a, a])", COPIES, 12),
        ("return np.zeros((2, 5))", COPIES, 10),
        ("return b[ids[:2]]", COPIES, 8),
        ("return np.take(b, ids, axis=0)", COPIES, 16),
        ("x = a.view()\nx[:, 0] = 1.0\nreturn x", COPIES, 2),
        ("x = a.view()\nx[0] = x[1] = 1.0\nreturn x", COPIES, 6),
        ("x = a.view()\nx[...], y = 1.0, 2\nreturn x", None, 0),  # in a tuple: not seen
        ("np.copyto(a, 1.0)\nreturn a", COPIES, 6),
        ("return a @ b", MATMUL, 12),
        ("return a @ np.ones(3)", ELEMENTWISE, 6),
        ("return a @ np.ones((3, 1))", ELEMENTWISE, 6),
        ("return np.matmul(a, b)", MATMUL, 12),
        ("return np.einsum('ij,jk->ik', a, b)", MATMUL, 12),
        ("return a.reshape(3, 2)", None, 0),
        ("return a.T[0]", None, 0),
        ("return a.astype(a.dtype, copy=False)", None, 0),
        ("return np.result_type(a, b)", None, 0),
        ("i = 2\nreturn i * math.sqrt(i) + len(ids)", None, 0),
        ("x = {}\nx['a'] = 1\nx['a'] += 1\nreturn x", None, 0),
    ],
)
def test_work_is_classified(body, kind, entries):
    names = {"a": A.copy(), "b": B.copy(), "ids": IDS.copy()}
    got, kinds = profiled(body, **names)
    space = {"np": np, "math": __import__("math")}
    plain = ast.unparse(
        ast.parse(f"def f(a, b, ids):\n    {body.replace(chr(10), chr(10) + '    ')}")
    )
    exec(plain, space)
    np.testing.assert_equal(got, space["f"](A.copy(), B.copy(), IDS.copy()))
    if kind is None:
        assert kinds == {}
        return
    assert set(kinds) == {kind}
    calls, seen, _ = kinds[kind]
    assert calls in (1, 2)
    assert seen == entries


def test_parts_of_an_expression_are_counted_once_each():
    _, kinds = profiled("return np.exp(a @ b + 1.0).sum()", a=A, b=B)
    assert {kind: calls for kind, (calls, *_) in kinds.items()} == {MATMUL: 1, ELEMENTWISE: 3}


def test_what_a_timed_call_calls_is_part_of_it():
    body = "g = lambda x: np.exp(x + 1.0)\nreturn np.apply_along_axis(g, 0, a)"
    _, kinds = profiled(body, a=A)
    assert kinds[ELEMENTWISE][0] == 1


@pytest.mark.parametrize(
    ("body", "flops"),
    [
        ("return a @ b", 2 * 2 * 3 * 4),
        ("return np.stack([a, a]) @ b", 2 * 2 * 2 * 3 * 4),
        ("return a.dot(b)", 2 * 2 * 3 * 4),
        ("return np.einsum('...ij,jk->...ik', np.stack([a, a]), b)", 2 * 2 * 2 * 3 * 4),
    ],
)
def test_flops_of_a_product(body, flops):
    assert profiled(body, a=A, b=B)[1][MATMUL][2] == flops


def test_the_operands_of_a_change_are_worked_out_once():
    body = "seen = []\ndef at(i):\n    seen.append(i)\n    return i\na[at(1)] += at(2)\nreturn seen"
    assert profiled(body, a=A.copy())[0] == [1, 2]


def test_a_package_that_is_imported_cannot_be_rewritten():
    with pytest.raises(RuntimeError, match="numpy has been imported"):
        instrument.install(recorder_module.Recorder(), "numpy")


def test_the_formula_counts_the_products_of_a_step():
    text = run("profile_step.py", "--work", "timed", "tiny", "cpu", input="step\n")
    records = json.loads(text.splitlines()[0])["rows"]
    assert sum(row[7] for row in records) == gpt.flops("tiny")


def test_the_profile_adds_up():
    text = run("profile_step.py", "--size", "tiny", "--seconds", "0.1", "--top", "3")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    ms = {line[0]: float(line[1]) for line in cells if len(line) == 4 and line[1][-1:].isdigit()}
    assert list(ms) == [*recorder_module.KINDS, "Python", "a step"]
    total = ms.pop("a step")
    assert sum(ms.values()) == pytest.approx(total, abs=0.01)
    assert "training/adam.py Adam.update" in text or "functional/" in text


@pytest.mark.parametrize("script", sorted(path.name for path in FOLDER.glob("[!_]*.py")))
def test_help(script):
    assert "--" in run(script, "--help")


def test_run_writes_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(FOLDER))
    command, path = load("run"), tmp_path / "results.md"
    monkeypatch.setitem(command.SCRIPTS, "memory", ("memory", "--rounds 1 --sizes tiny"))
    monkeypatch.setattr(command, "sgemm_peak", lambda: 12e9)
    monkeypatch.setattr(command, "PEERS", ["not_a_package"])
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "512")
    monkeypatch.setattr("sys.argv", ["run.py", "--quick", "--only", "memory", "--out", str(path)])
    assert command.main() == 0
    written = path.read_text(encoding="utf-8")
    assert "| a GPT for tests" in written
    assert f"NumPy {np.__version__}" in written
    assert "OPENBLAS_L2_SIZE=512" in written
    assert "12 GFLOP/s" in written
    assert "not_a_package is not installed, and left out: pip install not_a_package" in written
    assert capsys.readouterr().out.startswith(written)


def test_run_goes_on_after_a_failure(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    command, path = load("run"), tmp_path / "results.md"
    monkeypatch.setitem(command.SCRIPTS, "memory", ("memory", "--sizes unknown"))
    monkeypatch.setitem(command.SCRIPTS, "steps", ("steps", "--help"))
    monkeypatch.setattr(command, "sgemm_peak", lambda: 12e9)
    arguments = ["--quick", "--only", "memory", "steps", "--out", str(path)]
    monkeypatch.setattr("sys.argv", ["run.py", *arguments])
    assert command.main() == 1
    written = path.read_text(encoding="utf-8")
    assert "memory has stopped with status 2" in written
    assert "## steps" in written
