"""What is wrong, in words: faults that the suite of wrong gradients does not have."""

import numpy as np
import pytest
from support.strategies import normal

import npformer.functional as F
from npformer import gradcheck

X = normal(7, 4, 5)


def said(backward, *inputs, forward=None, **how):
    """The report on a pair, as one line of text, and its families."""
    pair = forward or (lambda x: (np.sin(x), x)), backward
    report = gradcheck(pair, *(inputs or (X,)), **how)
    assert report.verdict == "fail", report
    return " ".join(str(report).split()), report.families


def changed(change):
    """A backward of the sine with a change to its gradient."""

    def backward(dy, x):
        dx = dy * np.cos(x)
        return change(dx)

    return backward


def at(value):
    def change(dx):
        for index, factor in value.items():
            dx[index] *= factor
        return dx

    return change


@pytest.mark.parametrize(
    ("change", "family", "words"),
    [
        (lambda dx: dx + 1e-4, "added constant", "a constant is added to it: +0.0001"),
        (lambda dx: dx * 1.0000001, "factor", "it is 1 +1e-07 times the true gradient"),
        (lambda dx: dx.reshape(5, 4).T, "transposed", "with axes 0 and 1 exchanged"),
        (at({(0, 0): 1.001, (3, 4): 0.999}), "few entries", "at [0, 0] and [3, 4] are wrong"),
        (at({(1, 2): 1.001}), "one index", "only the entry at [1, 2] is wrong"),
        (lambda dx: dx.astype(np.float32), "precision", "the digits of float32"),
        (lambda dx: np.roll(dx, 2, 1), "wrong paths", "leaves out 20 of 20 dependences"),
    ],
)
def test_a_changed_gradient(change, family, words):
    text, families = said(changed(change))
    assert family in families
    assert words in text


def test_what_is_too_large_to_take_apart_may_have_no_known_relation():
    text, families = said(changed(lambda dx: np.roll(dx, 2, 1)), normal(7, 15, 20))
    assert families == {"unrelated"}
    assert "no simple relation" in text


def test_a_backward_that_does_not_repeat_itself():
    rng = np.random.default_rng(0)
    text, families = said(lambda dy, x: dy * np.cos(x) * (1 + 1e-3 * rng.random()))
    assert families == {"not repeatable"}
    assert "backward does not repeat itself" in text


def test_the_upstream_gradient_of_a_loss_that_is_ignored():
    text, families = said(lambda dy, x: 2 * x, forward=lambda x: (np.sum(x * x), x))
    assert "missing factor" in families
    assert "dy is lost" in text


def test_a_gradient_that_should_be_zero():
    text, _ = said(lambda dy, x: np.ones_like(x), forward=lambda x: (np.ones(3), x))
    assert "it should be zero: the output does not depend on it" in text


@pytest.mark.parametrize(
    ("forward", "backward"),
    [
        (lambda x: (np.cumsum(x, -1), x), lambda dy, x: np.cumsum(dy, -1)),
        (lambda x: (x @ normal(1, 5, 5), x), lambda dy, x: dy @ normal(1, 5, 5)),
    ],
)
def test_a_derivative_that_is_applied_forwards(forward, backward):
    text, families = said(backward, forward=forward)
    assert families == {"transposed"}
    assert "applied to dy, where the transposed one is due" in text


def test_the_deviation_with_n_for_n_minus_one():
    def forward(x):
        return np.sqrt(np.sum((x - x.mean(-1, keepdims=True)) ** 2, -1) / 4), x

    def backward(dy, x):
        return dy[:, None] * (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True) / 5

    assert "equals sqrt((n - 1) / n) with n = x.shape[1]" in said(backward, forward=forward)[0]


def test_a_transposed_gradient_of_a_big_tensor():
    text, families = said(changed(np.transpose), normal(0, 100, 100))
    assert families == {"transposed"}
    assert "it would be right transposed" in text


def test_entries_of_a_big_tensor_are_said_to_be_sampled():
    def exchanged(dx):
        dx[[0, 1]] = dx[[1, 0]]
        return dx

    assert "of 64 sampled" in said(changed(exchanged), normal(0, 100, 300))[0]


def test_a_direction_is_not_called_an_entry():
    for seed in range(10):
        report = gradcheck(
            (lambda x: (np.sin(x), x), changed(lambda dx: dx * (1 + 1e-6))),
            normal(seed, 60, 50),
            seed=seed,
        )
        assert "one index" not in report.families


def test_the_one_gradient_that_is_missing_is_named():
    def backward(dy, saved):
        return F.linear_backward(dy, saved)[:2]

    report = gradcheck((F.linear, backward), X, normal(1, 3, 5), normal(2, 3))
    assert [entry.name for entry in report.entries if entry.verdict == "fail"] == ["bias"]


def test_an_input_that_is_written_to_and_kept_is_one_fault():
    def forward(x, w):
        x *= 2
        return x @ w, (x, w)

    def backward(dy, saved):
        x, w = saved
        return 2 * dy @ w.T, x.T @ dy

    assert said(backward, X, normal(1, 5, 3), forward=forward)[1] == {"mutated"}


def test_what_is_lost_of_a_target_is_a_row_of_the_weight():
    """Of -log p, where p is a softmax of x W^T: the gradient is (p - one-hot) W."""
    ids = np.array([2, 0, 1, 2])
    x, weight = normal(1, 4, 6), normal(2, 3, 6)

    def forward(x, weight):
        return F.linear_cross_entropy(x, weight, ids)

    def backward(dy, saved):
        dx, dweight = F.linear_cross_entropy_backward(dy, saved)[:2]
        return dx + dy * weight[ids] / 4, dweight

    moved, _ = said(backward, x, weight, forward=forward)
    assert "what is too much is, at each place, a multiple of a row of weight" in moved
    assert "the part of one index, such as the target's, is wrong" in moved
