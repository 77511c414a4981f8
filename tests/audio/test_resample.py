"""Resampling: sines keep their loudness, what cannot be held is gone, and the rest of its laws."""

import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from npformer.audio import resample

RATES = [(8000, 16000), (16000, 8000), (44100, 16000), (16000, 22050), (48000, 16000), (9, 7)]
every_rate = pytest.mark.parametrize(("rate", "new_rate"), RATES)


def sine(frequency, rate, length=6000, phase=0.3):
    """Of a frequency in periods a second."""
    return np.sin(2 * np.pi * frequency / rate * np.arange(length) + phase)


def middle(y):
    """Without what the silence around reaches."""
    return y[len(y) // 4 : -len(y) // 4]


def decibels(y):
    """The loudness beside that of a sine."""
    return 10 * np.log10(2 * np.mean(middle(y) ** 2) + 1e-30)


@every_rate
@pytest.mark.parametrize("part", [0.003, 0.2, 0.5, 0.8, 0.9])
def test_in_the_pass_band_a_sine_is_itself(rate, new_rate, part):
    """Not only as loud, but the same, sample by sample: no delay."""
    frequency = part * min(rate, new_rate) / 2
    y = resample(sine(frequency, rate), rate, new_rate)
    assert len(y) == -(-6000 * new_rate // rate)
    want = sine(frequency, new_rate, len(y))
    np.testing.assert_allclose(middle(y), middle(want), atol=3e-4)
    assert abs(decibels(y) - decibels(want)) < 0.01


@every_rate
@pytest.mark.parametrize("part", [1.001, 1.05, 1.2, 1.6, 1.9])
def test_what_the_new_rate_cannot_hold_is_silent(rate, new_rate, part):
    frequency = part * new_rate / 2
    if frequency < rate / 2:
        assert decibels(resample(sine(frequency, rate), rate, new_rate)) < -75


@pytest.mark.parametrize(("rate", "new_rate"), [(8000, 16000), (16000, 22050), (3, 10)])
def test_nothing_appears_above_what_the_old_rate_could_hold(rate, new_rate):
    x = np.random.default_rng(0).standard_normal(6000)
    y = middle(resample(x, rate, new_rate))
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y)))) ** 2
    beyond = np.fft.rfftfreq(len(y), 1 / new_rate) > 1.01 * rate / 2
    assert spectrum[beyond].sum() < 1e-7 * spectrum.sum()


@every_rate
def test_a_constant_stays_what_it_is(rate, new_rate):
    np.testing.assert_allclose(middle(resample(np.ones(2000), rate, new_rate)), 1, rtol=1e-12)


@every_rate
def test_there_and_back_is_the_same_below_both_bands(rate, new_rate):
    x = sum(sine(part * min(rate, new_rate), rate, phase=part) for part in (0.1, 0.27, 0.41))
    back = resample(resample(x, rate, new_rate), new_rate, rate)[:6000]
    np.testing.assert_allclose(middle(back), middle(x), atol=1e-3)


@settings(max_examples=20)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 40))
def test_each_new_sample_is_the_sum_that_is_written_there(rate, new_rate, length):
    """By its formula, one after another, without filters that are used again."""
    assume(rate != new_rate)
    x = np.random.default_rng(length).standard_normal(length)
    y = resample(x, rate, new_rate)
    band = min(1, new_rate / rate)
    reach = (80 - 7.95) / (14.36 * 0.1 * band)
    assert len(y) == -(-length * new_rate // rate)
    for m, got in enumerate(y):

        def h(t):
            inside = np.sqrt(np.maximum(1 - (t / reach) ** 2, 0))
            return np.where(
                np.abs(t) < reach, np.sinc(0.95 * band * t) * np.i0(0.1102 * 71.3 * inside), 0
            )

        at = m * rate / new_rate
        everywhere = np.arange(int(at - reach) - 2, int(at + reach) + 3)
        want = np.sum(x * h(at - np.arange(length))) / np.sum(h(at - everywhere))
        assert got == pytest.approx(want, abs=1e-9)


def test_leading_axes_dtype_and_the_same_rate():
    x = np.random.default_rng(0).standard_normal((2, 3, 50)).astype(np.float32)
    y = resample(x, 3, 2)
    assert y.shape == (2, 3, 34)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y[1, 2], resample(x[1, 2].astype(float), 3, 2), atol=1e-6)
    same = resample(x, 5, 5)
    np.testing.assert_array_equal(same, x)
    assert not np.shares_memory(same, x)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((np.arange(5), 2, 3), TypeError, "resample: x is int64 (5,); expected float32"),
        ((np.float64(1), 2, 3), ValueError, "x is a number; expected samples (..., n)"),
        ((np.ones(5), 0, 3), ValueError, "resample: rate is 0; expected a positive int"),
        ((np.ones(5), 2, 1.5), TypeError, "resample: new_rate is 1.5; expected a positive int"),
    ],
)
def test_what_cannot_be_resampled_is_refused(arguments, error, said):
    with pytest.raises(error, match=re.escape(said)):
        resample(*arguments)
