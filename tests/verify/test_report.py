"""The report, and what is refused before any work."""

import json

import numpy as np
import pytest
from support.strategies import normal

import npformer.functional as F
from npformer import gradcheck
from npformer.core.errors import GradientError
from npformer.verify import GradientReport

X = normal(0, 4, 3)
PAIR = F.softmax, F.softmax_backward


def test_gradcheck_is_the_function():
    import npformer.verify

    assert npformer.gradcheck is npformer.verify.gradcheck is gradcheck
    assert npformer.GradientReport is GradientReport
    assert callable(gradcheck)


def test_a_pass():
    report = gradcheck(PAIR, X)
    report.assert_ok()
    (entry,) = report.entries
    assert (entry.name, entry.kind, entry.shape, entry.verdict) == ("x", "input", (4, 3), "pass")
    assert (entry.checked, entry.skipped, entry.family, entry.diagnosis) == (12, 0, "", "")
    assert entry.worst_error == report.worst_error < 1e-12
    assert len(entry.worst_index) == 2


def test_the_table_fits_a_terminal_and_names_the_error():
    report = gradcheck((F.linear, lambda dy, s: (*F.linear_backward(dy, s)[:2], -dy.sum(0))),
                       X, normal(1, 5, 3), normal(2, 5))  # fmt: skip
    text = str(report)
    assert text.startswith("gradcheck linear: FAIL  (every entry, ")
    assert all(len(line) <= 100 for line in text.splitlines())
    assert "fail: bias: the sign is wrong" in text
    with pytest.raises(GradientError, match="the sign is wrong"):
        report.assert_ok()


def test_json_holds_everything_even_what_json_has_no_number_for():
    report = gradcheck((F.softmax, lambda dy, s: None), X)
    plain = json.loads(report.to_json())
    assert plain["verdict"] == "fail"
    assert plain["ok"] is False
    assert plain["entries"][0]["worst_error"] == "inf"
    assert plain["entries"][0]["family"] == "missing"


def test_the_same_seed_gives_the_same_report_and_another_one_does_not():
    first, again, other = (gradcheck(PAIR, X, seed=seed) for seed in (3, 3, 4))
    assert first.entries == again.entries
    assert first.entries != other.entries


@pytest.mark.parametrize(
    ("option", "error", "said"),
    [
        ({"method": "forward"}, ValueError, "method is 'forward'; expected one of auto, complex"),
        ({"mode": "slow"}, ValueError, "mode is 'slow'"),
        ({"tolerance": 0.0}, ValueError, "tolerance is 0.0"),
        ({"tolerance": "small"}, TypeError, "tolerance is 'small'"),
        ({"directions": 0}, ValueError, "directions is 0; expected at least 1"),
        ({"max_entries": 2.5}, TypeError, "max_entries is 2.5"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"seed": None}, TypeError, "seed is None"),
        ({"move": 1}, TypeError, "move is 1"),
        ({"options": [1]}, TypeError, "options is a list"),
    ],
)
def test_wrong_options_are_refused_before_any_work(option, error, said):
    def forward(x):
        raise AssertionError("called")

    with pytest.raises(error, match=said):
        gradcheck((forward, forward), X, **option)


@pytest.mark.parametrize(
    ("target", "inputs", "said"),
    [
        (F.softmax, (X,), "without a method `forward`"),
        ((F.softmax,), (X,), "pair of functions"),
        ((F.softmax, None), (X,), "pair of functions"),
        (PAIR, ([1.0, 2.0],), "x is a list; expected a NumPy array"),
        (PAIR, (1.0,), "x is a float"),
        (PAIR, (X.astype(np.float16),), r"x is float16 \(4, 3\)"),
        (PAIR, (X.astype(complex),), "x is complex128"),
        (PAIR, (np.arange(3),), "nothing to differentiate"),
        (PAIR, (), "nothing to differentiate"),
        ((lambda x: x, lambda dy, s: dy), (X,), r"expected the pair \(y, saved\)"),
        ((lambda x: ((x, x), x), lambda dy, s: dy), (X,), "check one output at a time"),
        ((lambda x: (x > 0, x), lambda dy, s: dy), (X,), "y is bool"),
    ],
)
def test_wrong_targets_and_inputs_are_refused(target, inputs, said):
    with pytest.raises(TypeError, match=said):
        gradcheck(target, *inputs)


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        (object(), "without `value`"),
        (type("P", (), {"value": np.ones(2)})(), "without `grad`"),
        (type("P", (), {"value": np.ones(2, int), "grad": None})(), "is int64"),
    ],
)
def test_wrong_parameters_are_refused(parameter, said):
    source = type("Source", (), {"named_parameters": lambda self: [("p", parameter)]})()
    with pytest.raises(TypeError, match=said):
        gradcheck(PAIR, X, parameters=source)
