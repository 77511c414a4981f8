"""cross_entropy: values, gradient, what is counted, smoothing, extremes, refusals."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import floats, leads, normal, seeds, sides

import npformer.functional as F

smoothings = st.sampled_from([0.0, 0.1, 0.9])


@pytest.fixture(scope="module", params=["whole", "in blocks"], autouse=True)
def blocks(request):
    """Everything holds in one block of rows and in several."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "in blocks":
            patch.setattr(sys.modules["npformer.functional.cross_entropy"], "_CACHED", 12)
        yield


def targets_for(seed, V, shape, ignored=0.3):
    """Targets, of which some are ignored."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < ignored, -100, rng.integers(0, V, shape))


def pass_of(logits, targets, dy=1.0, **options):
    """The loss and the gradient."""
    loss, saved = F.cross_entropy(logits, targets, **options)
    return loss, F.cross_entropy_backward(dy, saved)


def test_value_and_gradient_by_hand():
    """Probabilities 1/8, 2/8, 5/8 and 1/2, 1/4, 1/4: the loss is the mean of ln 4 and ln 2."""
    logits, targets = np.log(np.array([[1.0, 2, 5], [2, 1, 1]])), np.array([1, 0])
    loss, dlogits = pass_of(logits, targets)
    assert math.isclose(loss, math.log(8) / 2, rel_tol=1e-15)
    want = np.array([[1 / 8, -6 / 8, 5 / 8], [-1 / 2, 1 / 4, 1 / 4]]) / 2
    np.testing.assert_allclose(dlogits, want, rtol=1e-14)


def test_smoothing_by_hand():
    """eps = 0.3 over 3 classes wants 0.8 of the target and 0.1 of each other."""
    logits = np.log(np.array([1.0, 2, 5]) / 8)
    loss, dlogits = pass_of(logits, np.array(1), label_smoothing=0.3)
    assert math.isclose(loss, -np.array([0.1, 0.8, 0.1]) @ logits, rel_tol=1e-14)
    np.testing.assert_allclose(dlogits, [1 / 8 - 0.1, 2 / 8 - 0.8, 5 / 8 - 0.1], rtol=1e-13)


@given(leads(), sides, smoothings, seeds, st.floats(-2, 2))
def test_gradient(lead, V, eps, seed, dy):
    targets = targets_for(seed, V, lead)
    assert_gradients(
        lambda x: F.cross_entropy(x, targets, label_smoothing=eps),
        F.cross_entropy_backward,
        [normal(seed, *lead, V)],
        dy,
        rtol=1e-9,
    )


@given(leads(), sides, smoothings, seeds)
def test_is_the_mean_of_minus_log_softmax_against_what_is_wanted(lead, V, eps, seed):
    logits, targets = 3 * normal(seed, *lead, V), targets_for(seed, V, lead, ignored=0.0)
    wanted = (1 - eps) * np.eye(V)[targets] + eps / V
    want = -np.sum(wanted * F.log_softmax(logits)[0]) / targets.size
    got, _ = F.cross_entropy(logits, targets, label_smoothing=eps)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14)


@given(leads(), sides, smoothings, seeds)
def test_gradient_rows_sum_to_zero(lead, V, eps, seed):
    targets = targets_for(seed, V, lead)
    _, dlogits = pass_of(3 * normal(seed, *lead, V), targets, label_smoothing=eps)
    np.testing.assert_allclose(np.sum(dlogits, axis=-1), 0, atol=1e-15)


@given(floats((3, 4)), st.floats(-1e3, 1e3), smoothings)
def test_a_common_shift_of_a_row_changes_nothing(logits, shift, eps):
    targets, shifts = np.array([0, 3, 1]), np.array([[shift], [0.0], [-shift]])
    loss, dlogits = pass_of(logits, targets, label_smoothing=eps)
    moved, moved_dlogits = pass_of(logits + shifts, targets, label_smoothing=eps)
    np.testing.assert_allclose(moved, loss, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(moved_dlogits, dlogits, atol=1e-12)


@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_logits_cost_ln_V(dtype, eps):
    loss, _ = F.cross_entropy(np.full((2, 3, 50), 7, dtype), np.ones((2, 3), int))
    np.testing.assert_allclose(loss, math.log(50), rtol=1e-6)
    assert loss.dtype == dtype


@given(seeds, smoothings)
def test_ignored_rows_count_for_nothing(seed, eps):
    """The loss and gradient are those of the counted rows alone, whatever the others hold."""
    logits, targets = normal(seed, 2, 4, 5), targets_for(seed, 5, (2, 4), ignored=0.5)
    targets[0, 0], targets[1, 1] = -100, 2  # at least one of each
    counted = targets != -100
    logits[~counted] = np.array([np.nan, np.inf, -np.inf, 1e300, 0])
    loss, dlogits = pass_of(logits, targets, label_smoothing=eps)
    alone, alone_dlogits = pass_of(logits[counted], targets[counted], label_smoothing=eps)
    assert loss == alone
    np.testing.assert_array_equal(dlogits[counted], alone_dlogits)
    np.testing.assert_array_equal(dlogits[~counted], 0)


def test_the_ignored_value_is_an_option():
    logits, targets = normal(0, 4, 3), np.array([0, 2, 0, 1])
    loss, dlogits = pass_of(logits, targets, ignore_index=0)
    alone, alone_dlogits = pass_of(logits[1::2], targets[1::2])
    assert loss == alone
    np.testing.assert_array_equal(dlogits[1::2], alone_dlogits)
    assert not dlogits[0::2].any()


@pytest.mark.parametrize("shape", [(2, 3), (0,), ()])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_none_counted_gives_zero_and_a_zero_gradient(dtype, shape):
    logits = np.full((*shape, 4), np.nan, dtype)
    loss, dlogits = pass_of(logits, np.full(shape, -100), label_smoothing=0.1)
    assert loss == 0
    np.testing.assert_array_equal(dlogits, np.zeros_like(logits))
    assert loss.dtype == dlogits.dtype == dtype


@given(seeds, smoothings)
def test_whole_batch_is_the_mean_of_its_parts_weighted_by_counted_targets(seed, eps):
    logits, targets = normal(seed, 5, 6, 4), targets_for(seed, 4, (5, 6))
    loss, dlogits = pass_of(logits, targets, label_smoothing=eps)
    parts = [pass_of(x, t, label_smoothing=eps) for x, t in zip(logits, targets, strict=True)]
    weights = np.sum(targets != -100, axis=1)
    want = weights @ [part for part, _ in parts] / weights.sum()
    np.testing.assert_allclose(loss, want, rtol=1e-12)
    for got, (_, part), weight in zip(dlogits, parts, weights, strict=True):
        np.testing.assert_allclose(got, part * weight / weights.sum(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_ten_thousand_are_no_trouble(dtype):
    logits = np.array([[1e4, -1e4, 1e4], [-1e4, 1e4, -1e4]], dtype)
    loss, dlogits = pass_of(logits, np.array([0, 0]))
    np.testing.assert_allclose(loss, (math.log(2) + 2e4) / 2, rtol=1e-7)
    np.testing.assert_array_equal(dlogits, np.array([[-0.25, 0, 0.25], [-0.5, 0.5, 0]], dtype))
    assert dlogits.dtype == dtype
    loss, _ = F.cross_entropy(logits, np.array([0, 1]), label_smoothing=0.3)
    np.testing.assert_allclose(loss, (2e3 + 4e3 + math.log(2)) / 2, rtol=1e-6)


def test_a_class_that_is_impossible_costs_nothing_unless_it_is_the_target():
    logits = np.array([0.0, -np.inf, 0.0])
    loss, dlogits = pass_of(logits, np.array(0))
    assert math.isclose(loss, math.log(2))
    np.testing.assert_array_equal(dlogits, [-0.5, 0, 0.5])
    assert F.cross_entropy(logits, np.array(1))[0] == np.inf


@pytest.mark.parametrize("dy", [2.0, np.float64(2), np.float32(2), np.array(2.0), 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_any_number_may_be_dy_and_dtype_is_kept(dtype, dy):
    logits, targets = normal(0, 3, 4).astype(dtype), np.array([0, 1, 2])
    loss, dlogits = pass_of(logits, targets, dy, label_smoothing=np.float64(0.1))
    assert loss.dtype == dlogits.dtype == dtype
    np.testing.assert_array_equal(dlogits, 2 * pass_of(logits, targets, label_smoothing=0.1)[1])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint64])
def test_targets_of_any_integer_dtype(dtype):
    """-100 does not occur in unsigned targets, and 200 classes are more than int8 can count."""
    logits, targets = normal(0, 3, 200), np.array([0, 100, 127])
    want, want_dlogits = pass_of(logits, targets)
    loss, dlogits = pass_of(logits, targets.astype(dtype))
    assert loss == want
    np.testing.assert_array_equal(dlogits, want_dlogits)


@pytest.mark.parametrize(
    ("logits", "targets", "options", "said"),
    [
        ((2, 3), [0], {}, r"logits \(2, 3\) and targets \(1,\) do not fit; expected \(\.\.\., V\)"),
        ((2, 0), [0, 0], {}, r"cross_entropy: logits \(2, 0\) and targets"),
        ((), 0, {}, r"logits \(\)"),
        (
            (2, 3),
            [0, 3],
            {},
            r"targets\[1\] is 3; expected 0 to 2 \(classes: 3\), so check the tok",
        ),
        ((2, 3), [-1, 0], {}, r"cross_entropy: targets\[0\] is -1; expected 0 to 2"),
        ((2, 3), [-100, 0], {"ignore_index": -1}, r"targets\[0\] is -100"),
        ((1, 3), [0], {"label_smoothing": 1.0}, r"label_smoothing is 1.0; expected 0 <= it < 1"),
        ((1, 3), [0], {"label_smoothing": float("nan")}, r"label_smoothing is nan"),
    ],
)
def test_what_does_not_fit_is_refused(logits, targets, options, said):
    with pytest.raises(ValueError, match=said):
        F.cross_entropy(np.zeros(logits), np.array(targets), **options)


def test_scores_without_a_distribution_are_refused():
    for logits in ([np.inf, 0.0], [-np.inf, -np.inf]):
        with pytest.raises(
            ValueError, match=r"cross_entropy: along axis -1 of x \(1, 2\) an entry"
        ):
            F.cross_entropy(np.array([logits]), np.array([0]))


def test_wrong_dtypes_and_gradients_are_refused():
    with pytest.raises(
        TypeError, match=r"targets is float64 \(2,\); expected a NumPy array of int"
    ):
        F.cross_entropy(np.zeros((2, 3)), np.zeros(2))
    with pytest.raises(TypeError, match=r"cross_entropy: logits is float16 \(2, 3\)"):
        F.cross_entropy(np.zeros((2, 3), np.float16), np.zeros(2, int))
    _, saved = F.cross_entropy(np.zeros((2, 3)), np.zeros(2, int))
    for dy in (np.ones(2), "1", None, True):
        with pytest.raises(ValueError, match=r"cross_entropy_backward: dy is .* pass a number"):
            F.cross_entropy_backward(dy, saved)


@pytest.mark.parametrize("index", ["a", 2.5, None, True, np.float64(1)])
def test_an_index_to_ignore_that_is_no_integer_is_refused(index):
    with pytest.raises(TypeError, match=r"^cross_entropy: ignore_index is .*; expected an int"):
        F.cross_entropy(np.ones((2, 3)), np.array([0, 1]), ignore_index=index)
