"""erf and erfc: known digits, the standard library, tails, extremes, the complex step."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import floats

from npformer.functional import _elementwise
from npformer.functional._erf import erf, erfc, gauss, normal_tail, right_half

SMALLEST = np.finfo(np.float32).tiny


def ulps(got, want):
    """Largest error in units of the last place of `got`'s dtype."""
    want = np.asarray(want, np.float64)
    return np.max(np.abs(got - want) / np.spacing(np.abs(want).astype(got.dtype)))


@pytest.mark.parametrize(
    ("x", "erf_x", "erfc_x"),  # 20 digits; each of Cody's three regions, and the last decade
    [
        (0.25, 0.27632639016823693299, 0.72367360983176306701),
        (0.5, 0.52049987781304653768, 0.47950012218695346232),
        (-2.0, -0.99532226501895273416, 1.9953222650189527342),
        (3.5, 0.99999925690162765859, 7.4309837234141274552e-7),
        (5.0, 0.99999999999846254021, 1.5374597944280348502e-12),
        (20.0, 1.0, 5.3958656116079009289e-176),
        (26.5, 1.0, 2.2109076642637342759e-307),
    ],
)
def test_known_digits(x, erf_x, erfc_x):
    np.testing.assert_allclose(erf(np.array([x])), [erf_x], rtol=5e-16)
    np.testing.assert_allclose(erfc(np.array([x])), [erfc_x], rtol=1e-15)


@pytest.mark.parametrize(("ours", "theirs"), [(erf, math.erf), (erfc, math.erfc)])
@pytest.mark.parametrize(
    ("dtype", "last"), [(np.float64, 26.5), (np.float32, 9.19)], ids=["64", "32"]
)
def test_a_few_ulp_from_the_standard_library(ours, theirs, dtype, last):
    x = np.concatenate(
        [
            np.linspace(-last, last, 4001),
            np.linspace(-1, 1, 2001),
            np.geomspace(1e-30, 1, 200),
            [0.46875, np.nextafter(0.46875, 1), 0.75, np.nextafter(0.75, 1), 4, np.nextafter(4, 5)],
        ]
    ).astype(dtype)
    y = ours(x)
    assert y.dtype == dtype
    assert ulps(y, [theirs(v) for v in x.tolist()]) <= 8  # both errors, and that of np.exp


def test_float32_keeps_its_relative_accuracy_down_to_the_smallest_normal_number():
    x = np.linspace(8, 9.19, 2001, dtype=np.float32)
    want = np.array([math.erfc(v) for v in x.tolist()])
    assert SMALLEST < want[-1] < 1.1 * SMALLEST
    np.testing.assert_allclose(erfc(x), want, rtol=5e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extremes_give_limits_without_a_warning(dtype):
    most, least = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    x = np.array([np.inf, most, 1e4, 30, 0, least, -least, -30, -most, -np.inf], dtype)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(erfc(x), [0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
        np.testing.assert_allclose(
            erf(x), [1, 1, 1, 1, 0, least, -least, -1, -1, -1], rtol=0, atol=least
        )
        assert np.isnan(erf(np.array([np.nan], dtype)))
        assert np.isnan(erfc(np.array([np.nan], dtype)))
    np.testing.assert_array_equal(np.signbit(erf(np.array([0.0, -0.0], dtype))), [False, True])


def test_complex_extremes_give_limits_without_a_warning():
    x = np.array([np.inf, 1e200, -1e200, -np.inf, np.nan], np.complex128)
    np.testing.assert_array_equal(erfc(x)[:-1], [0, 0, 2, 2])
    np.testing.assert_array_equal(erf(x)[:-1], [1, 1, -1, -1])
    assert np.isnan(erfc(x)[-1])
    assert np.isnan(erf(x)[-1])


@pytest.mark.parametrize(("f", "sign"), [(erf, 1), (erfc, -1)])
def test_complex_step_carries_the_derivative(f, sign):
    x = np.linspace(-26, 26, 2003)
    slope = f(x + 1e-30j).imag / 1e-30
    want = [sign * 2 / math.sqrt(math.pi) * math.exp(-v * v) for v in x.tolist()]
    seen = np.abs(x) < 24  # beyond, 1e-30 times the derivative is below the smallest number
    np.testing.assert_allclose(slope[seen], np.array(want)[seen], rtol=2e-13)  # math.exp's own
    np.testing.assert_allclose(slope[np.abs(x) < 2], np.array(want)[np.abs(x) < 2], rtol=3e-15)
    np.testing.assert_allclose(f(x + 0j).real, f(x), rtol=1e-15)


@given(floats((7,), st.floats(-40, 40)))
def test_symmetry_and_complement(x):
    np.testing.assert_array_equal(erf(-x), -erf(x))
    np.testing.assert_allclose(erf(x) + erfc(x), 1, rtol=1e-15)
    np.testing.assert_allclose(erfc(x) + erfc(-x), 2, rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erfc_never_rises(dtype):
    y = erfc(np.linspace(-12, 12, 1001, dtype=dtype))
    assert np.all(np.diff(y.astype(np.float64)) <= 4 * np.finfo(dtype).eps * y[:-1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [0.5, 1.0])
def test_gauss_loses_nothing_to_the_rounding_of_the_square(c, dtype):
    t = np.linspace(0, 9, 3001, dtype=dtype)
    want = []
    for v in t.tolist():  # v = n/d exactly, and Python's integers square without rounding
        n, d = v.as_integer_ratio()
        whole, rest = divmod(n * n, d * d)
        want.append(math.exp(-c * whole) * math.exp(-c * (rest / (d * d))))
    np.testing.assert_allclose(gauss(t, c), want, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 5e-7), (np.float64, 2e-15)])
def test_normal_tail_is_not_hurt_by_dividing_by_the_root_of_two(dtype, rtol):
    t = np.array([5, 10, 12.5], dtype)
    q, e = normal_tail(t)
    np.testing.assert_allclose(
        q,
        [2.8665157187919391167e-7, 7.6198530241605260660e-24, 3.7325642988777133772e-36],
        rtol=rtol,
    )
    np.testing.assert_allclose(e, [math.exp(-12.5), math.exp(-50), math.exp(-78.125)], rtol=rtol)


def test_right_half_is_new_and_bounded():
    x = np.array([-np.inf, -3.0, 2.0, 1e9])
    np.testing.assert_array_equal(right_half(x), [40, 3, 2, 40])
    np.testing.assert_array_equal(right_half(x + 0j), [40, 3, 2, 40])
    assert not np.shares_memory(x, right_half(x))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 5, 7)])
def test_shapes_and_pieces(shape, monkeypatch):
    x = np.random.default_rng(0).standard_normal(shape)
    want = erfc(x)
    assert want.shape == shape
    monkeypatch.setattr(_elementwise, "PIECE_BYTES", 64)  # eight entries a piece
    np.testing.assert_array_equal(erfc(x), want)
    np.testing.assert_array_equal(erfc(x.T), want.T)
