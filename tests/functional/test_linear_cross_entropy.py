"""linear_cross_entropy: the same as linear and cross_entropy, in chunks; extremes, refusals."""

import importlib
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import leads, normal, seeds, sides

import npformer.functional as F

module = importlib.import_module("npformer.functional.linear_cross_entropy")
lengths = st.integers(1, 7)  # of chunks
smoothings = st.sampled_from([0.0, 0.1, 0.9])


@pytest.fixture
def chunks(monkeypatch):
    """Set how many rows a chunk has, how many columns a part of dW, and what fits the cache."""

    def set_to(length, columns=3, cached=8):
        monkeypatch.setattr(module, "_chunk_length", lambda weight: length)
        monkeypatch.setattr(module, "_COLUMNS", columns)
        inner = importlib.import_module("npformer.functional.cross_entropy")
        monkeypatch.setattr(inner, "_CACHED", cached)

    return set_to


def problem(seed, lead, V, D, ignored=0.3):
    """Hidden states, an output layer, and targets of which some are ignored."""
    rng = np.random.default_rng(seed)
    targets = np.where(rng.random(lead) < ignored, -100, rng.integers(0, V, lead))
    return normal(seed, *lead, D), normal(seed + 1, V, D), targets


def pass_of(x, weight, targets, dy=1.0, **options):
    """The loss and both gradients."""
    loss, saved = F.linear_cross_entropy(x, weight, targets, **options)
    return loss, *F.linear_cross_entropy_backward(dy, saved)


def in_two(x, weight, targets, dy=1.0, **options):
    """The same by `linear` and `cross_entropy`."""
    logits, head = F.linear(x, weight)
    loss, saved = F.cross_entropy(logits, targets, **options)
    dx, dweight, _ = F.linear_backward(F.cross_entropy_backward(dy, saved), head)
    return loss, dx, dweight


def assert_alike(got, want, **tolerance):
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, **tolerance)


def test_value_and_gradients_by_hand():
    """D = 1: x = 2 and weights ln(1)/2, ln(2)/2, ln(5)/2 give probabilities 1/8, 2/8 and 5/8."""
    x, weight = np.array([2.0]), np.log([[1.0], [2], [5]]) / 2
    loss, dx, dweight = pass_of(x, weight, np.array(1), dy=3.0)
    assert math.isclose(loss, math.log(4), rel_tol=1e-15)
    ds = np.array([1 / 8, -6 / 8, 5 / 8])
    np.testing.assert_allclose(dx, 3 * ds @ weight, rtol=1e-13)
    np.testing.assert_allclose(dweight, 6 * ds[:, None], rtol=1e-13)


@given(
    st.integers(0, 13).map(lambda n: (n,)) | leads(),
    st.integers(1, 9),
    sides,
    smoothings,
    lengths,
    seeds,
    st.floats(-2, 2),
)
def test_is_linear_and_cross_entropy_in_one_whatever_the_chunk(lead, V, D, eps, length, seed, dy):
    x, weight, targets = problem(seed, lead, V, D)
    want = in_two(x, weight, targets, dy, label_smoothing=eps)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_chunk_length", lambda weight: length)
        patch.setattr(module, "_COLUMNS", 4)
        got = pass_of(x, weight, targets, dy, label_smoothing=eps)
    assert_alike(got, want, rtol=1e-12, atol=1e-13)


def test_backward_over_several_chunks_may_be_called_twice(chunks):
    x, weight, targets = problem(0, (7,), 5, 3, ignored=0)
    chunks(2)
    _, saved = F.linear_cross_entropy(x, weight, targets)
    first, second = (F.linear_cross_entropy_backward(1.0, saved) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_column_is_added_to_for_every_chunk(chunks):
    """More classes than rows, in several parts, and several chunks."""
    x, weight, targets = problem(0, (4,), 11, 3, ignored=0)
    want = in_two(x, weight, targets)
    chunks(1)
    assert_alike(pass_of(x, weight, targets), want, rtol=1e-12, atol=1e-14)


@given(leads(), sides, sides, smoothings, lengths, seeds, st.floats(-2, 2))
def test_gradient(lead, V, D, eps, length, seed, dy):
    x, weight, targets = problem(seed, lead, V, D)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_chunk_length", lambda weight: length)
        assert_gradients(
            lambda x, weight: F.linear_cross_entropy(x, weight, targets, label_smoothing=eps),
            F.linear_cross_entropy_backward,
            [x, weight],
            dy,
            rtol=1e-9,
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
@pytest.mark.parametrize("length", [1, 4, 5, 11, 12])
def test_any_chunk_gives_the_same_in_every_dtype(chunks, dtype, length):
    x, weight, targets = problem(0, (11,), 7, 3)
    x, weight = x.astype(dtype), weight.astype(dtype)
    want = in_two(x, weight, targets, label_smoothing=0.1)
    chunks(length)
    got = pass_of(x, weight, targets, label_smoothing=0.1)
    assert_alike(got, want, rtol=2e-5 if dtype == np.float32 else 1e-12, atol=1e-7)
    assert all(a.dtype == dtype for a in got)


@pytest.mark.parametrize("which", [0, 1])
def test_one_argument_may_be_complex_alone(which):
    x, weight, targets = problem(0, (4,), 5, 3)
    arrays = [x, weight]
    arrays[which] = arrays[which] + 0j
    for dy in 1.0, 1 + 2j:
        want = in_two(*arrays, targets, dy=dy)
        assert_alike(pass_of(*arrays, targets, dy=dy), want, rtol=1e-12, atol=1e-14)


def test_the_default_chunk_is_as_large_as_the_weight_or_a_million_logits():
    def most(V, D):
        return module._chunk_length(np.broadcast_to(0.0, (V, D)))

    assert most(50_257, 768) == 768
    assert most(65, 128) == 2**20 // 65
    assert most(2**21, 1) == 1
    head = np.broadcast_to(0.0, (50_257, 768))
    assert module._chunks(256, head) == [slice(0, 256)]
    assert module._chunks(1600, head) == [slice(0, 64), slice(64, 832), slice(832, 1600)]
    assert module._chunks(0, head) == []


def test_the_logits_are_never_held_whole():
    """4,096 x 2,048 of them are 32 MiB of float32; a chunk is 4 MiB, and the weight less."""
    N, V, D = 4096, 2048, 16
    rng = np.random.default_rng(0)
    x, weight = (rng.standard_normal(shape).astype(np.float32) for shape in ((N, D), (V, D)))
    targets = rng.integers(0, V, N)
    tracemalloc.start()
    try:
        _, saved = F.linear_cross_entropy(x, weight, targets)
        forward = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        F.linear_cross_entropy_backward(1.0, saved)
        backward = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert forward < 6 * 2**20
    assert backward < 11 * 2**20


@pytest.mark.parametrize("length", [2, 100])
def test_backward_may_be_called_twice_and_writes_to_nothing(chunks, length):
    chunks(length)
    x, weight, targets = problem(3, (2, 4), 6, 3)
    for array in (x, weight, targets):
        array.flags.writeable = False
    _, saved = F.linear_cross_entropy(x, weight, targets, label_smoothing=0.1)
    for array in (saved.g, saved.z):
        array.flags.writeable = False
    first = F.linear_cross_entropy_backward(2.0, saved)
    again = F.linear_cross_entropy_backward(2.0, saved)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not any(np.shares_memory(a, other) for other in (x, weight, saved.g, b))


@pytest.mark.parametrize("length", [2, 100])
def test_ignored_rows_count_for_nothing(chunks, length):
    """They are not looked at, whatever they hold: no 0 times NaN reaches the weight."""
    chunks(length)
    x, weight, targets = problem(1, (3, 4), 5, 2)
    targets[0, 0], targets[1, 1] = -100, 2  # at least one of each
    counted = targets != -100
    alone = pass_of(x[counted], weight, targets[counted], label_smoothing=0.1)
    x[~counted] = np.array([np.nan, np.inf])
    loss, dx, dweight = pass_of(x, weight, targets, label_smoothing=0.1)
    assert loss == alone[0]
    np.testing.assert_array_equal(dx[counted], alone[1])
    np.testing.assert_array_equal(dx[~counted], 0)
    np.testing.assert_array_equal(dweight, alone[2])


def test_the_ignored_value_is_an_option():
    x, weight, _ = problem(0, (4,), 3, 2)
    loss, dx, _ = pass_of(x, weight, np.array([0, 2, 0, 1]), ignore_index=0)
    alone, _, _ = pass_of(x[1::2], weight, np.array([2, 1]))
    assert loss == alone
    assert not dx[0::2].any()


@pytest.mark.parametrize("shape", [(2, 3), (0,), ()])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_none_counted_gives_zero_and_zero_gradients(dtype, shape):
    x, weight = np.full((*shape, 4), np.nan, dtype), np.ones((5, 4), dtype)
    loss, dx, dweight = pass_of(x, weight, np.full(shape, -100), label_smoothing=0.1)
    assert loss == 0
    np.testing.assert_array_equal(dx, np.zeros_like(x))
    np.testing.assert_array_equal(dweight, np.zeros_like(weight))
    assert loss.dtype == dx.dtype == dweight.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("length", [1, 2])
def test_logits_of_ten_thousand_are_no_trouble(chunks, dtype, length):
    """The logits are [1e4, -1e4, 1e4] and their negatives."""
    chunks(length)
    x, weight = np.array([[1e2], [-1e2]], dtype), np.array([[1e2], [-1e2], [1e2]], dtype)
    loss, dx, dweight = pass_of(x, weight, np.array([0, 0]))
    np.testing.assert_allclose(loss, (math.log(2) + 2e4) / 2, rtol=1e-7)
    ds = np.array([[-0.25, 0, 0.25], [-0.5, 0.5, 0]])
    np.testing.assert_allclose(dx, ds @ weight, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(dweight, ds.T @ x, rtol=1e-6, atol=1e-5)
    assert loss.dtype == dx.dtype == dweight.dtype == dtype
    loss, _, _ = pass_of(x, weight, np.array([0, 1]), label_smoothing=0.3)
    np.testing.assert_allclose(loss, (2e3 + 4e3 + math.log(2)) / 2, rtol=1e-6)


def test_a_target_that_is_certain_has_no_gradient():
    """In float32 too, p - q is taken before it is multiplied: what cancels leaves nothing."""
    x = np.full((6, 1), 1e2, np.float32)
    weight = np.array([[1e2], [0.3], [-0.7]], np.float32)
    loss, dx, dweight = pass_of(x, weight, np.zeros(6, int))
    assert loss == 0
    assert not dx.any()
    assert not dweight.any()


@pytest.mark.parametrize("dy", [2.0, np.float64(2), np.float32(2), np.array(2.0), 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_any_number_may_be_dy_and_dtype_is_kept(dtype, dy):
    x, weight, targets = problem(0, (3,), 4, 2)
    x, weight = x.astype(dtype), weight.astype(dtype)
    loss, *gradients = pass_of(x, weight, targets, dy, label_smoothing=np.float64(0.1))
    assert isinstance(loss, np.generic)
    assert loss.dtype == dtype
    once = pass_of(x, weight, targets, label_smoothing=0.1)[1:]
    assert_alike(gradients, [2 * g for g in once], rtol=0)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint64])
def test_targets_of_any_integer_dtype(dtype):
    x, weight, _ = problem(0, (3,), 200, 4)
    targets = np.array([0, 100, 127])
    want = pass_of(x, weight, targets)
    assert_alike(pass_of(x, weight, targets.astype(dtype)), want, rtol=0)


@pytest.mark.parametrize(
    ("x", "weight", "targets", "options", "said"),
    [
        ((2, 3), (4, 2), [0, 0], {}, r"x \(2, 3\) does not fit weight \(4, 2\); it wants x \("),
        ((2, 3), (3,), [0, 0], {}, r"does not fit weight \(3,\); it wants .* weight \(V, D\)"),
        ((), (4, 2), 0, {}, r"x \(\) does not fit weight"),
        ((2, 3), (0, 3), [0, 0], {}, r"with V and D at least 1"),
        ((2, 0), (3, 0), [0, 0], {}, r"with V and D at least 1"),
        ((2, 3), (4, 3), [0], {}, r"targets \(1,\) do not fit x \(2, 3\); expected .* \(2,\)"),
        ((2, 3), (4, 3), [0, 4], {}, r"targets\[1\] is 4; expected 0 to 3 \(classes: 4\), so"),
        ((2, 3), (4, 3), [-1, 0], {}, r"targets\[0\] is -1; expected 0 to 3"),
        ((2, 3), (4, 3), [-100, 0], {"ignore_index": -1}, r"targets\[0\] is -100"),
        ((1, 3), (4, 3), [0], {"label_smoothing": 1.0}, r"label_smoothing is 1.0; expected 0 <="),
        ((1, 3), (4, 3), [0], {"label_smoothing": float("nan")}, r"label_smoothing is nan"),
    ],
)
def test_what_does_not_fit_is_refused(x, weight, targets, options, said):
    with pytest.raises(ValueError, match=f"^linear_cross_entropy: .*{said}"):
        F.linear_cross_entropy(np.zeros(x), np.zeros(weight), np.array(targets), **options)


def test_logits_without_a_distribution_are_refused():
    for weight in ([[np.inf], [0.0]], [[-np.inf], [-np.inf]]):
        with pytest.raises(
            ValueError, match=r"^linear_cross_entropy: along axis -1 of x @ weight\.T \(1, 2\) an"
        ):
            F.linear_cross_entropy(np.ones((1, 1)), np.array(weight), np.array([0]))


def test_wrong_dtypes_and_gradients_are_refused():
    x, weight, targets = np.zeros((2, 3)), np.zeros((4, 3)), np.zeros(2, int)
    with pytest.raises(TypeError, match=r"^linear_cross_entropy: targets is float64 \(2,\)"):
        F.linear_cross_entropy(x, weight, np.zeros(2))
    with pytest.raises(TypeError, match=r"^linear_cross_entropy: x is float64 but weight is float"):
        F.linear_cross_entropy(x, weight.astype(np.float32), targets)
    _, saved = F.linear_cross_entropy(x, weight, targets)
    for dy in (np.ones(2), "1", None, True):
        with pytest.raises(
            ValueError, match=r"^linear_cross_entropy_backward: dy is .* pass a number"
        ):
            F.linear_cross_entropy_backward(dy, saved)


@pytest.mark.parametrize("index", ["a", 2.5, None, True, np.float64(1)])
def test_an_index_to_ignore_that_is_no_integer_is_refused(index):
    with pytest.raises(
        TypeError, match=r"^linear_cross_entropy: ignore_index is .*; expected an int"
    ):
        F.linear_cross_entropy(
            np.ones((2, 3)), np.ones((4, 3)), np.array([0, 1]), ignore_index=index
        )
