"""Where a recording is cut, and what is said before any model is opened."""

import struct
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recipes import said

from npformer.hub.transcriber import cuts

LONGEST = 16_000
BLOCK = 160


@given(st.integers(1, 5 * LONGEST), st.integers(0, 2**16))
def test_every_sample_is_heard_once_in_parts_that_are_not_too_long(length, seed):
    samples = np.random.default_rng(seed).standard_normal(length).astype(np.float32)
    parts = list(cuts(samples, LONGEST))
    assert parts[0][0] == 0
    assert parts[-1][1] == length
    for (_, end), (start, _) in pairwise(parts):
        assert end == start
    lengths = [end - start for start, end in parts]
    assert all(0 < n <= LONGEST for n in lengths)
    assert all(n >= LONGEST * 2 // 3 for n in lengths[:-1])


@pytest.mark.parametrize("pause", [2_000, 5_000])
def test_it_is_cut_in_the_middle_of_the_pause(pause):
    """The pause is as long as what is looked for, 0.3 s of a recording of 2 s."""
    longest = 32_000
    samples = np.ones(longest + 1000, np.float32)
    first = longest * 2 // 3 + pause
    samples[first : first + 30 * BLOCK] = 0.1
    (_, end), _ = cuts(samples, longest)
    assert abs(end - (first + 15 * BLOCK)) <= BLOCK


def test_of_equal_silence_the_last_is_taken_so_that_parts_are_long():
    (_, end), *_ = cuts(np.zeros(2 * LONGEST, np.float32), LONGEST)
    assert end > LONGEST - 20 * BLOCK


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"ID3\x03 an MP3", "is no WAV file, since it begins with b'ID3"),
        (b"", "is no WAV file"),
        (b"RIFF\0\0\0\0WAVE", "is cut off: it ends before any samples"),
    ],
)
def test_audio_that_is_no_audio_is_told_before_a_model_is_opened(data, expected, tmp_path, capsys):
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    words = ["transcribe", str(path), "--model", "nowhere"]
    assert expected in said(capsys, *words, status=2)


def test_a_recording_of_nothing(tmp_path, capsys):
    form = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    head = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 16) + form + b"data\0\0\0\0"
    (tmp_path / "a.wav").write_bytes(head)
    words = ["transcribe", str(tmp_path / "a.wav"), "--model", "nowhere"]
    assert "a.wav has no samples: nothing was recorded" in said(capsys, *words, status=2)


def test_a_file_that_is_not_there(tmp_path, capsys):
    message = said(capsys, "transcribe", "nowhere.wav", "--model", "nowhere", status=2)
    assert "there is no file nowhere.wav; expected a WAV file" in message
    message = said(capsys, "transcribe", str(tmp_path), "--model", "nowhere", status=2)
    assert "is a folder; expected a WAV file" in message
