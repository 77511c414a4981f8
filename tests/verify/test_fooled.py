"""Ways in which a checker can be fooled, each over many seeds: no miss, and no false alarm."""

import warnings

import numpy as np
import pytest

import npformer.functional as F
from npformer import gradcheck

SEEDS = range(8)


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def with_zeros(seed, count, *shape):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    x.flat[rng.choice(x.size, count, replace=False)] = 0.0
    return x


def verdicts(pair, points, **how):
    """The verdicts that were given, at these points (an array, or a tuple of them)."""
    found = set()
    for seed, point in enumerate(points):
        inputs = point if isinstance(point, tuple) else (point,)
        found.add(gradcheck(pair, *inputs, seed=seed, **how).verdict)
    return found


# --- a complex step that is broken, beside kinks that could hide it


def normalised_relu(x):
    largest = np.max(np.abs(x))  # abs drops the imaginary part
    return np.where(x.real > 0, x, 0) / largest, (x, largest)


def normalised_relu_backward(dy, saved):
    x, largest = saved
    dx = dy * (x > 0) / largest
    place = np.argmax(np.abs(x))
    dx.flat[place] -= np.sign(x.flat[place]) * np.sum(dy * np.maximum(x, 0)) / largest**2
    return dx


def largest_taken_as_constant(dy, saved):
    x, largest = saved
    return dy * (x > 0) / largest


@pytest.mark.parametrize("zeros", [0, 1, 2, 5])
def test_kinks_do_not_hide_that_the_complex_step_is_broken(zeros):
    points = [with_zeros(seed, zeros, 4, 5) for seed in SEEDS]
    assert verdicts((normalised_relu, largest_taken_as_constant), points) == {"fail"}
    assert verdicts((normalised_relu, normalised_relu_backward), points) == {"pass"}


def test_nor_in_a_big_tensor():
    points = [with_zeros(seed, 2, 60, 50) for seed in range(5)]
    assert verdicts((normalised_relu, largest_taken_as_constant), points) == {"fail"}
    assert verdicts((normalised_relu, normalised_relu_backward), points) == {"pass"}


def test_nor_does_a_constant_in_the_output():
    def forward(x):
        return 1e12 + x / np.max(np.abs(x)), x

    points = [draw(seed, 4, 5) for seed in SEEDS]
    found = verdicts((forward, lambda dy, x: dy / np.max(np.abs(x))), points)
    assert found <= {"fail", "inconclusive"}


def test_a_complex_step_that_is_wrong_for_small_entries_alone():
    def forward(x):
        y = scale * np.tanh(x)
        y[2] = y[2].real
        return y, np.tanh(x)

    def backward(dy, t):
        return dy * scale * (1 - t * t) * (np.arange(4) != 2)[:, None]

    for seed in SEEDS:
        scale = 10.0 ** np.random.default_rng(seed).integers(-12, 1, (4, 5))
        assert gradcheck((forward, backward), draw(seed, 4, 5), seed=seed).verdict != "pass"


# --- points at kinks and ties


def maximum_of_rows(x):
    return x.max(-1), (x, np.argmax(x, -1))


def maximum_of_rows_backward(dy, saved):
    x, at = saved
    dx = np.zeros_like(x)
    np.put_along_axis(dx, at[:, None], dy[:, None], -1)
    return dx


def tied(seed):
    x = draw(seed, 4, 5)
    first, second = np.argsort(x[1])[-2:]
    x[1, first] = x[1, second]
    return x


def larger(a, b):
    return np.maximum(a, b), a > b


def larger_backward(dy, left):
    return dy * left, dy * ~left


def partly_equal(seed):
    a, b = draw(seed, 2, 4, 5)
    b[0, 0] = a[0, 0]
    return a, b


def test_ties_are_left_out_and_counted():
    pair = maximum_of_rows, maximum_of_rows_backward
    for seed in SEEDS:
        report = gradcheck(pair, tied(seed), seed=seed)
        assert report.ok, report
        assert report.entries[0].skipped == 2
        report = gradcheck((larger, larger_backward), *partly_equal(seed), seed=seed)
        assert report.ok, report
        assert [entry.skipped for entry in report.entries] == [1, 1]


def test_rounded_inputs():
    pair = maximum_of_rows, maximum_of_rows_backward
    points = [np.round(draw(seed, 4, 5), 1) for seed in SEEDS]
    assert verdicts(pair, points) <= {"pass", "inconclusive"}
    wrong = maximum_of_rows, lambda dy, saved: 1.01 * maximum_of_rows_backward(dy, saved)
    assert verdicts(wrong, points) <= {"fail", "inconclusive"}


def test_nothing_but_ties_is_inconclusive():
    report = gradcheck((maximum_of_rows, maximum_of_rows_backward), np.ones((4, 5)), move=False)
    assert report.verdict == "inconclusive"
    assert report.families == {"kinks"}


@pytest.mark.parametrize("method", ["auto", "complex", "central"])
def test_too_many_kinks_are_inconclusive_by_every_method(method):
    pair = lambda x: (x * (x.real > 0), x > 0), lambda dy, positive: dy * positive
    for seed in SEEDS:
        report = gradcheck(pair, with_zeros(seed, 15, 4, 5), seed=seed, method=method)
        assert report.families == {"kinks"}
        assert report.entries[0].skipped == 15


def test_three_tied_values_have_no_gradient_though_no_entry_crosses_a_kink():
    def median(x):
        return np.sort(x, -1)[:, 1], (x, np.argsort(x, -1, kind="stable")[:, 1])

    points = [np.where([[True], [False], [False], [False]], 0.7, draw(s, 4, 3)) for s in SEEDS]
    assert "fail" not in verdicts((median, maximum_of_rows_backward), points)


@pytest.mark.parametrize("slope", [0.01, 0.9999, 0.999999])
def test_faint_kinks(slope):
    pair = (
        lambda x: (np.where(x.real > 0, x, slope * x), x),
        lambda dy, x: dy * np.where(x >= 0, 1, slope),
    )
    assert verdicts(pair, [with_zeros(seed, 2, 4, 5) for seed in SEEDS]) == {"pass"}


@pytest.mark.parametrize("distance", [1e-4, 1e-6, 1e-8, 1e-10])
@pytest.mark.parametrize("method", ["auto", "central"])
def test_near_a_kink_there_is_a_gradient(distance, method):
    pair = lambda x: (np.maximum(x, 0), x > 0), lambda dy, positive: dy * positive
    points = [draw(seed, 4, 5) * [[distance], [1], [1], [1]] for seed in SEEDS]
    assert verdicts(pair, points, method=method) == {"pass"}


@pytest.mark.parametrize("zeros", [1, 8, 10, 30, 1000])
def test_zeros_in_a_big_tensor_are_left_out_of_its_directions(zeros):
    for seed in range(10 if zeros < 100 else 2):
        x = with_zeros(seed, zeros, 60, 50)
        report = gradcheck((F.relu, F.relu_backward), x, seed=seed)
        assert report.ok, report
        assert zeros <= report.entries[0].skipped <= 1.01 * zeros
        assert "of 3000 entries lie at a kink" in " ".join(report.notes)


def test_values_of_one_digit_in_a_big_tensor():
    points = [np.round(draw(seed, 60, 50), 1) for seed in range(5)]
    assert verdicts((F.relu, F.relu_backward), points) == {"pass"}


def test_kinks_of_a_big_tensor_excuse_nothing_else():
    def one_off(dy, saved):
        dx = F.relu_backward(dy, saved).copy()
        dx[5, 6] += 0.01
        return dx

    points = [with_zeros(seed, 20, 60, 50) for seed in range(10)]
    for x in points:
        x[5, 6] = 1.0
    for seed, x in enumerate(points):
        report = gradcheck((F.relu, one_off), x, seed=seed)
        assert report.verdict == "fail"
        assert report.entries[0].worst_index == (5, 6), report


def test_a_padded_row_before_a_relu():
    def forward(x, w, v):
        h = x @ w
        a = np.where(h.real > 0, h, 0)
        return a @ v, (x, w, v, h, a)

    def backward(dy, saved, factor=1.0):
        x, w, v, h, a = saved
        dh = (dy @ v.T) * (h > 0)
        return dh @ w.T, factor * x.T @ dh, a.T @ dy

    points = [(draw(s, 5, 6) * (np.arange(5) != 2)[:, None], draw(s, 6, 7), draw(s, 7, 3))
              for s in SEEDS]  # fmt: skip
    assert verdicts((forward, backward), points) == {"pass"}
    wrong = forward, lambda dy, saved: backward(dy, saved, 1.0001)
    assert verdicts(wrong, points) == {"fail"}


def test_kinks_in_float32():
    pair = lambda x: (np.maximum(x, 0), x > 0), lambda dy, positive: dy * positive
    points = [with_zeros(seed, 1, 60, 50).astype(np.float32) for seed in range(5)]
    assert verdicts(pair, points) == {"pass"}
    for seed, x in enumerate(points):
        report = gradcheck(pair, x, seed=seed, method="central")
        assert report.families <= {"precision"}
        assert report.entries[0].skipped >= 1


# --- what is small beside something large


@pytest.mark.parametrize("shift", [-30, -60])
@pytest.mark.parametrize("mode", ["full", "fast"])
@pytest.mark.parametrize(("factor", "verdict"), [(1, "pass"), (2, "fail"), (1.01, "fail")])
def test_half_a_tensor_that_is_far_smaller_than_the_rest(shift, mode, factor, verdict):
    def backward(dy, x):
        dx = dy * np.exp(x)
        dx[:4] *= factor
        return dx

    points = [draw(seed, 8, 5) + np.where(np.arange(8) < 4, shift, 0)[:, None] for seed in SEEDS]
    assert verdicts((lambda x: (np.exp(x), x), backward), points, mode=mode) == {verdict}


@pytest.mark.parametrize("scale", [3, 10, 18, 20, 30, 40])
@pytest.mark.parametrize("mode", ["full", "fast"])
def test_digits_lost_in_saturation_are_no_error(scale, mode):
    points = [scale * draw(seed, 4, 5) for seed in SEEDS]
    tanh = lambda x: (np.tanh(x), np.tanh(x)), lambda dy, y: dy * (1 - y * y)
    for pair in (tanh, (F.sigmoid, F.sigmoid_backward), (F.softmax, F.softmax_backward)):
        assert verdicts(pair, points, mode=mode) <= {"pass", "inconclusive"}


@pytest.mark.parametrize(
    ("constant", "factor", "due"),
    [
        (1e6, 1, {"pass"}),
        (1e10, 1, {"pass"}),
        (1e10, 1.0001, {"fail"}),
        (1e12, 1, {"pass", "inconclusive"}),
        (1e12, 1.03, {"fail", "inconclusive"}),
    ],
)
def test_a_constant_in_the_output_hides_nothing(constant, factor, due):
    pair = lambda x: (constant + np.sin(x), x), lambda dy, x: factor * dy * np.cos(x)
    assert verdicts(pair, [draw(seed, 4, 5) for seed in SEEDS]) <= due


@pytest.mark.parametrize(("factor", "never"), [(1, "fail"), (2, "pass")])
def test_an_argument_whose_effect_is_lost_beside_that_of_another(factor, never):
    def forward(a, b):
        return 1e8 * np.tanh(a) + 1e-9 * np.tanh(b), (np.tanh(a), np.tanh(b))

    def backward(dy, saved):
        a, b = saved
        return 1e8 * dy * (1 - a * a), factor * 1e-9 * dy * (1 - b * b)

    points = [tuple(draw(seed, 2, 4, 5)) for seed in SEEDS]
    assert never not in verdicts((forward, backward), points)


def test_what_central_differences_could_not_see_is_printed():
    pair = lambda x: (1e10 + np.abs(x) ** 3, x), lambda dy, x: dy * 3 * x * np.abs(x)
    report = gradcheck(pair, draw(0, 4, 5))
    assert report.ok, report
    assert "of the gradient would not be seen" in str(report)


@pytest.mark.parametrize("frequency", [1e3, 1e6, 1e9, 1e12])
def test_a_function_far_steeper_than_its_input_is_large(frequency):
    def backward(dy, x):
        return frequency * dy * np.cos(frequency * x)

    points = [draw(seed, 4, 5) for seed in SEEDS]
    for method in ("auto", "central"):
        found = verdicts((lambda x: (np.sin(frequency * x), x), backward), points, method=method)
        assert "fail" not in found


def test_a_large_offset_of_the_input_is_named():
    pair = lambda x: (np.sin(x - 1e8), x), lambda dy, x: dy * np.cos(x - 1e8)
    for seed in SEEDS:
        report = gradcheck(pair, 1e8 + draw(seed, 4, 5), seed=seed)
        assert report.verdict != "fail"
        assert "digits are lost" in " ".join(report.notes)


# --- float32


@pytest.mark.parametrize(("off", "due"), [(0, {"pass"}), (0.1, {"fail"}), (0.5, {"fail"})])
def test_one_wrong_entry_of_a_big_float32_tensor(off, due):
    def backward(dy, x):
        dx = dy * np.cos(x)
        dx[77, 200] *= 1 + off
        return dx

    points = [draw(seed, 100, 300).astype(np.float32) for seed in range(4)]
    for x in points:
        x[77, 200] = 0.3
    assert verdicts((lambda x: (np.sin(x), x), backward), points) == due


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_forward_that_rounds_on_its_way(dtype):
    def forward(x):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the complex step is refused for it
            return np.sin(x.astype(dtype)).astype(np.float64), x

    def with_a_smooth_term(x):
        return forward(x.real)[0] + x * x, x

    points = [draw(seed, 4, 5) for seed in SEEDS]
    assert verdicts((forward, lambda dy, x: dy * np.cos(x)), points) == {"inconclusive"}
    pair = with_a_smooth_term, lambda dy, x: dy * (np.cos(x) + 2 * x)
    assert verdicts(pair, points) == {"inconclusive"}
    report = gradcheck((forward, lambda dy, x: dy * np.cos(x)), points[0])
    assert "forward rounds its numbers on the way" in " ".join(str(report).split())


# --- conduct of the checker itself


@pytest.mark.parametrize("scale", [1e80, 1e150, 1e153])
def test_numbers_that_overflow_when_squared_or_summed(scale):
    pair = lambda x: (x * x, x), lambda dy, x: 2 * x * dy
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert verdicts(pair, [scale * draw(seed, 4, 5) for seed in SEEDS]) == {"pass"}


def test_no_warnings_for_a_complex_gradient():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pair = lambda x: (np.sin(x), x), lambda dy, x: dy * np.cos(x) + 0j
        assert gradcheck(pair, draw(0, 4, 5)).families == {"dtype"}


def test_probes_do_not_disagree_over_kinks():
    for seed in SEEDS:
        report = gradcheck((F.relu, F.relu_backward), with_zeros(seed, 3, 4, 5), seed=seed)
        assert "disagrees" not in str(report)
