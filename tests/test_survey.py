"""npformer check: the whole library, parts of it, code of the user's, and what is wrong with it."""

import sys
import types

import numpy as np
import pytest

import npformer.functional as F
from npformer import catalogue
from npformer.catalogue import Example
from npformer.cli import main

X = np.random.default_rng(0).standard_normal((3, 4))
GOOD = Example("mine", "good", (F.tanh, F.tanh_backward), (X,))
BAD = Example("mine", "bad", (F.tanh, lambda dy, saved: 2 * F.tanh_backward(dy, saved)), (X,))


@pytest.fixture(autouse=True)
def mine(monkeypatch):
    """A module of the user's."""
    module = types.ModuleType("mine")
    module.good, module.both, module.make = GOOD, [GOOD, BAD], lambda: [GOOD]
    module.nothing, module.number = [], 3
    monkeypatch.setitem(sys.modules, "mine", module)
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_everything_passes(capsys):
    assert main(["check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    names = [example.name for example in catalogue.examples()]
    assert [line[:44].rstrip() for line in lines[1 : 1 + len(names)]] == names
    assert lines[-1].startswith(f"{len(names)} pass, 0 fail, 0 inconclusive; worst error ")


def test_names_choose_subjects_in_any_capitals(capsys):
    assert main(["check", "softmax", "rmsnorm", "RMSNorm"]) == 0
    out = capsys.readouterr().out
    assert out.count("RMSNorm  ") == 2
    assert "softmax [axis 0]" in out
    assert "attention" not in out


@pytest.mark.parametrize(("name", "count"), [("mine:good", 1), ("mine:make", 1)])
def test_code_of_the_user(name, count, capsys):
    assert main(["check", name]) == 0
    assert f"{count} pass, 0 fail" in capsys.readouterr().out


def test_a_wrong_gradient_is_shown_whole_and_is_the_exit_status(capsys):
    assert main(["check", "mine:both"]) == 1
    out = capsys.readouterr().out
    assert "1 pass, 1 fail, 0 inconclusive" in out
    assert "2 times the true gradient" in out
    assert "FAIL" in out


def test_details_show_every_tensor(capsys):
    assert main(["check", "linear", "--details"]) == 0
    assert "weight" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("atention", "did you mean attention"),
        ("zzz", "there is no 'zzz' in the catalogue; did you mean"),
        ("mine:absent", "'mine:absent' cannot be imported"),
        ("no_such_module:x", "cannot be imported"),
        (":x", "cannot be imported"),
        ("mine:nothing", "is not an npformer.catalogue.Example"),
        ("mine:number", "is not an npformer.catalogue.Example"),
    ],
)
def test_names_that_mean_nothing_are_refused(name, expected, capsys):
    assert main(["check", name]) == 2
    assert expected in capsys.readouterr().err
