"""npformer check: the whole library, parts of it, code of the user's, and what is wrong with it."""

import json
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import npformer.functional as F
from npformer import Layer, Parameter, catalogue
from npformer.catalogue import Example
from npformer.cli import main
from npformer.survey import select, survey

X = np.random.default_rng(0).standard_normal((3, 4))
GOOD = Example("mine", "good", (F.tanh, F.tanh_backward), (X,))
BAD = Example("mine", "bad", (F.tanh, lambda dy, saved: 2 * F.tanh_backward(dy, saved)), (X,))
RAISES = Example("mine", "raises", (lambda x: 1 / 0, F.tanh_backward), (X,))
A_LIST = Example("mine", "a list", (F.tanh, F.tanh_backward), ([1.0, 2.0],))


class Scale(Layer):
    """A layer, which is callable as every layer is."""

    def __init__(self):
        self.w = Parameter(np.ones(4))

    def forward(self, x, run=None):
        return x * self.w.value, x

    def backward(self, dy, saved, run=None):
        self.w.add_grad(np.sum(dy * saved, axis=0))
        return dy * self.w.value


def boom():
    raise RuntimeError("not today")


@pytest.fixture(autouse=True)
def mine(monkeypatch):
    """A module of the user's."""
    module = types.ModuleType("mine")
    module.good, module.both, module.make = GOOD, [GOOD, BAD], lambda: [GOOD]
    module.raises, module.a_list = RAISES, A_LIST
    module.nothing, module.number, module.boom = [], 3, boom
    module.layer, module.Scale, module.pair = Scale(), Scale, GOOD.target
    module.tanh = F.tanh
    monkeypatch.setitem(sys.modules, "mine", module)
    monkeypatch.setattr(sys, "path", list(sys.path))


def names_in(out):
    """The first column of the table, to where two spaces or more follow."""
    return [re.split(" {2,}", line)[0] for line in out.splitlines() if re.search(r"\d s$", line)]


def test_both_methods_stand_side_by_side(capsys):
    """Of a few subjects: test_contract.py checks all."""
    assert main(["check", "linear", "softmax", "EncoderLayer"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for row in lines[1:7]:
        exact, error, bound = re.search(r"(\S+) +(\S+) of (\S+)  pass", row).groups()
        assert float(exact) <= 1e-12
        assert float(error) <= float(bound)
    assert lines[-1].startswith("6 pass, 0 fail, 0 inconclusive, 0 error; complex step: worst")
    assert "; central difference: worst error " in lines[-1]


def test_several_processes_check_what_one_does(capsys):
    """In the same order; the module "mine" is not there for a process that is started anew."""
    shown = []
    for jobs in ("1", "2"):
        assert main(["check", "softmax", "mine:both", "Linear", "--jobs", jobs]) == 1
        shown.append(re.sub(r"[\d.]+ s\b", "", capsys.readouterr().out))
    assert shown[0] == shown[1]
    assert "5 pass, 1 fail" in shown[0]
    with pytest.raises(ValueError, match="jobs is 0; expected at least 1"):
        list(survey([GOOD], jobs=0))


def test_without_names_it_is_the_whole_catalogue():
    assert [e.name for e in select([])] == [e.name for e in catalogue.examples()]


def test_names_choose_subjects_in_any_capitals_and_each_once(capsys):
    assert main(["check", "softmax", "rmsnorm", "RMSNorm", "softmax"]) == 0
    assert names_in(capsys.readouterr().out)[:-1] == ["softmax", "softmax [axis 0]", "RMSNorm"]


def test_capitals_tell_an_operation_from_a_layer(capsys):
    assert main(["check", "linear"]) == 0
    assert "Linear" not in capsys.readouterr().out
    assert main(["check", "Linear"]) == 0
    assert "\nlinear" not in capsys.readouterr().out
    assert main(["check", "LINEAR"]) == 0
    out = capsys.readouterr().out
    assert "\nlinear " in out
    assert "\nLinear " in out


@pytest.mark.parametrize("name", ["attention [causal]", "Attention [CAUSAL]"])
def test_a_name_as_the_table_prints_it_chooses_one(name, capsys):
    assert main(["check", name]) == 0
    assert names_in(capsys.readouterr().out)[:-1] == ["attention [causal]"]


@pytest.mark.parametrize(("name", "count"), [("mine:good", 1), ("mine:make", 1)])
def test_code_of_the_user(name, count, capsys):
    assert main(["check", name, name]) == 0
    assert f"{count} pass, 0 fail" in capsys.readouterr().out


def test_a_wrong_gradient_is_shown_whole_and_is_the_exit_status(capsys):
    assert main(["check", "mine:both"]) == 1
    out = capsys.readouterr().out
    assert "1 pass, 1 fail, 0 inconclusive" in out
    assert "2 times the true gradient" in out
    assert "FAIL" in out


def test_one_that_raises_does_not_keep_the_others(capsys):
    assert main(["check", "mine:raises", "mine:a_list", "relu"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"mine \[raises\] .* error ", out)
    assert "ZeroDivisionError: division by zero\n    in <lambda>, " in out
    assert "x is a list; expected a NumPy array" in out
    assert re.search(r"\nrelu .* pass ", out)
    assert "1 pass, 0 fail, 0 inconclusive, 2 error" in out


def test_details_show_every_tensor(capsys):
    assert main(["check", "linear", "--details"]) == 0
    assert "weight" in capsys.readouterr().out


def test_json(capsys):
    assert main(["check", "linear", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    assert [check["name"] for check in found["checks"]] == [
        "linear",
        "linear [no bias, one vector]",
    ]
    assert [e["name"] for e in found["checks"][0]["report"]["entries"]] == ["x", "weight", "bias"]
    assert main(["check", "mine:both", "mine:raises", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert [check["verdict"] for check in found["checks"]] == ["pass", "fail", "error"]
    assert found["checks"][2]["report"] is None
    assert "division by zero" in found["checks"][2]["error"]


WRITE = "In mine, write: from npformer.catalogue import Example; example = Example("


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("atention", "did you mean attention"),
        ("zzz", "there is no 'zzz' in the catalogue. It has linear, "),
        ("nope", "there is no 'nope' in the catalogue. It has linear, "),
        ("mine:absent", "'mine:absent' cannot be imported"),
        ("no_such_module:x", "cannot be imported"),
        (":x", "cannot be imported"),
        ("mine:nothing", f"is a list that is empty; expected an Example, or some. {WRITE}"),
        ("mine:number", "'mine:number' is an int; expected an Example"),
        (
            "mine:layer",
            f"is a Scale; expected an Example, or some. {WRITE}'layer', '', layer, (x,))",
        ),
        ("mine:Scale", f"is the class Scale; expected an Example, or some. {WRITE}'Scale', '', Sc"),
        ("mine:pair", f"is a tuple; expected an Example, or some. {WRITE}'pair', '', pair, (x,))"),
        (
            "mine:tanh",
            f"missing 1 required positional argument: 'x'. {WRITE}'tanh', '', (tanh, tanh_",
        ),
        ("mine:boom", "and raised RuntimeError: not today"),
    ],
)
def test_names_that_mean_nothing_are_refused(name, expected, capsys):
    assert main(["check", name]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("status", [0, 3])
def test_a_module_that_ends_the_process_is_refused(status, tmp_path, monkeypatch, capsys):
    (tmp_path / "a_script.py").write_text(f"import sys\nsys.exit({status})\n")
    monkeypatch.chdir(tmp_path)
    assert main(["check", "a_script:x"]) == 2
    assert f"'a_script:x' cannot be imported: SystemExit: {status}" in capsys.readouterr().err


def test_a_module_that_cannot_be_read_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "half_written.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    assert main(["check", "half_written:f"]) == 2
    assert "'half_written:f' cannot be imported: SyntaxError" in capsys.readouterr().err


def test_the_example_of_the_documentation_is_a_module_to_check(tmp_path, monkeypatch, capsys):
    page = Path(__file__).parents[1] / "docs" / "checking-your-own.md"
    found = re.search(
        r"^```python\n(# (my_layers).py\n.*?)^```\n\n```sh\nnpformer (check my_layers:examples)\n"
        r"```\n\n```text\n(.*?)^```$",
        page.read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    code, module, words, shown = found.groups()
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, module, raising=False)
    assert main(words.split()) == 0
    number = re.compile(r"\d\.\d+(e[-+]\d+)?")
    assert number.sub("#", capsys.readouterr().out) == number.sub("#", shown)
