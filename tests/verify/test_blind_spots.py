"""The caller is told what the given inputs cannot show."""

import numpy as np
import pytest
from support.strategies import normal

import npformer.functional as F
from npformer import gradcheck

X = normal(0, 4, 3)
LINEAR = F.linear, F.linear_backward


def told(report):
    return [note for note in report.notes if "cannot be seen" in note or "hides" in note]


def test_nothing_is_said_of_varied_inputs():
    assert told(gradcheck(LINEAR, X, normal(1, 5, 3), normal(2, 5))) == []
    assert told(gradcheck((F.embedding, F.embedding_backward), np.array([[0, 2], [1, 1]]), X)) == []


@pytest.mark.parametrize("shape", [(1, 3), (1, 4, 3), (4, 1, 3), (1, 1, 3)])
def test_an_axis_of_length_one(shape):
    report = gradcheck(LINEAR, normal(0, *shape), normal(1, 5, 3), normal(2, 5))
    assert report.ok
    due = [f"axis {axis} of x has length 1" for axis, n in enumerate(shape) if n == 1]
    assert [note.partition(":")[0] for note in told(report)] == due


def test_axes_of_several_inputs_are_told_at_once():
    report = gradcheck((F.attention, F.attention_backward), *(normal(i, 1, 3, 4) for i in range(3)))
    assert [n.partition(" has")[0] for n in told(report)] == ["axis 0 of q and k and v"]


def test_an_axis_that_is_broadcast_hides_nothing():
    q, k, v = normal(0, 2, 3, 4, 4), normal(1, 2, 1, 5, 4), normal(2, 2, 1, 5, 4)
    assert told(gradcheck((F.attention, F.attention_backward), q, k, v)) == []


def test_a_batch_of_one_row_of_ids():
    report = gradcheck((F.embedding, F.embedding_backward), np.array([[0, 2, 1]]), X)
    assert [n.partition(":")[0] for n in told(report)] == [
        "no number in ids occurs twice",
        "axis 0 of ids has length 1",
    ]


def test_a_loss_of_one_example():
    pair = F.cross_entropy, F.cross_entropy_backward
    report = gradcheck(pair, normal(0, 1, 5), np.array([2]))
    assert any("axis 0 of logits and targets has length 1" in note for note in told(report))


def test_equal_entries_are_moved_and_told():
    report = gradcheck(LINEAR, X, np.ones((5, 3)))
    assert [n[:32] for n in told(report)] == ["all entries of weight are equal,"]
    assert "checked at a random point near it" in told(report)[0]


def test_equal_entries_where_nothing_is_moved():
    report = gradcheck(LINEAR, np.ones((4, 3)), np.zeros((5, 3)), move=False)
    assert [n.partition(":")[0] for n in told(report)] == ["all entries are equal in x, weight"]


def test_equal_ids():
    report = gradcheck((F.embedding, F.embedding_backward), np.array([[1, 1], [1, 1]]), X)
    assert any("all entries of ids are equal" in note for note in told(report))


def test_equal_rows():
    report = gradcheck((F.softmax, F.softmax_backward), np.tile(X[0], (4, 1)))
    assert [n.partition(":")[0] for n in told(report)] == ["x is the same all along axis 0"]


def test_two_equal_arguments():
    pair = lambda a, b: (a * b, (a, b)), lambda dy, s: (dy * s[1], dy * s[0])
    assert [n.partition(":")[0] for n in told(gradcheck(pair, X, X))] == ["a and b are equal"]
