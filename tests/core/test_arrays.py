"""What an array may be, and the messages of what may not."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import leads, normal, seeds

from npformer.core import arrays


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.ones((2, 3), np.float32), "float32 (2, 3)"),
        (np.float64(1), "float64 ()"),
        ([1.0], "a list"),
        (None, "a NoneType"),
    ],
)
def test_describe(value, said):
    assert arrays.describe(value) == said


@pytest.mark.parametrize(
    "fine",
    [
        {"x": np.ones(2, np.float32), "y": np.float32(1), "bias": None},
        {"x": np.ones(2), "y": np.ones(2, complex)},
        {"bias": None, "memory": None},
    ],
)
def test_floats_of_one_precision_are_fine(fine):
    arrays.check_floats("op", **fine)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"x": None}, "op: x is a NoneType; expected a NumPy array of float32 or float64"),
        ({"x": [1.0]}, "op: x is a list; expected a NumPy array of float32 or float64, so convert"),
        ({"x": np.ones(2), "y": 1.0}, "op: y is a float; expected a NumPy array"),
        ({"x": np.ones(2, int)}, "op: x is int64 (2,); expected float32 or float64"),
        ({"x": np.ones(2, np.float16)}, "x is float16 (2,); expected float32 or float64"),
        ({"x": np.ones(2, np.complex64)}, "x is complex64 (2,); expected float32 or float64"),
        ({"x": np.ones(2, np.longdouble)}, "expected float32 or float64"),
        (
            {"bias": None, "y": np.ones(2, np.float32), "z": np.ones(2)},
            "op: y is float32 but z is float64; NumPy would silently lift float32 to float64",
        ),
        ({"x": np.ones(2, complex), "y": np.ones(2, np.float32)}, "x is complex128 but y is float"),
    ],
)
def test_other_arrays_are_refused(bad, said):
    with pytest.raises(TypeError, match=re.escape(said)):
        arrays.check_floats("op", **bad)


def test_an_upstream_gradient_has_the_shape_and_precision_of_the_output():
    """Which are told by an array, or by its dtype alone."""
    x = np.ones((2, 3))
    arrays.check_gradient("op", x, (2, 3), x)
    arrays.check_gradient("op", x, (2, 3), x.dtype)
    with pytest.raises(
        ValueError, match=r"op: dy is \(2, 3\) but the output was \(3,\); .* shape$"
    ):
        arrays.check_gradient("op", x, (3,), x)
    for like in (x.astype(np.float32), np.dtype(np.float32)):
        with pytest.raises(TypeError, match="op: saved is float32 but dy is float64"):
            arrays.check_gradient("op", x, (2, 3), like)


@pytest.mark.parametrize("dy", [2, 2.0, np.float64(2), np.array(2.0), np.float32(2)])
def test_the_gradient_of_a_scalar_takes_the_dtype_of_the_input(dy):
    got = arrays.scalar_gradient("op", dy, np.ones(3, np.float32))
    assert got == 2
    assert got.dtype == np.float32


@pytest.mark.parametrize(
    ("dy", "what"),
    [(np.ones(1), "float64 (1,)"), ([1.0], "a list"), (None, "a NoneType"), ("1", "a str")],
)
def test_the_gradient_of_a_scalar_is_a_number(dy, what):
    said = f"op: dy is {what}; the output is a scalar, so pass a number (1.0 for the gradient"
    with pytest.raises(ValueError, match=f"{re.escape(said)} of the loss itself.$"):
        arrays.scalar_gradient("op", dy, np.ones(3))


@pytest.mark.parametrize(
    ("dy", "what"),
    [(1 + 2j, "a complex"), (np.complex128(1 + 2j), "complex128 ()")],
)
def test_the_gradient_of_a_scalar_does_not_lose_its_imaginary_part(dy, what):
    got = arrays.scalar_gradient("op", dy, np.ones(3, np.complex128))
    assert got == 1 + 2j
    assert got.dtype == np.complex128
    for dtype in (np.float32, np.float64):
        said = f"op: dy is {what} but the output was {np.dtype(dtype)}; its imaginary part would"
        with pytest.raises(ValueError, match=f"^{re.escape(said)} be lost, .* complex128$"):
            arrays.scalar_gradient("op", dy, np.ones(3, dtype))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_ids_of_any_integer_dtype_are_fine(dtype):
    arrays.check_ids("op", "ids", np.array([0, 4], dtype), 5, "a table of")
    arrays.check_ids("op", "ids", np.empty((0, 2), dtype), 5, "a table of")


@pytest.mark.parametrize(
    ("ids", "error", "said"),
    [
        ([[0, 5]], ValueError, "op: ids[0, 1] is 5; expected 0 to 4 (a table of 5), so check"),
        ([[0, 1], [-1, 9]], ValueError, "op: ids[1, 0] is -1; expected 0 to 4"),
        ([0.0], TypeError, "op: ids is float64 (1,); expected a NumPy array of integers"),
        ([True], TypeError, "op: ids is bool (1,); expected a NumPy array of integers"),
    ],
)
def test_ids_out_of_range_are_named_with_their_index(ids, error, said):
    with pytest.raises(error, match=re.escape(said)):
        arrays.check_ids("op", "ids", np.array(ids), 5, "a table of")


def test_a_list_of_ids_is_refused():
    with pytest.raises(TypeError, match=r"ids is a list; .*np.asarray\(ids, dtype=np.int64\)"):
        arrays.check_integers("op", "ids", [1])


@pytest.mark.parametrize(
    ("check", "value", "error", "said"),
    [
        ("check_size", 0, ValueError, "Thing: n is 0; expected a positive int"),
        ("check_size", -1, ValueError, "Thing: n is -1; expected a positive int"),
        ("check_size", 2.0, TypeError, "Thing: n is 2.0; expected a positive int"),
        ("check_size", True, TypeError, "Thing: n is True; expected a positive int"),
        ("check_size", None, TypeError, "Thing: n is None; expected a positive int"),
        ("check_positive", 0, ValueError, "Thing: n is 0; expected a positive number"),
        ("check_positive", -1e-5, ValueError, "Thing: n is -1e-05; expected a positive number"),
        ("check_positive", float("nan"), ValueError, "Thing: n is nan; expected a positive"),
        ("check_positive", float("inf"), ValueError, "Thing: n is inf; expected a positive"),
        ("check_positive", "1", TypeError, "Thing: n is '1'; expected a positive number"),
        ("check_positive", True, TypeError, "Thing: n is True; expected a positive number"),
    ],
)
def test_numbers_out_of_range_are_refused(check, value, error, said):
    with pytest.raises(error, match=re.escape(said)):
        getattr(arrays, check)("Thing", n=value)


def test_numbers_in_range_are_fine():
    arrays.check_size("Thing", a=1, b=np.int64(3))
    arrays.check_positive("Thing", a=1e-300, b=2, c=np.float32(1))
    for rate in (0, 0.0, 0.999, np.float32(0.5)):
        arrays.check_rate("Thing", "rate", rate)


@pytest.mark.parametrize(
    ("rate", "error", "said"),
    [
        (1.0, ValueError, "expected 0 <= rate < 1, the share of entries that are zeroed"),
        (-0.1, ValueError, "rate is -0.1"),
        (float("nan"), ValueError, "rate is nan"),
        ("0.1", TypeError, "rate is '0.1'; expected a float in [0, 1)"),
        (True, TypeError, "rate is True"),
    ],
)
def test_rates_out_of_range_are_refused(rate, error, said):
    with pytest.raises(error, match=re.escape(said)):
        arrays.check_rate("Thing", "rate", rate)


def test_choices():
    arrays.check_choice("Thing", "kind", "a", ("a", "b"))
    with pytest.raises(ValueError, match="Thing: kind is 'c'; expected one of a, b"):
        arrays.check_choice("Thing", "kind", "c", ("a", "b"))


@given(seeds, leads(3), leads(2))
def test_unbroadcast_is_the_transpose_of_broadcasting(seed, lead, shape):
    """<broadcast(x), g> = <x, unbroadcast(g)>, which is what a chain rule has to be."""
    rng = np.random.default_rng(seed)
    own = tuple(n if rng.random() < 0.5 else 1 for n in shape)
    x, g = normal(seed, *own), normal(seed + 1, *lead, *shape)
    got = arrays.unbroadcast(g, own)
    assert got.shape == own
    np.testing.assert_allclose(np.sum(np.broadcast_to(x, g.shape) * g), np.sum(x * got), atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 3), (3, 1), (0, 3), (1, 3, 1)])
def test_unbroadcast_beside_axes_of_length_one_and_none(shape):
    g = np.ones(shape)
    got = arrays.unbroadcast(g, (1,) * len(shape))
    np.testing.assert_array_equal(got, np.full((1,) * len(shape), g.size))


def test_unbroadcast_returns_what_needs_no_sum():
    g = np.ones((2, 3))
    assert arrays.unbroadcast(g, (2, 3)) is g


@given(st.lists(st.integers(0, 3), max_size=3), st.lists(st.integers(0, 3), max_size=3))
def test_fits_says_what_numpy_does(shape, to):
    try:
        np.broadcast_to(np.empty(shape), to)
        expected = True
    except ValueError:
        expected = False
    assert arrays.fits(tuple(shape), tuple(to)) == expected


def test_a_single_id_has_no_index():
    with pytest.raises(ValueError, match="op: id is 9; expected 0 to 4"):
        arrays.check_ids("op", "id", np.array(9), 5, "vocabulary of")


@pytest.mark.parametrize(
    ("given", "numbers"),
    [
        (3, 3),
        ((1, 2), [1, 2]),
        (range(2), [0, 1]),
        ([[1], [2]], [[1], [2]]),
        ([2**63, 1], [2**63, 1]),
        (-(2**70), -(2**70)),
        (np.array([1, 2], np.int8), [1, 2]),
        (np.uint8(3), 3),
        ([np.int32(1), 2], [1, 2]),
        ([], []),
        (np.zeros(0), []),
    ],
)
def test_whole_numbers_keep_their_values(given, numbers):
    got = arrays.whole_numbers(given)
    assert got.tolist() == numbers


@pytest.mark.parametrize(
    "given",
    [
        True,
        [True],
        1.5,
        [1, 2.0],
        None,
        "1",
        {1},
        [[1], [2, 3]],
        np.ones(2),
        np.ones(2, bool),
        [np.zeros((2, 3), int), np.zeros((2, 4), int)],
    ],
)
def test_what_is_no_whole_number(given):
    assert arrays.whole_numbers(given) is None


def test_counts_numbers_and_flags():
    arrays.check_count("Thing", a=0, b=np.int64(3))
    assert arrays.check_number("Thing", "x", np.float32(1), "a number") == 1.0
    assert arrays.check_number("Thing", "x", -(10**400), "a number") == -np.inf
    arrays.check_flag("Thing", "on", False)
    with pytest.raises(ValueError, match="Thing: a is -1; expected an int, 0 or more"):
        arrays.check_count("Thing", a=-1)
    with pytest.raises(TypeError, match="Thing: a is True; expected an int, 0 or more"):
        arrays.check_count("Thing", a=True)
    with pytest.raises(TypeError, match=r"Thing: x is float64 \(1,\); expected a number"):
        arrays.check_number("Thing", "x", np.ones(1), "a number")
    with pytest.raises(TypeError, match="Thing: on is 1; expected True or False, or else"):
        arrays.check_flag("Thing", "on", 1, ", or else")


def test_a_seed_is_no_generator():
    arrays.check_generator("Thing", None)
    with pytest.raises(TypeError, match=r"rng is 7; .*default_rng\(7\), or None for evaluation"):
        arrays.check_generator("Thing", 7)
    with pytest.raises(TypeError, match=r"rng is None; .*default_rng\(0\)$"):
        arrays.check_generator("Thing", None, None)


@given(*[st.lists(st.integers(0, 3), max_size=3).map(tuple)] * 2)
def test_joint_shapes_are_numpys(one, other):
    try:
        want = np.broadcast_shapes(one, other)
    except ValueError:
        with pytest.raises(ValueError, match="do not broadcast"):
            arrays.joint_shape(one, other)
    else:
        assert arrays.joint_shape(one, other) == want
