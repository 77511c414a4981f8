"""Two methods side by side, and when the one is believed rather than the other."""

import json

import numpy as np
import pytest
from support.strategies import normal
from verify.cases import check, of_catalogue
from verify.wrong_gradients import WRONG

import npformer.functional as F
from npformer import gradcheck

X = normal(0, 4, 3)


@pytest.mark.parametrize("mode", ["full", "fast"])
def test_both_methods_stand_side_by_side(mode):
    report = gradcheck((F.softmax, F.softmax_backward), X, mode=mode)
    (entry,) = report.entries
    exact, central = entry.complex_step, entry.central_difference
    assert entry.method == "complex step"
    assert (exact.value, exact.bound, exact.error) == (entry.numeric, 0.0, entry.worst_error)
    assert exact.error < 1e-13
    assert 0 < central.bound < 1e-8
    assert abs(central.value - exact.value) <= central.bound
    assert central.error <= 1e-8
    row = next(line for line in str(report).splitlines() if line.startswith("  x "))
    assert f"{entry.analytic:+.4e}" in row
    assert f"{central.value:+.4e} ± {central.bound:.0e}" in row
    plain = json.loads(report.to_json())["entries"][0]
    assert plain["central_difference"]["value"] == central.value
    assert plain["complex_step"]["error"] == exact.error


def test_a_wrong_gradient_is_wrong_by_both():
    report = gradcheck((F.softmax, lambda dy, s: 2 * F.softmax_backward(dy, s)), X)
    (entry,) = report.entries
    assert entry.complex_step.error == pytest.approx(1 / 3, rel=0.01)
    assert entry.central_difference.error > 0.1


def test_a_method_that_was_not_used_is_left_out():
    (entry,) = gradcheck((F.softmax, F.softmax_backward), X, method="central").entries
    assert entry.complex_step is None
    assert entry.central_difference.value == entry.numeric
    (entry,) = gradcheck((lambda x: (np.abs(x), x), lambda dy, x: dy * np.sign(x)), X).entries
    assert entry.complex_step is None
    (entry,) = gradcheck((F.softmax, lambda dy, s: None), X).entries
    assert entry.complex_step is entry.central_difference is None


def test_a_second_opinion_costs_little():
    report = check(WRONG["linear: dx sign"], wrong=False)
    assert report.evaluations < 6 * sum(entry.checked for entry in report.entries)


@pytest.mark.parametrize("seed", range(6))
def test_a_gradient_that_is_zero_but_for_rounding_is_no_lack_of_analyticity(seed):
    example = of_catalogue("MultiHeadAttention [cross]")(seed)
    report = gradcheck(example.target, *example.inputs, seed=seed)
    assert report.ok, report
    bias = next(entry for entry in report.entries if entry.name == "k_proj.bias")
    assert bias.method == "complex step"
    assert bias.verdict == "zero"
    assert bias.worst_error == bias.complex_step.error == 0.0
    assert not any("analytic" in note for note in report.notes)
    assert report.worst_error <= 1e-12


def test_where_the_methods_differ_by_rounding_alone_the_complex_step_is_kept():
    def forward(x, shift):
        e = np.exp(x + shift)  # shift cancels but for rounding
        y = e / np.sum(e, axis=-1, keepdims=True)
        return y, y

    def backward(dy, y):
        dx = F.softmax_backward(dy, F.softmax(np.log(y))[1])
        return dx, np.sum(dx, axis=-1, keepdims=True)

    for seed in range(20):
        report = gradcheck((forward, backward), normal(seed, 4, 3), 1e-3 * normal(1, 4, 1))
        assert report.ok, report
        assert {entry.method for entry in report.entries} == {"complex step"}


def test_a_gradient_of_rounding_where_one_is_due_is_called_zero():
    def backward(dy, saved):
        dx = F.softmax_backward(dy, saved)
        return np.sum(dx, axis=-1, keepdims=True) * np.ones(3)

    report = gradcheck((F.softmax, backward), X)
    assert report.families == {"zero"}
    assert "zero but for rounding: its gradient is forgotten" in " ".join(str(report).split())


def test_rounding_that_lies_on_a_line_by_chance_is_no_error():
    """Of a key's bias, which softmax does not see: seven differences of 1e-16 on a line."""
    name = "MultiHeadAttention [shared keys, T5's bias]"
    example = of_catalogue(name)(145)
    report = gradcheck(
        example.target, *example.inputs, options=example.options, run=example.run(), seed=145
    )
    assert report.ok, report
