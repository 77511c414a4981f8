"""What transformers' feature extractor makes of a recording is made here."""

import numpy as np
import pytest
from transformers import WhisperFeatureExtractor

from npformer.audio import RATE, log_mel, resample


def speech_like(seconds, seed=0):
    """Bursts of harmonics over a little noise, with silence between."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * 140 * k * t) / k for k in range(1, 20))
    x = 0.2 * tone * np.maximum(np.sin(2 * np.pi * 3 * t), 0) + 1e-4 * rng.standard_normal(len(t))
    return x.astype(np.float32)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("seconds", [0.5, 3.21, 31])
def test_log_mel_is_theirs(n_mels, seconds):
    extract, x = WhisperFeatureExtractor(feature_size=n_mels), speech_like(seconds)
    want = extract(x, sampling_rate=RATE)["input_features"][0]
    got = log_mel(x, n_mels, seconds=30)
    assert got.shape == want.shape == (n_mels, 3000)
    np.testing.assert_allclose(got, want, atol=1e-4)
    if seconds < 30:
        want = extract(x, sampling_rate=RATE, padding="do_not_pad")["input_features"][0]
        np.testing.assert_allclose(log_mel(x, n_mels), want, atol=1e-4)


def test_of_several_recordings_each_by_itself():
    x = np.stack([speech_like(1), 0.1 * speech_like(1, 1)])
    want = WhisperFeatureExtractor()(list(x), sampling_rate=RATE)["input_features"]
    np.testing.assert_allclose(log_mel(x, seconds=30), want, atol=1e-4)


def test_of_a_recording_at_another_rate():
    x = resample(speech_like(1), RATE, 8000)
    heard = resample(x, 8000, RATE)
    want = WhisperFeatureExtractor()(heard, sampling_rate=RATE)["input_features"][0]
    np.testing.assert_allclose(log_mel(heard, seconds=30), want, atol=1e-4)
