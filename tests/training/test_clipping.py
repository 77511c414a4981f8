"""clip_grad_norm: value, scale, extremes of range, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import normal, seeds

from npformer import Parameter
from npformer.core import NonFiniteError
from npformer.training import clip_grad_norm


def with_grads(*grads, name=""):
    parameters = [Parameter(np.zeros_like(grad), name) for grad in grads]
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad[...] = grad
    return parameters


@given(seeds, st.floats(1e-3, 1e3))
def test_the_norm_is_that_before_and_at_most_the_limit_after(seed, limit):
    grads = [normal(seed, 3, 4), normal(seed + 1, 5), normal(seed + 2)]
    parameters = with_grads(*map(np.asarray, grads))
    norm = clip_grad_norm(parameters, limit)
    assert type(norm) is float
    want = math.sqrt(sum(float(np.sum(g * g)) for g in grads))
    assert norm == pytest.approx(want, rel=1e-12)
    factor = min(1.0, limit / want)
    for parameter, grad in zip(parameters, grads, strict=True):
        np.testing.assert_allclose(parameter.grad, grad * factor, rtol=1e-12)


def test_a_norm_below_the_limit_changes_no_bit():
    grad = normal(0, 4).astype(np.float32)
    (parameter,) = with_grads(grad)
    clip_grad_norm([parameter], 1e6)
    np.testing.assert_array_equal(parameter.grad, grad)


def test_large_arrays_are_summed_closely_and_scaled_in_place():
    (parameter,) = with_grads(np.full((300, 400), 0.1, np.float32))
    grad = parameter.grad
    norm = clip_grad_norm([parameter], 1.0)
    assert norm == pytest.approx(float(np.float32(0.1)) * math.sqrt(120_000), rel=1e-6)
    assert parameter.grad is grad
    assert grad.dtype == np.float32
    assert clip_grad_norm([parameter], 1.0) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(
    ("dtype", "entry"),
    [(np.float32, 3e38), (np.float32, 1e-30), (np.float64, 1e300), (np.float64, 1e-300)],
)
def test_squares_may_leave_the_range(dtype, entry):
    (parameter,) = with_grads(np.full((2, 2), entry, dtype))
    entry = float(dtype(entry))
    assert clip_grad_norm([parameter], 1.0) == pytest.approx(2 * entry, rel=1e-12)
    np.testing.assert_allclose(parameter.grad, min(entry, 0.5), rtol=1e-6)


def test_zero_gradients_have_norm_zero():
    assert clip_grad_norm(with_grads(np.zeros((2, 2)), np.zeros((0, 3))), 1.0) == 0.0


def test_a_parameter_given_twice_counts_once_and_strides_do_not_matter():
    parameter = Parameter(np.zeros((2, 3)).T)
    parameter.grad[...] = 2.0
    assert clip_grad_norm([parameter, parameter], 1.0) == pytest.approx(math.sqrt(24))
    np.testing.assert_allclose(parameter.grad, 1 / math.sqrt(6))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_norm_that_is_not_finite_changes_nothing_and_names_the_worst(bad):
    grads = [np.ones(3), np.full((2, 2), bad), np.zeros(2)]
    grads[2][0] = bad
    parameters = with_grads(*grads)
    parameters[1].name = "block.weight"
    with pytest.raises(NonFiniteError, match=r"worst is parameter block.weight \(2, 2\), where 4 "):
        clip_grad_norm(parameters, 1.0)
    for parameter, grad in zip(parameters, grads, strict=True):
        np.testing.assert_array_equal(parameter.grad, grad)


def test_nan_beside_zeros_is_seen():
    with pytest.raises(NonFiniteError, match=r"parameter number 1 \(1,\), where 1 of 1 entries"):
        clip_grad_norm(with_grads(np.zeros(2), np.array([np.nan])), 1.0)


def test_a_norm_beyond_float64_of_finite_entries_is_refused():
    with pytest.raises(NonFiniteError, match=r"number 0 \(4,\), where its largest entry is 1.7e"):
        clip_grad_norm(with_grads(np.full(4, 1.7e308)), 1.0)


@pytest.mark.parametrize(
    ("parameters", "limit", "error", "said"),
    [
        ([], 1.0, ValueError, "clip_grad_norm: there are no parameters"),
        ([np.ones(2)], 1.0, TypeError, r"parameters\[0\] is float64 \(2,\); expected a Parameter"),
        (with_grads(np.ones(1)), 0.0, ValueError, "max_norm is 0.0; expected 0 < max_norm < inf"),
        (with_grads(np.ones(1)), None, TypeError, "max_norm is None; expected a number"),
    ],
)
def test_bad_arguments_are_refused(parameters, limit, error, said):
    with pytest.raises(error, match=said):
        clip_grad_norm(parameters, limit)
