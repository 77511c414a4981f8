"""What cannot be known is said: vacuous checks, kinks, precision, no complex numbers."""

import numpy as np
import pytest
from support.strategies import normal

import npformer.functional as F
from npformer import gradcheck

X = normal(0, 4, 3)


def relu(x):
    return np.where(x.real > 0, x, 0.0), x > 0


def relu_backward(dy, positive):
    return dy * positive


def sum_of_layer_norm(x):
    ones = np.ones(x.shape[-1])
    y, saved = F.layer_norm(x, ones)
    return np.sum(y), saved


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("method", ["auto", "central"])
def test_the_sum_of_a_normalised_vector_is_vacuous(seed, method):
    def backward(dy, saved):
        return F.layer_norm_backward(np.full(saved.xhat.shape, dy), saved)[0]

    report = gradcheck((sum_of_layer_norm, backward), normal(seed, 4, 6), seed=seed, method=method)
    assert report.verdict == "inconclusive", report
    assert report.families == {"vacuous"}
    assert "constant here" in str(report)
    with pytest.raises(AssertionError, match="constant here"):
        report.assert_ok()


def test_an_output_that_depends_on_nothing_is_vacuous():
    report = gradcheck((lambda x: (np.ones(3), None), lambda dy, s: np.zeros((4, 3))), X)
    assert report.verdict == "inconclusive"
    assert "depends on no input" in str(report)


def test_one_gradient_that_is_zero_is_fine_next_to_others():
    def forward(x, shift):
        return F.softmax(x + shift)

    def backward(dy, saved):
        dx = F.softmax_backward(dy, saved)
        return dx, np.sum(dx, axis=-1, keepdims=True)

    report = gradcheck((forward, backward), X, normal(1, 4, 1))
    assert report.ok, report
    assert report.entries[1].verdict == "zero"
    assert "zero but for rounding, as it should be: shift" in str(report)


def test_kinks_are_skipped_and_counted():
    x = normal(0, 4, 5)
    x[0, 1] = x[2, 2] = 0.0

    def forward(x):
        return np.maximum(x, 0), x > 0

    for method in ("auto", "central"):
        report = gradcheck((forward, relu_backward), x, method=method)
        assert report.ok, report
        assert (report.entries[0].checked, report.entries[0].skipped) == (18, 2)
        assert "18 of 20" in str(report)


def test_too_many_kinks_are_inconclusive():
    x = normal(0, 4, 5)
    x[:3] = 0.0
    report = gradcheck((lambda x: (np.maximum(x, 0), x > 0), relu_backward), x)
    assert report.verdict == "inconclusive"
    assert report.families == {"kinks"}


def test_near_a_kink_smaller_steps_are_taken():
    x = normal(0, 4, 5)
    x[1, 1], x[2, 3] = 1e-4, -1e-4
    assert gradcheck((relu, relu_backward), x, method="central").ok


def test_a_wrong_gradient_is_not_excused_by_kinks():
    x = normal(0, 4, 5)
    x[0, 1] = 0.0
    report = gradcheck((lambda x: (np.maximum(x, 0), x > 0), lambda dy, p: 1.01 * dy * p), x)
    assert report.families == {"factor"}
    assert report.entries[0].skipped == 1


@pytest.mark.parametrize(
    ("f", "df", "why"),
    [
        (np.abs, np.sign, "loses the imaginary part"),
        (lambda x: np.logaddexp(x, 1.0), lambda x: 1 / (1 + np.exp(1 - x)), "TypeError"),
        (lambda x: x.astype(np.float64) ** 2, lambda x: 2 * x, "ComplexWarning"),
        (lambda x: x * np.conj(x).real, lambda x: 2 * x, "not analytic"),
    ],
)
def test_a_target_without_complex_numbers_gets_central_differences(f, df, why):
    pair = lambda x: (f(x), x), lambda dy, x: dy * df(x)
    report = gradcheck(pair, X)
    assert report.ok, report
    assert report.entries[0].method == "central difference"
    assert why in str(report)
    assert gradcheck((pair[0], lambda dy, x: 1.0001 * dy * df(x)), X).families == {"factor"}
    report = gradcheck(pair, X, method="complex")
    assert report.verdict == "inconclusive"
    assert "cannot be trusted" in str(report)


def test_arguments_that_have_to_become_complex_together():
    def forward(a, b):
        y = a.copy()
        y *= b  # a real y cannot hold a complex product
        return y, (a, b)

    report = gradcheck((forward, lambda dy, s: (dy * s[1], dy * s[0])), X, X + 1)
    assert report.ok, report
    assert {entry.method for entry in report.entries} == {"complex step"}


def test_float32_is_lifted_for_the_numeric_side():
    x = X.astype(np.float32)
    report = gradcheck((F.softmax, F.softmax_backward), x)
    assert report.ok, report
    assert report.entries[0].method == "complex step"
    wrong = gradcheck((F.softmax, lambda dy, s: F.softmax_backward(dy, s) * np.float32(1.001)), x)
    assert wrong.families == {"factor"}


def test_float32_that_cannot_be_lifted_is_compared_within_honest_bounds():
    def forward(x):
        y = np.tanh(x.astype(np.float32))
        return y, y

    x = X.astype(np.float32)
    report = gradcheck((forward, lambda dy, y: dy * (1 - y * y)), x)
    assert report.ok, report
    assert report.entries[0].method == "central difference"
    assert gradcheck((forward, lambda dy, y: dy * (1 - y)), x).verdict == "fail"


def test_too_little_precision_is_inconclusive():
    def forward(x):
        return np.tanh(x) + 3e12, np.tanh(x)  # of tanh, few digits are left

    report = gradcheck((forward, lambda dy, t: dy * (1 - t * t)), X, method="central")
    assert report.verdict == "inconclusive", report
    assert report.families == {"precision"}


def test_an_output_that_is_not_finite():
    report = gradcheck((lambda x: (x / 0.0 if False else x * np.inf, x), lambda dy, x: dy), X)
    assert report.verdict == "inconclusive"
    assert "not finite at [0, 0]" in str(report)


def test_a_batch_of_one_is_remarked_upon():
    report = gradcheck((F.softmax, F.softmax_backward), normal(0, 1, 3))
    assert report.ok
    assert "length 1" in str(report)


def test_equal_inputs_are_moved_and_remarked_upon():
    def wrong(dy, saved):  # at a weight of ones it is right
        return F.layer_norm_backward(dy / saved.weight, saved)

    args = X, np.ones(3), np.zeros(3)
    assert gradcheck((F.layer_norm, wrong), *args, move=False).ok
    report = gradcheck((F.layer_norm, wrong), *args)
    assert report.verdict == "fail"
    assert "all entries of weight are equal" in str(report)


def test_ones_as_cotangent_would_have_hidden_it():
    def wrong(dy, saved):  # softmax's Jacobian transposed, scaled: zero for any constant dy
        return 3 * F.softmax_backward(dy, saved)

    ones = np.ones(X.shape)
    np.testing.assert_allclose(wrong(ones, F.softmax(X)[1]), 0, atol=1e-15)
    assert gradcheck((F.softmax, wrong), X).families == {"factor"}


def test_a_big_target_is_checked_along_directions_and_the_wrong_entry_found():
    x, weight = normal(0, 20, 60), normal(1, 50, 60)

    def wrong(dy, saved):
        dx, dweight, _ = F.linear_backward(dy, saved)
        dweight[17, 31] *= 1 + 1e-4
        return dx, dweight

    report = gradcheck((F.linear, F.linear_backward), x, weight)
    assert report.ok
    assert report.mode == "fast"
    assert report.evaluations < 120
    report = gradcheck((F.linear, wrong), x, weight)
    assert report.families == {"one index"}
    assert report.entries[1].worst_index == (17, 31)
    assert report.evaluations < 300


def test_extreme_scales_raise_no_alarm_and_hide_nothing():
    def forward(a, b):
        return 1e8 * np.tanh(a) + 1e-9 * np.sum(np.tanh(b)), (np.tanh(a), np.tanh(b))

    def backward(dy, saved, wrong=1.0):
        a, b = saved
        return 1e8 * dy * (1 - a * a), wrong * 1e-9 * np.sum(dy) * (1 - b * b)

    assert gradcheck((forward, backward), X, X + 0.5).verdict in ("pass", "inconclusive")

    def small(x):
        return np.tanh(1e12 * x), np.tanh(1e12 * x)

    tiny = 1e-12 * X
    assert gradcheck((small, lambda dy, t: 1e12 * dy * (1 - t * t)), tiny).ok
    assert gradcheck((small, lambda dy, t: 1e12 * dy * (1 - t)), tiny).verdict == "fail"


def test_a_complex_step_that_is_wrong_at_one_small_entry_is_found_out():
    weight = np.where(np.arange(12).reshape(4, 3) == 5, 1e-10, 1.0)

    def forward(x):
        y = weight * np.tanh(x)
        y[1, 2] = y[1, 2].real
        return y, np.tanh(x)

    report = gradcheck((forward, lambda dy, t: dy * weight * (1 - t * t)), X)
    assert report.ok, report
    assert report.entries[0].method == "central difference"
    assert any("disagree where the error is largest" in note for note in report.notes)
