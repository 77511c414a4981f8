"""The normal tail: known digits, the standard library, extremes, the complex step."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import floats

from npformer.functional import _normal
from npformer.functional._normal import normal_tail, right_half

REAL = [np.float32, np.float64]
LAST = {np.float32: 12.9, np.float64: 37.5}  # Q is a normal number up to here


def bound(t):
    """The relative error that the module allows itself."""
    if t.dtype == np.float64:
        return np.full(t.shape, 2e-15)
    return 8e-7 + 0.5 * t.astype(np.float64) ** 2 * 6e-8


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize(
    ("t", "q"),  # 20 digits; each of Cody's three regions, and the last decade
    [
        (0.0, 0.5),
        (0.25, 0.40129367431707629),
        (2.0, 2.2750131948179207200e-2),
        (5.0, 2.8665157187919391167e-7),
        (10.0, 7.6198530241605260660e-24),
        (12.5, 3.7325642988777133772e-36),
        (37.0, 5.7255712225245782e-300),
    ],
)
def test_known_digits(t, q, dtype):
    if t < LAST[dtype]:
        t = np.array([t], dtype)
        np.testing.assert_allclose(normal_tail(t)[0], [q], rtol=bound(t)[0])


@pytest.mark.parametrize("dtype", REAL)
def test_as_accurate_as_the_module_says_down_to_the_smallest_normal_number(dtype):
    ends = [r * z for z in (0.46875, 4.0) for r in (math.sqrt(2), np.nextafter(math.sqrt(2), 2))]
    t = np.concatenate([np.linspace(0, LAST[dtype], 5001), np.geomspace(1e-30, 1, 200), ends])
    t = t.astype(dtype)
    q, e = normal_tail(t)
    assert q.dtype == e.dtype == dtype
    want = tail(t)
    assert np.all(np.abs(q / want - 1) <= bound(t))
    np.testing.assert_allclose(e.astype(np.float64), density(t), rtol=np.max(bound(t)))


def density(t):
    """exp(-t^2 / 2), of whose exponent nothing is lost: Python's integers are exact."""
    found = []
    for v in t.tolist():
        n, d = v.as_integer_ratio()
        whole, rest = divmod(n * n, 2 * d * d)
        found.append(math.exp(-whole) * math.exp(-rest / (2 * d * d)))
    return np.array(found)


def tail(t):
    """Q(t) by the standard library, whose erfc gets t / sqrt(2) rounded; put right to first order.

    dQ/dt = -phi(t), so that a relative error r of the argument makes Q wrong by -phi(t) t r.
    """
    z = t.astype(np.float64) * math.sqrt(0.5)
    q = np.array([0.5 * math.erfc(v) for v in z.tolist()])
    n, d = zip(*(v.as_integer_ratio() for v in z.tolist()), strict=True)
    a, b = zip(*(v.as_integer_ratio() for v in t.tolist()), strict=True)
    off = [  # (2 z^2 - t^2) / t^2, half of which is the relative error of z
        0.0 if y == 0 else (2 * x * x * w * w - y * y * v * v) / (y * y * v * v)
        for x, v, y, w in zip(n, d, a, b, strict=True)
    ]
    return q + density(t) / math.sqrt(2 * math.pi) * t * np.array(off) / 2


@pytest.mark.parametrize("dtype", REAL)
def test_extremes_give_limits_without_a_warning(dtype):
    x = np.array([np.inf, np.finfo(dtype).max, 1e4, 0, -np.inf], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        q, e = normal_tail(right_half(x))
        np.testing.assert_array_equal(q, [0, 0, 0, 0.5, 0])
        np.testing.assert_array_equal(e, [0, 0, 0, 1, 0])
        assert np.isnan(normal_tail(right_half(np.array([np.nan], dtype)))[0])


def test_complex_step_carries_the_derivative():
    t = np.linspace(0, 37, 2003)
    q, e = normal_tail(t + 1e-30j)
    np.testing.assert_allclose(q.real, normal_tail(t)[0], rtol=1e-15)
    seen = t < 33  # beyond, 1e-30 times the derivative is below the smallest number
    want = -density(t) / math.sqrt(2 * math.pi)
    np.testing.assert_allclose((q.imag / 1e-30)[seen], want[seen], rtol=2e-13)
    np.testing.assert_allclose((e.imag / 1e-30)[seen], (-t * density(t))[seen], rtol=2e-13)


@given(floats((7,), st.floats(0, 12)))
def test_float32_is_a_rounding_of_float64(t):
    t = t.astype(np.float32)
    want = normal_tail(t.astype(np.float64))[0]
    assert np.all(np.abs(normal_tail(t)[0] / want - 1) <= bound(t))


@pytest.mark.parametrize("dtype", REAL)
def test_the_tail_never_rises(dtype):
    t = np.linspace(0, LAST[dtype], 1001, dtype=dtype)
    q = normal_tail(t)[0].astype(np.float64)
    assert np.all(np.diff(q) <= 0)


def test_right_half_is_new_and_bounded():
    x = np.array([-np.inf, -3.0, 2.0, 1e9])
    np.testing.assert_array_equal(right_half(x), [40, 3, 2, 40])
    np.testing.assert_array_equal(right_half(x + 0j), [40, 3, 2, 40])
    assert not np.shares_memory(x, right_half(x))


def test_the_single_precision_fit_is_as_close_as_it_says():
    t = np.linspace(0, 13.5, 4001)
    fit = _normal._ratio(_normal.SINGLE, t)
    q, e = normal_tail(t)
    assert np.max(np.abs(fit * e / q - 1)) < 4.2e-7
