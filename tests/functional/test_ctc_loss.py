"""ctc_loss: all paths one by one, gradient, what is ignored, extremes, refusals."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.oracle import assert_gradients
from support.strategies import normal, seeds

import npformer.functional as F
from npformer.core.errors import DivergedError


def log_probs_for(seed, *shape):
    return F.log_softmax(2 * normal(seed, *shape))[0]


def spelt(path, blank):
    """What a path spells: repeats merged, then blanks removed."""
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def by_all_paths(x, blank):
    """The probability of every target, from x (T, V)."""
    T, V = x.shape
    p = {}
    for path in itertools.product(range(V), repeat=T):
        target = spelt(path, blank)
        p[target] = p.get(target, 0.0) + math.exp(sum(x[t, k] for t, k in enumerate(path)))
    return p


def steps_for(target):
    """How many steps a target needs."""
    return len(target) + sum(a == b for a, b in itertools.pairwise(target))


@st.composite
def batches(draw):
    """log_probs, padded targets, lengths and the blank; a target may be empty, or fit exactly."""
    B, V, seed = draw(st.integers(1, 3)), draw(st.integers(2, 4)), draw(seeds)
    blank = draw(st.integers(0, V - 1))
    classes = [k for k in range(V) if k != blank]
    targets = draw(st.lists(st.lists(st.sampled_from(classes), max_size=3), min_size=B, max_size=B))
    T = max(1, *map(steps_for, targets), draw(st.integers(1, 6)))
    steps = [draw(st.integers(max(1, steps_for(target)), T)) for target in targets]
    M = max(map(len, targets)) + draw(st.integers(0, 1))
    padded = np.full((B, M), -7)
    for row, target in zip(padded, targets, strict=True):
        row[: len(target)] = target
    lengths = np.array(steps), np.array([len(target) for target in targets])
    return log_probs_for(seed, B, T, V), padded, *lengths, blank


def pass_of(*inputs, dy=1.0):
    """The loss and the gradient."""
    loss, saved = F.ctc_loss(*inputs)
    return loss, F.ctc_loss_backward(dy, saved)


def one(x, target, blank=0):
    """The loss of one target, not divided by its length."""
    target = np.array([target], int).reshape(1, -1)
    lengths = np.array([len(x)]), np.array([target.size])
    return float(F.ctc_loss(x[None], target, *lengths, blank)[0]) * max(target.size, 1)


def test_value_and_gradient_by_hand():
    """Two steps: a is spelt by "a a", "a -" and "- a"."""
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])
    whole = 0.3 * 0.6 + 0.3 * 0.1 + 0.5 * 0.6
    inputs = np.log(p)[None], np.array([[1]]), np.array([2]), np.array([1])
    loss, dx = pass_of(*inputs)
    assert math.isclose(loss, -math.log(whole), rel_tol=1e-14)
    want = -np.array([[0.5 * 0.6, 0.3 * 0.6 + 0.3 * 0.1, 0], [0.3 * 0.1, 0.6 * 0.8, 0]]) / whole
    np.testing.assert_allclose(dx[0], want, rtol=1e-13)


def test_a_repeat_needs_a_blank():
    """Three steps spell a a in one way."""
    x = log_probs_for(0, 3, 3)
    assert math.isclose(one(x, [1, 1]), -(x[0, 1] + x[1, 0] + x[2, 1]), rel_tol=1e-14)


@pytest.mark.parametrize(("T", "V", "blank"), [(1, 3, 0), (3, 3, 1), (4, 3, 2), (5, 2, 0)])
def test_is_the_sum_over_all_paths_and_the_targets_share_one(T, V, blank):
    x = log_probs_for(T, T, V)
    p = by_all_paths(x, blank)
    assert math.isclose(sum(p.values()), 1, rel_tol=1e-12)
    got = {target: math.exp(-one(x, target, blank)) for target in p}
    for target, probability in p.items():
        assert math.isclose(got[target], probability, rel_tol=1e-11), target
    classes = [k for k in range(V) if k != blank]
    possible = [t for n in range(T + 1) for t in itertools.product(classes, repeat=n)]
    assert set(p) == {target for target in possible if steps_for(target) <= T}


@given(batches())
def test_a_batch_is_the_mean_of_its_samples_each_per_class(batch):
    x, targets, steps, lengths, blank = batch
    want, parts = 0.0, []
    for i, (n, m) in enumerate(zip(steps, lengths, strict=True)):
        p = by_all_paths(x[i, :n], blank)
        want -= math.log(p[tuple(targets[i, :m].tolist())]) / max(m, 1) / len(x)
        alone = x[i : i + 1, :n], targets[i : i + 1, :m], np.array([n]), np.array([m]), blank
        parts.append(pass_of(*alone)[1][0] / len(x))
    loss, dx = pass_of(*batch)
    np.testing.assert_allclose(loss, want, rtol=1e-11)
    for i, part in enumerate(parts):
        np.testing.assert_allclose(dx[i, : steps[i]], part, rtol=1e-11, atol=1e-15)


@given(batches(), st.floats(-2, 2))
def test_gradient(batch, dy):
    x, *others = batch
    assert_gradients(lambda x: F.ctc_loss(x, *others), F.ctc_loss_backward, [x], dy, rtol=1e-9)


@given(batches(), seeds)
def test_gradient_of_scores_that_are_no_log_probabilities(batch, seed):
    """It is the partial derivative, whatever the exponentials sum to."""
    x, *others = batch
    x = 3 * normal(seed, *x.shape)
    assert_gradients(lambda x: F.ctc_loss(x, *others), F.ctc_loss_backward, [x], 0.7, rtol=1e-9)


@given(batches())
def test_the_gradient_of_each_step_is_a_posterior(batch):
    """Not positive, with the weight of the sample as its sum, and 0 beyond the input."""
    x, _, steps, lengths, _ = batch
    _, dx = pass_of(*batch)
    real = np.arange(x.shape[1]) < steps[:, None]
    want = np.where(real, -1 / (len(x) * np.maximum(lengths, 1))[:, None], 0)
    np.testing.assert_allclose(np.sum(dx, axis=-1), want, rtol=1e-13)
    assert np.all(dx <= 0)
    assert not dx[~real].any()


@given(batches())
def test_padding_reaches_nothing(batch):
    x, targets, steps, lengths, blank = batch
    loss, dx = pass_of(*batch)
    real = np.arange(x.shape[1]) < steps[:, None]
    for spoilt in (np.nan, np.inf, -np.inf, 5.0):
        other = np.where(real[..., None], x, spoilt)
        for stand_in in (-1, 99, blank):
            beyond = np.arange(targets.shape[1]) >= lengths[:, None]
            moved = np.where(beyond, stand_in, targets)
            same, same_dx = pass_of(other, moved, steps, lengths, blank)
            assert same == loss
            np.testing.assert_array_equal(same_dx, dx)


@given(batches())
def test_reversed_in_time_the_loss_is_the_same(batch):
    x, targets, steps, lengths, blank = batch
    loss, dx = pass_of(*batch)
    back, back_targets = x.copy(), targets.copy()
    for i, (n, m) in enumerate(zip(steps, lengths, strict=True)):
        back[i, :n], back_targets[i, :m] = x[i, :n][::-1], targets[i, :m][::-1]
    same, back_dx = pass_of(back, back_targets, steps, lengths, blank)
    np.testing.assert_allclose(same, loss, rtol=1e-12)
    for i, n in enumerate(steps):
        np.testing.assert_allclose(back_dx[i, :n][::-1], dx[i, :n], rtol=1e-10, atol=1e-14)


@given(batches(), seeds)
def test_names_of_classes_do_not_matter(batch, seed):
    x, targets, steps, lengths, blank = batch
    loss, dx = pass_of(*batch)
    names = np.random.default_rng(seed).permutation(x.shape[2])  # the class k becomes names[k]
    moved, real = np.empty_like(x), np.arange(targets.shape[1]) < lengths[:, None]
    moved[..., names] = x
    renamed = np.where(real, names[np.where(real, targets, 0)], -1)
    same, moved_dx = pass_of(moved, renamed, steps, lengths, int(names[blank]))
    np.testing.assert_allclose(same, loss, rtol=1e-13)
    np.testing.assert_allclose(moved_dx[..., names], dx, rtol=1e-12, atol=1e-16)


def test_the_gradient_of_logits_is_the_probability_less_the_posterior():
    """What PyTorch returns for log-probabilities is this one of the logits."""
    logits, targets = 2 * normal(0, 2, 6, 4), np.array([[1, 1, 3], [2, 0, 0]])
    lengths = np.array([6, 4]), np.array([3, 1])
    x, softmax = F.log_softmax(logits)
    _, dx = pass_of(x, targets, *lengths)
    weights = np.array([1 / 6, 1 / 2])[:, None, None]
    real = (np.arange(6) < lengths[0][:, None])[..., None]
    want = real * weights * np.exp(x) + dx
    np.testing.assert_allclose(F.log_softmax_backward(dx, softmax), want, rtol=1e-12, atol=1e-15)


def test_long_inputs_lose_nothing_in_float32():
    """P is about exp(-3000), and the posteriors of every step still sum to one."""
    x = log_probs_for(0, 2, 1500, 20).astype(np.float32)
    rng = np.random.default_rng(1)
    inputs = rng.integers(1, 20, (2, 60)), np.array([1500, 1200]), np.array([60, 40])
    loss, dx = pass_of(x, *inputs)
    want, want_dx = pass_of(x.astype(np.float64), *inputs)
    assert loss.dtype == dx.dtype == np.float32
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    np.testing.assert_allclose(np.sum(dx[0], axis=-1), -1 / 120, rtol=1e-5)
    np.testing.assert_allclose(dx, want_dx, atol=2e-3 * np.abs(want_dx).max())


def test_log_probabilities_of_minus_a_million_are_no_trouble():
    """Of 3 steps the class may fill one, two or all: 6 paths, in 3, 4 and 3 of them each step."""
    inputs = np.full((1, 3, 2), -1e6), np.array([[1]]), np.array([3]), np.array([1])
    loss, dx = pass_of(*inputs)
    assert math.isclose(loss, 3e6 - math.log(6), rel_tol=1e-14)
    np.testing.assert_allclose(dx[0], np.array([[3, 3], [2, 4], [3, 3]]) / -6, rtol=1e-8)


def test_impossible_classes_are_left_out():
    """The blank is impossible at the second step: of the three paths, "a a" and "- a" are left."""
    x = np.full((1, 2, 3), -np.inf)
    x[0, 0, :2], x[0, 1, 1] = np.log([0.5, 0.3]), math.log(0.6)
    inputs = np.array([[1]]), np.array([2]), np.array([1])
    loss, dx = pass_of(x, *inputs)
    assert math.isclose(loss, -math.log(0.8 * 0.6), rel_tol=1e-14)
    np.testing.assert_allclose(dx[0], [[-5 / 8, -3 / 8, 0], [0, -1, 0]], rtol=1e-14)
    same, same_dx = pass_of(x.astype(complex), *inputs)
    np.testing.assert_allclose(same, loss, rtol=1e-14)
    np.testing.assert_allclose(same_dx, dx, rtol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_target_without_a_path_costs_infinitely_much_and_has_no_gradient(dtype):
    x = log_probs_for(0, 2, 4, 3).astype(dtype)
    x[0, :, 1] = -np.inf
    loss, dx = pass_of(x, np.array([[1], [2]]), np.array([4, 4]), np.array([1, 1]))
    assert loss == np.inf
    assert not dx[0].any()
    np.testing.assert_allclose(np.sum(dx[1], axis=-1), -0.5, rtol=1e-6)


def test_no_target_is_all_blanks():
    x = log_probs_for(0, 1, 4, 3)
    loss, dx = pass_of(x, np.zeros((1, 0), int), np.array([4]), np.array([0]))
    assert math.isclose(loss, -np.sum(x[0, :, 0]), rel_tol=1e-14)
    np.testing.assert_allclose(dx[0], np.tile([-1, 0, 0], (4, 1)), rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint64])
def test_integers_of_any_dtype(dtype):
    """200 classes and 150 steps are more than int8 can count, 2 * 70 states too."""
    x, rng = log_probs_for(0, 2, 150, 200), np.random.default_rng(0)
    targets, lengths = rng.integers(1, 127, (2, 70)), (np.array([120, 127]), np.array([70, 66]))
    want, want_dx = pass_of(x, targets, *lengths)
    loss, dx = pass_of(x, *(a.astype(dtype) for a in (targets, *lengths)))
    assert loss == want
    np.testing.assert_array_equal(dx, want_dx)


@pytest.mark.parametrize("dy", [2.0, np.float64(2), np.float32(2), np.array(2.0), 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_any_number_may_be_dy_and_dtype_is_kept(dtype, dy):
    x = log_probs_for(0, 1, 4, 3).astype(dtype)
    inputs = x, np.array([[1, 2]]), np.array([4]), np.array([2])
    loss, dx = pass_of(*inputs, dy=dy)
    assert loss.dtype == dx.dtype == dtype
    np.testing.assert_array_equal(dx, 2 * pass_of(*inputs)[1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"log_probs": np.zeros((2, 5))}, r"log_probs is \(2, 5\); expected \(batch, length, cla"),
        ({"log_probs": np.zeros((2, 0, 4))}, r"log_probs is \(2, 0, 4\); .* each of them at least"),
        ({"targets": np.array([1, 2])}, r"targets \(2,\) do not fit log_probs \(2, 5, 4\); it w"),
        ({"targets": np.array([[1, 2]])}, r"targets \(1, 2\) do not fit"),
        ({"targets": np.array([[1, 4], [1, 2]])}, r"ctc_loss: targets\[0, 1\] is 4; expected 0 to"),
        ({"targets": np.array([[1, 2], [-1, 2]])}, r"targets\[1, 0\] is -1; expected 0 to 3 \(cl"),
        ({"targets": np.array([[1, 2], [1, 0]])}, r"targets\[1, 1\] is 0, the blank; expected a "),
        ({"input_lengths": np.array([5])}, r"input_lengths is \(1,\); expected one for each samp"),
        ({"input_lengths": np.array([5, 6])}, r"input_lengths\[1\] is 6; expected 1 to 5"),
        ({"input_lengths": np.array([0, 5])}, r"ctc_loss: input_lengths\[0\] is 0; expected 1 to"),
        ({"target_lengths": np.array([2, 3])}, r"target_lengths\[1\] is 3; expected 0 to 2"),
        ({"target_lengths": np.array([-1, 2])}, r"target_lengths\[0\] is -1; expected 0 to 2"),
        ({"target_lengths": np.array([[2, 2]])}, r"target_lengths is \(1, 2\); .* sample, \(2,\)"),
        ({"blank": 4}, r"ctc_loss: blank is 4; expected 0 to 3"),
        ({"blank": -1}, r"ctc_loss: blank is -1; expected an int, 0 or more"),
        (
            {"input_lengths": np.array([2, 2]), "targets": np.array([[1, 2], [3, 3]])},
            r"the target of sample 1 does not fit its input: 2 classes and 1 repeats, .* need 3 s"
            r"teps, and input_lengths\[1\] is 2",
        ),
        (
            {"input_lengths": np.array([1, 5])},
            r"the target of sample 0 does not fit its input: 2 classes and 0 repeats, .* need 2 s",
        ),
    ],
)
def test_what_does_not_fit_is_refused(changes, said):
    inputs = {
        "log_probs": np.zeros((2, 5, 4)),
        "targets": np.array([[1, 2], [3, 3]]),
        "input_lengths": np.array([5, 5]),
        "target_lengths": np.array([2, 2]),
    }
    F.ctc_loss(**inputs)
    with pytest.raises(ValueError, match=said):
        F.ctc_loss(**(inputs | changes))


def test_the_only_class_may_be_the_blank():
    x = np.zeros((1, 3, 1))
    assert pass_of(x, np.array([[0]]), np.array([3]), np.array([0]))[0] == 0
    with pytest.raises(ValueError, match=r"targets\[0, 0\] is 0, the blank"):
        F.ctc_loss(x, np.array([[0]]), np.array([3]), np.array([1]))


def test_a_positive_infinity_is_refused():
    x = np.zeros((1, 3, 3))
    x[0, 1, 2] = np.inf
    lengths = np.array([3]), np.array([1])
    with pytest.raises(DivergedError, match=r"ctc_loss: log_probs \(1, 3, 3\) has \+inf at a cla"):
        F.ctc_loss(x, np.array([[2]]), *lengths)
    assert F.ctc_loss(x, np.array([[1]]), *lengths)[0] < 0  # of a class that does not occur


@pytest.mark.parametrize("name", ["targets", "input_lengths", "target_lengths"])
def test_what_is_not_integers_is_refused(name):
    inputs = {
        "log_probs": np.zeros((1, 3, 3)),
        "targets": np.array([[1]]),
        "input_lengths": np.array([3]),
        "target_lengths": np.array([1]),
    }
    for wrong in (inputs[name].astype(float), inputs[name] > 0, inputs[name].tolist()):
        with pytest.raises(TypeError, match=f"ctc_loss: {name} is .* expected a NumPy array of in"):
            F.ctc_loss(**(inputs | {name: wrong}))
    with pytest.raises(TypeError, match=r"ctc_loss: blank is 0\.0; expected an int"):
        F.ctc_loss(**inputs, blank=0.0)
    _, saved = F.ctc_loss(**inputs)
    with pytest.raises(ValueError, match=r"ctc_loss_backward: dy is .* pass a number"):
        F.ctc_loss_backward(np.ones(1), saved)
