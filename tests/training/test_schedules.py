"""Schedules: known points, continuity, refusals."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npformer.training import schedules


def test_constant():
    at = schedules.constant(0.1)
    assert [at(0), at(10**6)] == [0.1, 0.1]


def test_noam_is_equation_3_of_the_paper_with_steps_counted_from_one():
    at = schedules.noam(512, 4000)
    for step in (1, 2, 3999, 4000, 4001, 100_000):
        want = 512**-0.5 * min(step**-0.5, step * 4000**-1.5)
        assert at(step - 1) == pytest.approx(want, rel=1e-14)
    assert max(range(20_000), key=at) == 3999
    assert at(3999) == pytest.approx(1 / math.sqrt(512 * 4000), rel=1e-14)
    assert schedules.noam(512, 4000, 2.0)(7) == pytest.approx(2 * at(7), rel=1e-14)


def test_warmup_cosine_at_known_points():
    at = schedules.warmup_cosine(1.0, 10, 110, final=0.1)
    assert at(0) == pytest.approx(0.1)
    assert at(4) == pytest.approx(0.5)
    assert at(9) == at(10) == 1.0
    assert at(60) == pytest.approx(0.55)
    assert at(35) == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
    assert at(110) == at(111) == at(10**9) == pytest.approx(0.1)


def test_without_warmup_it_starts_at_the_peak():
    at = schedules.warmup_cosine(0.3, 0, 10)
    assert at(0) == 0.3
    assert 0 < at(9) < at(8)
    assert at(10) == 0.0


@given(st.integers(1, 50), st.integers(1, 200), st.floats(1e-5, 1.0), st.floats(0.0, 1.0))
def test_the_rate_never_jumps_and_stays_in_range(warmup, rest, peak, share):
    final = peak * share
    at = schedules.warmup_cosine(peak, warmup, warmup + rest, final)
    rates = [at(step) for step in range(warmup + rest + 3)]
    slope = max(peak / warmup, math.pi / 2 * (peak - final) / rest)
    assert all(abs(b - a) <= slope * (1 + 1e-9) + 1e-15 for a, b in pairwise(rates))
    assert 0 < max(rates) <= peak * (1 + 1e-12)
    assert min(rates[warmup:]) >= final * (1 - 1e-12)


@given(st.integers(1, 1000), st.integers(1, 300))
def test_noam_rises_to_its_peak_and_falls_after(d_model, warmup):
    at = schedules.noam(d_model, warmup)
    rates = [at(step) for step in range(2 * warmup)]
    peak = warmup - 1
    assert all(a < b for a, b in pairwise(rates[: peak + 1]))
    assert all(a > b for a, b in pairwise(rates[peak:]))


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: schedules.constant(-1), ValueError, "constant: lr is -1.0; expected 0 <= lr"),
        (lambda: schedules.noam(0, 10), ValueError, "noam: d_model is 0; expected a positive int"),
        (lambda: schedules.noam(8, 1.5), TypeError, "noam: warmup is 1.5; expected a positive int"),
        (lambda: schedules.noam(8, 9, math.nan), ValueError, "noam: factor is nan"),
        (
            lambda: schedules.warmup_cosine(1.0, 10, 10),
            ValueError,
            "warmup is 10 and total is 10; expected warmup < total",
        ),
        (lambda: schedules.warmup_cosine(1.0, -1, 10), ValueError, "warmup is -1; expected"),
        (lambda: schedules.warmup_cosine("x", 1, 10), TypeError, "peak is 'x'; expected a number"),
    ],
)
def test_bad_arguments_are_refused(make, error, said):
    with pytest.raises(error, match=said):
        make()
