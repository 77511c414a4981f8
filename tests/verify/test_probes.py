"""The tests of the whole gradient at once, and names for wrong factors."""

import numpy as np
import pytest
from support.strategies import normal

import npformer.functional as F
from npformer import Layer, gradcheck

X = normal(0, 4, 3)


def probes(report):
    return {probe.name: probe.verdict for probe in report.probes}


def cube(x):
    return x**3, x


def test_all_agree_on_a_right_gradient():
    report = gradcheck((cube, lambda dy, x: 3 * dy * x * x), X)
    agree = dict.fromkeys(("adjoint", "Taylor", "symmetry", "elsewhere"), "agrees")
    assert probes(report) == agree
    assert report.probes[1].value == pytest.approx(2, abs=0.1)


def test_adjoint_and_taylor_disagree_with_a_wrong_gradient():
    report = gradcheck((cube, lambda dy, x: 2.99 * dy * x * x), X)
    assert probes(report)["adjoint"] == "disagrees"
    assert probes(report)["Taylor"] == "disagrees"
    assert report.probes[1].value == pytest.approx(1, abs=0.1)


def test_symmetry_disagrees_where_it_is_no_gradient_of_anything():
    def forward(a, b):
        return a * b, (a, b)

    report = gradcheck((forward, lambda dy, s: (dy * s[1], dy * s[0] ** 2)), X, X + 1)
    assert probes(report)["symmetry"] == "disagrees"


def test_directions_do_not_pass_through_entries_at_a_kink():
    x = normal(0, 4, 5)
    x[0, 1] = 0.0
    report = gradcheck((lambda x: (np.maximum(x, 0), x > 0), lambda dy, p: dy * p), x)
    assert report.ok, report
    assert probes(report)["adjoint"] == "agrees"


def test_a_step_out_of_the_domain_is_no_error():
    def log(x):
        if np.any(x.real <= 0):
            raise ValueError("negative")
        return np.log(x), x

    x = np.abs(X) + 0.1
    x[:3] = 1e-4 * (1 + np.abs(X[:3]))
    for how in ({}, {"method": "central"}, {"mode": "fast"}):
        report = gradcheck((log, lambda dy, x: dy / x), x, **how)
        assert report.ok, report
    assert probes(report)["Taylor"] == "not applicable"


def test_no_second_differences_in_float32():
    report = gradcheck((F.softmax, F.softmax_backward), X.astype(np.float32))
    assert probes(report)["symmetry"] == "not applicable"


class Heads(Layer):
    num_heads = 5

    def __init__(self):
        self.num_heads = 5

    def forward(self, x, run=None):
        return np.tanh(x), np.tanh(x)

    def backward(self, dy, saved, run=None):
        return dy * (1 - saved * saved) / np.sqrt(self.num_heads)


def test_a_factor_is_named_after_a_number_on_the_layer():
    assert "equals 1 / sqrt(num_heads)" in str(gradcheck(Heads(), normal(0, 7, 3)))


@pytest.mark.parametrize(
    ("factor", "name"),
    [
        (7, "x.shape[0]"),
        (1 / 3, "1 / (x.shape[1]"),
        (3**0.5, "sqrt(x.shape[1]"),
        (-(11**-0.5), "-1 / sqrt(x.shape[2]"),
        (7 * 3, "x.size / x.shape[-1]"),
        (11 / 10, "n / (n - 1) with n = x.shape[2]"),
        (0.5, "1 / 2"),
    ],
)
def test_a_wrong_factor_is_named(factor, name):
    pair = lambda x: (np.tanh(x), np.tanh(x)), lambda dy, t: factor * dy * (1 - t * t)
    report = gradcheck(pair, normal(0, 7, 3, 11))
    assert report.families == {"factor"}
    assert name in " ".join(str(report).split())


def test_fast_mode_says_what_cannot_be_missed():
    report = gradcheck((F.softmax, F.softmax_backward), X, mode="fast")
    assert any("one wrong entry is not missed" in note for note in report.notes)


def test_kinks_of_a_big_tensor_are_left_out_of_its_directions():
    x = normal(0, 60, 60)
    x[3, 4] = x[50, 7] = 0.0
    pair = lambda x: (np.maximum(x, 0), x > 0), lambda dy, p: dy * p
    report = gradcheck(pair, x)
    assert report.mode == "fast"
    assert report.ok, report
    factor = np.ones((60, 60))
    factor[1, 17] = 2.0 if x[1, 17] > 0 else 1.0
    factor[1, 18] = 2.0 if x[1, 18] > 0 else 1.0
    assert gradcheck((pair[0], lambda dy, p: dy * p * factor), x).verdict == "fail"


class Memory:
    """y = x^2, whose backward uses what `recall` makes of all the inputs that there were."""

    def __init__(self, recall):
        self.seen, self.recall = [], recall

    def forward(self, x):
        self.seen.append(np.real(x).copy())
        return x * x, None

    def backward(self, dy, saved):
        return 2 * dy * self.recall(self.seen)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "recall",
    [
        lambda seen: seen[0],
        lambda seen: seen[-2],
        lambda seen: np.where(seen[0] > 0, np.abs(seen[-1]), -np.abs(seen[-1])),
    ],
    ids=["the first", "the one before", "the signs of the first"],
)
def test_what_an_earlier_pass_has_kept_is_found_out_at_another_point(recall, seed):
    layer = Memory(recall)
    report = gradcheck((layer.forward, layer.backward), X, seed=seed)
    assert [entry.verdict for entry in report.entries] == ["pass"]
    assert probes(report)["elsewhere"] == "disagrees"
    assert report.verdict == "fail"
    assert "state" in report.families
    right = Memory(lambda seen: seen[-1])
    assert probes(gradcheck((right.forward, right.backward), X, seed=seed))["elsewhere"] == "agrees"


def test_another_point_outside_of_the_domain_decides_nothing():
    def forward(x):
        if not np.array_equal(np.sort(np.real(x), axis=0), np.real(x)):
            raise KeyError("only sorted")
        return x * x, x

    x = np.arange(1.0, 9.0)[:, None]
    report = gradcheck((forward, lambda dy, x: 2 * dy * x), x)
    assert report.ok
    assert probes(report)["elsewhere"] == "not applicable"


def test_no_other_point_is_looked_at_where_parameters_are_not_to_move():
    report = gradcheck((cube, lambda dy, x: 3 * dy * x * x), X, move=False)
    assert "elsewhere" not in probes(report)


def test_a_tiny_scale_does_not_underflow_along_a_direction():
    report = gradcheck((lambda x: (3.0 * x, None), lambda dy, _: 3.0 * dy), 1e-200 * X)
    assert report.ok
    assert probes(report)["adjoint"] == "agrees"


def test_a_point_where_nothing_moves_decides_nothing():
    report = gradcheck((F.relu, F.relu_backward), -np.abs(X))  # 0 here, and wherever it goes
    (found,) = [probe for probe in report.probes if probe.name == "elsewhere"]
    assert found.verdict == "not applicable"
    assert "stand still" in found.meaning
