"""Log-mel spectra: by the sums that define them, and what loudness, pitch and time do to them."""

import re

import numpy as np
import pytest

from npformer.audio import RATE, log_mel
from npformer.audio.log_mel import mel_filters


def noise(length=1000, seed=0):
    return 0.1 * np.random.default_rng(seed).standard_normal(length)


def sine(frequency, length=RATE // 2):
    return 0.5 * np.sin(2 * np.pi * frequency / RATE * np.arange(length))


def pitch(frequency):
    """Slaney's scale."""
    return np.where(
        frequency < 1000,
        0.015 * frequency,
        15 + 27 * np.log(np.maximum(frequency, 1) / 1000) / np.log(6.4),
    )


@pytest.mark.parametrize("n_mels", [80, 20])
def test_the_sums_one_by_one(n_mels):
    x = noise(815)
    mirrored = np.concatenate([x[200:0:-1], x, x[-2:-202:-1]])
    wave = np.exp(-2j * np.pi * np.outer(np.arange(201), np.arange(400)) / 400)
    window = np.sin(np.pi * np.arange(400) / 400) ** 2
    power = [np.abs(wave @ (window * mirrored[at : at + 400])) ** 2 for at in range(0, 800, 160)]
    steps = np.linspace(0, pitch(8000.0), n_mels + 2)
    corners = [np.interp(m, pitch(f := np.linspace(0, 8000, 10**6)), f) for m in steps]
    want = np.zeros((n_mels, 5))
    for m, (low, peak, high) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
        triangle = np.interp(40 * np.arange(201), [low, peak, high], [0, 1, 0])
        want[m] = [2 / (high - low) * triangle @ p for p in power]
    want = np.log10(np.maximum(want, 1e-10))
    want = (np.maximum(want, want.max() - 8) + 4) / 4
    np.testing.assert_allclose(log_mel(x, n_mels), want, atol=1e-5)


@pytest.mark.parametrize("frequency", [200, 440, 1000, 3000, 7000])
def test_a_sine_is_loudest_at_its_pitch(frequency):
    y = log_mel(sine(frequency))
    corners = np.linspace(0, pitch(8000.0), 82)
    loudest = y[:, 10:-10].mean(axis=1).argmax()
    assert abs(corners[1 + loudest] - pitch(frequency)) < 1.5 * corners[1]


def test_a_filter_has_the_area_1():
    filters = mel_filters(20)
    np.testing.assert_allclose(40 * filters.sum(axis=1), 1, rtol=0.15)
    assert filters.shape == (20, 201)


def test_ten_times_as_loud_is_half_more():
    """20 dB; the scale has 40 dB to one."""
    x = noise()
    np.testing.assert_allclose(log_mel(10 * x), log_mel(x) + 0.5, atol=1e-9)


def test_nothing_is_below_80_decibels_under_the_loudest():
    x = np.concatenate([np.zeros(8000), noise(8000)])
    y = log_mel(x)
    assert y.min() == pytest.approx(y.max() - 2)
    np.testing.assert_allclose(y[:, :40], y.min())


def test_silence_is_the_same_everywhere():
    np.testing.assert_allclose(log_mel(np.zeros(400)), -1.5)


def test_frames_begin_a_hundredth_of_a_second_apart():
    x = np.zeros(1600)
    x[800] = 1
    y = log_mel(x)
    assert y.shape == (80, 10)
    loud = np.flatnonzero(y.max(axis=0) > y.min())
    np.testing.assert_array_equal(loud, [4, 5, 6])  # at 640, 800, 960: within 200


def test_padding_and_cutting_to_a_length():
    x = noise(4000)
    longer = np.concatenate([x, np.zeros(RATE // 2 - 4000)])
    np.testing.assert_array_equal(log_mel(x, seconds=0.5), log_mel(longer))
    np.testing.assert_array_equal(log_mel(x, seconds=0.1), log_mel(x[:1600]))
    assert log_mel(x[:0], seconds=30).shape == (80, 3000)


def test_leading_axes_are_recordings_by_themselves_and_the_dtype_is_kept():
    x = np.stack([noise(700), 5 * noise(700, 1)]).astype(np.float32)
    y = log_mel(x)
    assert y.dtype == np.float32
    assert y.shape == (2, 80, 4)
    for i in range(2):
        np.testing.assert_array_equal(y[i], log_mel(x[i]))
    np.testing.assert_allclose(y, log_mel(x.astype(float)), atol=1e-6)


@pytest.mark.parametrize(
    ("x", "options", "error", "said"),
    [
        (np.arange(500), {}, TypeError, "log_mel: x is int64 (500,); expected float32"),
        (np.ones(500) + 0j, {}, TypeError, "x is complex128; expected float32 or float64"),
        (np.ones(200), {}, ValueError, "x is (200,); expected samples (..., n), at least 201"),
        (np.float64(1), {"seconds": 1}, ValueError, "x is (); expected samples"),
        (np.full(500, np.nan), {}, ValueError, "x has infinite or NaN samples"),
        (np.ones(500), {"n_mels": 0}, ValueError, "n_mels is 0; expected a positive int"),
        (np.ones(500), {"n_mels": 300}, ValueError, "n_mels is 300, so many that some filters"),
        (np.ones(500), {"seconds": 0}, ValueError, "seconds is 0; expected a positive number"),
        (np.ones(500), {"seconds": 0.01}, ValueError, "x is (160,); expected samples"),
    ],
)
def test_what_cannot_be_heard_is_refused(x, options, error, said):
    with pytest.raises(error, match=re.escape(said)):
        log_mel(x, **options)
