"""The synthesiser: its resonators, its voice, what its sounds are, and the words that it knows."""

import numpy as np
import pytest

from npformer.audio import RATE
from npformer.recipes import _formants
from npformer.recipes._formants import PHONEMES, Speaker, draw_speaker, say
from npformer.recipes._spoken_words import SOUNDS

PLAIN = Speaker(pitch=120.0, formants=np.ones(5), pace=1.0, breath=0.0, tilt=1000.0)


def power(sounds, seed=0, speaker=PLAIN):
    """The power spectrum of a second in which something is said, and its frequencies."""
    x = say(sounds, speaker, np.random.default_rng(seed), 1.0)
    return np.abs(np.fft.rfft(x)) ** 2, np.fft.rfftfreq(len(x), 1 / RATE)


def share(sounds, low, high):
    """How much of the power lies between two frequencies."""
    p, f = power(sounds)
    return p[(f >= low) & (f < high)].sum() / p.sum()


def test_every_word_is_made_of_known_sounds_and_sounds_like_no_other():
    assert len(SOUNDS) == len(set(SOUNDS.values())) == 550
    assert set("".join(SOUNDS.values())) == PHONEMES
    assert all(word.isascii() and word.isalpha() and word.islower() for word in SOUNDS)
    vowels = set("iIEAVQOUuR@eoaWY")
    assert all(vowels & set(sounds) for sounds in SOUNDS.values())


def test_the_tract_resonates_at_its_formants():
    f = np.linspace(0, RATE / 2, 4001)  # 2 Hz apart
    response = np.abs(_formants._tract(np.array([[500.0, 1500.0, 2500.0]]), PLAIN, f)[0])
    peaks = np.flatnonzero((response[1:-1] > response[:-2]) & (response[1:-1] > response[2:])) + 1
    np.testing.assert_allclose(f[peaks], [500, 1500, 2500, 3500, 4500], rtol=0.02)
    assert response[0] == pytest.approx(1)


def test_a_pulse_train_has_its_pitch():
    pulses = _formants._pulses(100, PLAIN, np.random.default_rng(0))
    count, seconds = np.sum(pulses) / (0.1 * np.sqrt(RATE / 120)), 0.4
    assert 120 * seconds * 2**-0.6 < count < 120 * seconds * 2**0.5


def test_vowels_differ_where_they_should():
    """Of see and saw, the first and second formants: 270 and 2,290 Hz, 570 and 840 Hz."""
    assert share("i", 1700, 2700) > 3 * share("O", 1700, 2700)
    assert share("O", 400, 1100) > 3 * share("i", 400, 1100)


def test_a_child_s_vowel_lies_higher():
    child = PLAIN._replace(formants=np.full(5, 1.3))
    p, f = power("i", speaker=child)
    q, _ = power("i")
    band = (f > 1700) & (f < 4000)
    assert np.sum(f * p * band) / np.sum(p * band) > 1.15 * np.sum(f * q * band) / np.sum(q * band)


def test_hisses_are_told_apart_by_their_pitch():
    assert share("s", 5000, 8000) > 0.6
    assert share("S", 2000, 4200) > 0.6
    assert share("s", 2000, 4200) < 0.3


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0])
def test_a_clip_has_its_length_and_no_more_than_full_loudness(seconds):
    rng = np.random.default_rng(0)
    for sounds in ("brEkf@st", "I", "hha"):
        x = say(sounds, draw_speaker(rng), rng, seconds)
        assert x.shape == (round(RATE * seconds),)
        assert x.dtype == np.float32
        assert 0.09 < np.abs(x).max() < 0.91
        assert np.isfinite(x).all()


def test_who_says_it_again_says_it_otherwise_but_for_the_same_draws():
    a, b, c = (say("kAt", PLAIN, np.random.default_rng(seed), 0.5) for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.1


def test_speakers_with_high_voices_have_short_tracts():
    rng = np.random.default_rng(0)
    people = [draw_speaker(rng) for _ in range(200)]
    pitch, formants = np.array([(p.pitch, p.formants.mean()) for p in people]).T
    assert 70 < pitch.min() < 110 < 220 < pitch.max() < 300
    assert np.corrcoef(np.log(pitch), formants)[0, 1] > 0.8
