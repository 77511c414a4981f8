"""What is wrong, in words: faults that show where both Jacobians are laid side by side."""

import numpy as np
from support.strategies import normal

import npformer.functional as F
from npformer import gradcheck

X = normal(7, 2, 4, 3)
W = normal(8, 4, 3)


def said(forward, backward, *inputs, **how):
    """The report on a pair, as one line of text, and its families."""
    report = gradcheck((forward, backward), *(inputs or (X,)), **how)
    assert report.verdict == "fail", report
    return " ".join(str(report).split()), report.families


def average(x):
    """Each place the mean of those up to it."""
    return np.cumsum(x, 1) / np.arange(1, 5)[:, None], x


def average_backward(dy, x):
    return np.cumsum((dy / np.arange(1, 5)[:, None])[:, ::-1], 1)[:, ::-1].copy()


def test_the_right_backward_of_these_passes():
    assert gradcheck((average, average_backward), X).ok


def test_a_future_that_is_let_through_is_called_so():
    def backward(dy, x):
        whole = np.sum(dy / np.arange(1, 5)[:, None], 1, keepdims=True)
        return np.broadcast_to(whole, x.shape).copy()

    text, families = said(average, backward)
    assert families == {"extra paths"}
    assert "beside 60 dependences of an output on an entry backward has 36 that forward" in text
    assert "that of y[0, 0, 0] on x[0, 1, 0] (all those on a later place along axis 1)" in text
    assert "the others are right" in text


def test_a_past_that_is_forgotten_is_called_so():
    text, families = said(average, lambda dy, x: dy / np.arange(1, 5)[:, None])
    assert families == {"missing paths"}
    assert "only at 0, 1, 2 of axis 1: backward leaves out 36 of 60 dependences" in text
    assert "(all those on an earlier place along axis 1); the others are right" in text


def test_what_is_left_out_and_what_is_too_much_are_both_counted():
    def backward(dy, saved):
        return saved * (dy - np.sum(dy * saved, axis=0, keepdims=True))

    x = normal(3, 4, 5)
    text, families = said(lambda x: (F.softmax(x)[0],) * 2, backward, x)
    assert families == {"wrong paths"}
    assert "leaves out 80 of 100 dependences" in text
    assert "(all those on another place along axis 1); it has 60 that forward has not" in text
    assert "(all those on another place along axis 0); the others are right" in text


def test_outputs_from_which_nothing_comes_back_are_named():
    text, families = said(
        lambda x, b: (x + b, None), lambda dy, _: (dy, np.sum(dy[:, :3], (0, 1))), X, normal(1, 3)
    )
    assert families == {"missing paths"}
    assert "leaves out 6 of 24" in text
    assert "that of y[0, 3, 0] on b[0] (all those of y at 3 of axis 1)" in text


def test_axes_that_do_not_go_together_are_named():
    """A bias along the last axis that is added up along the first of the output."""
    text, families = said(
        lambda x, b: (x + b, None), lambda dy, _: (dy, np.sum(dy, 1)), normal(1, 3, 3), normal(2, 3)
    )
    assert families == {"wrong paths"}
    assert "(all those on another place along axis 0 of b, 1 of y)" in text


def test_paths_that_remain_may_be_wrong_as_well():
    def backward(dy, saved):
        return dy * saved.r * saved.x

    text, families = said(lambda x: F.rms_norm(x, np.ones(3)), backward)
    assert families == {"missing paths"}
    assert "24 of the other 24 are wrong, too" in text


def test_a_wrong_slope_is_shown_where_it_is_most_wrong():
    x = np.array([-1.0, 0.5, 2.0, 3.0])
    text, families = said(lambda x: (np.tanh(x),) * 2, lambda dy, y: dy * (1 - y), x)
    assert families == {"slope"}
    assert "by a wrong slope: at x = -1 it takes 1.76159 for 0.419975" in text


def test_an_output_that_depends_on_one_entry_has_its_derivative_shown():
    x = normal(1, 6, 3)
    text, families = said(
        lambda w: (np.sinh(w) * x, w), lambda dy, w: np.sum(dy * x**2, 0) * np.cosh(w), normal(2, 3)
    )
    assert families == {"missing factor"}
    assert "each output depends on one entry alone, and on the right one" in text


def test_a_factor_that_each_output_has_is_named():
    def forward(x, w):
        y, saved = F.softmax(x)
        return y * w, (saved, w)

    def backward(dy, both):
        saved, _ = both
        return F.softmax_backward(dy, saved), np.sum(dy * saved.y, (0, 1))

    text, families = said(forward, backward, X, normal(5, 3))
    assert families == {"missing factor"}
    assert "hangs on the output alone: multiplied by w it would be right" in text

    def twice(dy, both):
        return backward(dy * both[1] ** 2, both)[0], backward(dy, both)[1]

    text, families = said(forward, twice, X, normal(5, 3))
    assert families == {"missing factor"}
    assert "hangs on the output alone: divided by w it would be right" in text


def test_a_factor_that_each_entry_has_is_named():
    """The cosine of the entries is forgotten where they go through a matrix afterwards."""

    def backward(dy, x):
        return dy @ W.T

    text, families = said(lambda x: (np.sin(x) @ W, x), backward, normal(2, 5, 4))
    assert families == {"missing factor"}
    assert "hangs on the entry alone, such as" in text


def test_entries_in_another_order_are_called_so():
    """A convolution whose kernel is not turned round."""
    kernel = normal(4, 3)

    def forward(x):
        return np.array([np.convolve(row, kernel, "same") for row in x]), None

    def backward(dy, _):
        return np.array([np.convolve(row, kernel, "same") for row in dy])

    assert gradcheck(
        (forward, lambda dy, _: np.array([np.convolve(row, kernel[::-1], "same") for row in dy])),
        normal(1, 2, 6),
    ).ok
    _, families = said(forward, backward, normal(1, 2, 6))
    assert families == {"transposed"}  # which is more telling, of a square Jacobian


def test_a_term_that_all_share_is_a_matrix_of_low_rank():
    def backward(dy, y):
        return dy - np.mean(dy, -1, keepdims=True)

    text, families = said(lambda x: (F.log_softmax(x)[0],) * 2, backward, normal(2, 3, 5))
    assert families == {"missing term"}
    assert "off by a matrix of rank 3, where its own is 12" in text


def test_a_constant_that_is_forgotten_is_told_with_its_value():
    """The target of a cross-entropy."""
    ids = np.array([0, 2, 2, 1])

    def forward(x):
        y, saved = F.cross_entropy(x, ids, label_smoothing=0.1)
        return y, saved

    def backward(dy, saved):
        return F.cross_entropy_backward(dy, saved) + dy * np.eye(5)[ids] * 0.9 / 4

    text, families = said(forward, backward, normal(2, 4, 5))
    assert families == {"missing term"}
    assert "takes few values" in text
    assert "at 4 of 20 entries" in text


def test_a_jacobian_of_many_outputs_is_not_made():
    for length, made in ((20, True), (500, False)):
        text, _ = said(
            lambda x: (np.cumsum(x * x, 1), x), lambda dy, x: 2 * x * dy, normal(3, 2, length)
        )
        assert ("dependences" in text) == made


def test_a_backward_that_is_not_linear_has_no_jacobian():
    def backward(dy, x):
        return np.cos(x) * np.sinh(dy)

    _, families = said(lambda x: (np.sin(x), x), backward)
    assert "slope" not in families
    assert "not linear" in families


def sums_of_squares(x):
    """Each place the sum of the squares of those up to it."""
    return np.cumsum(x * x, 0), x


def forgetful(dy, x):
    """Leaves out the earlier places."""
    return 2 * x * dy


def test_a_backward_that_raises_for_a_single_output_is_reported_all_the_same():
    def backward(dy, x):
        if np.count_nonzero(dy) == 1:
            raise RuntimeError("too few")
        return forgetful(dy, x)

    text, _ = said(sums_of_squares, backward, normal(1, 5, 2))
    assert "dependences" not in text


def test_a_forward_that_ends_near_the_point_is_taken_apart_with_smaller_steps():
    def forward(x):
        if np.any(x <= 0):
            raise ValueError("x has to be positive")
        return np.cumsum(np.sqrt(x), 1), x

    x = np.abs(normal(1, 2, 4)) + 0.3
    x[0, 1] = 1e-4
    text, families = said(forward, lambda dy, x: dy / np.sqrt(x) / 2, x)
    assert families == {"missing paths"}
    assert "12 of 20 dependences" in text
    assert "the others are right" in text


def test_what_is_right_is_not_called_wrong_where_forward_bends_sharply():
    x = 100 * normal(1, 2, 5)
    text, _ = said(lambda x: (np.cumsum(np.sin(x), 1), x), lambda dy, x: dy * np.cos(x), x)
    assert "leaves out 20 of 30" in text
    assert "the others are right" in text


def test_what_is_right_is_not_called_wrong_next_to_a_kink():
    x = np.abs(normal(1, 3, 4))
    x[0, 0] = 1e-4
    forward = lambda x: (np.cumsum(np.maximum(x, 0), 1), x)  # noqa: E731
    text, _ = said(forward, lambda dy, x: dy * (x > 0), x)
    assert "leaves out 18 of 30" in text
    assert "the others are right" in text


def test_a_backward_that_returns_the_same_memory_each_time_is_taken_apart():
    memory = np.zeros((5, 2))

    def backward(dy, x):
        memory[...] = forgetful(dy, x)
        return memory

    text, _ = said(sums_of_squares, backward, normal(1, 5, 2))
    assert "leaves out 20 of 30" in text


def test_outputs_whose_derivatives_alone_are_wrong_are_named():
    weight = normal(3, 5, 5)
    other = weight.copy()
    other[:, 2] = normal(4, 5)
    text, families = said(lambda x: (x @ weight, x), lambda dy, x: dy @ other.T, normal(1, 2, 5))
    assert families == {"wrong paths"}
    assert "10 of 50 dependences are wrong" in text
    assert "(all those of y at 2 of axis 1); the others are right" in text


def test_entries_that_a_mask_takes_out_are_named():
    """Dropout whose mask, and whose factor with it, are forgotten."""
    keep = np.ones((2, 4))
    keep[0, 1] = keep[1, 2] = 0.0

    def backward(dy, _):
        return np.cumsum(dy[:, ::-1], 1)[:, ::-1].copy()

    text, families = said(lambda x: (np.cumsum(x * keep / 0.6, 1), x), backward, normal(1, 2, 4))
    assert families == {"extra paths"}
    assert "(all those on x[0, 1], x[1, 2]); 15 of the other 15 are wrong, too" in text


def test_a_memory_that_fades_at_the_wrong_rate_is_wrong_for_earlier_places():
    """The last place of x is right, which alone says little."""

    def fading(rate):
        return np.tril(rate ** (np.arange(5)[:, None] - np.arange(5.0)))

    text, families = said(
        lambda x: (fading(0.5) @ x**2, x),
        lambda dy, x: 2 * x * (fading(0.4).T @ dy),
        normal(1, 5, 2),
    )
    assert families == {"one slice"}
    assert "only at 0, 1, 2, 3 of axis 0: the right outputs depend on the right entries" in text
    assert "20 of 30 dependences are wrong" in text
    assert "(all those on an earlier place along axis 0); the others are right" in text


def test_a_single_output_is_named():
    once = np.ones((2, 5))
    once[1, 3] = 1.3
    weight = normal(3, 5, 5)
    text, _ = said(lambda x: (x @ weight, x), lambda dy, x: (dy * once) @ weight.T, normal(1, 2, 5))
    assert "only at 1 of axis 0" in text
    assert "5 of 50 dependences are wrong" in text
    assert "(all those of y[1, 3])" in text


def test_what_should_be_zero_is_not_measured_by_itself():
    gate = np.array([1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0])

    def backward(dy, x):
        return dy * 2 * x * np.where(gate == 0, 0.5, 1.0)

    text, families = said(lambda x: (x * x * gate, x), backward, np.arange(1.0, 8.0))
    assert families == {"one index"}
    assert "of itself" not in text
    assert " for 0)" in text
