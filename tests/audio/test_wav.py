"""WAV files: every coding, by the standard library's writer and by hand; and what is none."""

import re
import struct
import tempfile
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npformer.audio import read_wav

# Of each width in bits: integers, and the numbers that they stand for.
CODED = {
    8: ([0, 64, 128, 192, 255], [-1, -0.5, 0, 0.5, 127 / 128]),
    16: ([-(2**15), -1, 0, 1, 2**15 - 1], [-1, -(2**-15), 0, 2**-15, 1 - 2**-15]),
    24: ([-(2**23), -1, 0, 1, 2**23 - 1], [-1, -(2**-23), 0, 2**-23, 1 - 2**-23]),
    32: ([-(2**31), -(2**24), 0, 2**24, 2**30], [-1, -(2**-7), 0, 2**-7, 0.5]),
}


def as_bytes(integers, bits):
    return b"".join(int(i).to_bytes(bits // 8, "little", signed=bits > 8) for i in integers)


def chunk(name, data, size=None):
    size = len(data) if size is None else size
    return name + struct.pack("<I", size) + data + b"\0" * (len(data) % 2)


def form(kind=1, channels=1, rate=8000, bits=16, more=b""):
    block = channels * bits // 8
    data = struct.pack("<HHIIHH", kind, channels, rate, rate * block, block, bits)
    return chunk(b"fmt ", data + more)


def wav(*chunks):
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def broken_rate(rate):
    whole = form()
    return whole[:12] + struct.pack("<I", rate) + whole[16:]


NAN = struct.pack("<2f", 0.5, float("nan"))


@pytest.fixture
def written(tmp_path):
    def write(data):
        path = tmp_path / "recording.wav"
        path.write_bytes(data)
        return path

    return write


@pytest.mark.parametrize("bits", CODED)
@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_what_the_standard_library_writes(bits, channels, rate, tmp_path):
    integers, want = CODED[bits]
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(bits // 8)
        file.setframerate(rate)
        file.writeframes(as_bytes(np.repeat(np.array(integers, object), channels), bits))
    samples, found = read_wav(tmp_path / "a.wav")
    assert found == rate
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, np.float32(want))


def test_channels_are_mixed_to_their_mean(written):
    data = as_bytes([16384, 0, -8192, 8192, 32767, 32767], 16)
    samples, _ = read_wav(written(wav(form(channels=2), chunk(b"data", data))))
    np.testing.assert_array_equal(samples, np.float32([0.25, 0, 32767 / 32768]))


@given(st.lists(st.integers(-(2**23), 2**23 - 1), max_size=9))
def test_of_24_bits_every_number(integers):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        path.write_bytes(wav(form(bits=24), chunk(b"data", as_bytes(integers, 24))))
        np.testing.assert_array_equal(read_wav(path).samples, np.float32(integers) / 2**23)


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
def test_floats_are_taken_as_they_are(kind, written):
    data = np.array([0.25, -1.5, 1], kind)
    bits = data.dtype.itemsize * 8
    path = written(wav(form(3, bits=bits), chunk(b"data", data.tobytes())))
    samples, _ = read_wav(path)
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, data)


def test_the_extended_header_and_chunks_in_between(written):
    more = struct.pack("<HHIH", 22, 24, 4, 1) + bytes.fromhex("000000001000800000aa00389b71")
    data = as_bytes(CODED[24][0], 24)
    head = form(0xFFFE, bits=24, more=more)
    path = written(wav(chunk(b"LIST", b"odd"), head, chunk(b"fact", b"1234"), chunk(b"data", data)))
    np.testing.assert_array_equal(read_wav(path).samples, np.float32(CODED[24][1]))


def test_a_size_that_its_writer_could_not_know(written):
    path = written(wav(form(), chunk(b"data", b"\0\x40" * 3, size=0xFFFFFFFF)))
    np.testing.assert_array_equal(read_wav(path).samples, [0.5] * 3)


def test_no_samples_are_an_empty_recording(written):
    assert read_wav(written(wav(form(), chunk(b"data", b"")))).samples.shape == (0,)


SAMPLES = chunk(b"data", bytes(8))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is no WAV file, since it begins with b''; convert it, as with: ffmpeg -i"),
        (b"ID3\4" + bytes(20), r"is no WAV file, since it begins with b'ID3\x04"),
        (b"RIFF\0\0\0\0AVI " + bytes(20), "is no WAV file"),
        (wav(form()), "is cut off: it ends before any samples"),
        (wav(form())[:30], "is cut off: it ends in its header"),
        (wav(form(), SAMPLES)[:-3], "its samples should take 8 bytes, 2 each, and 5 are there"),
        (wav(form(), chunk(b"data", bytes(4), size=2**31)), "should take 2147483648 bytes"),
        (wav(form(), chunk(b"data", bytes(5))), "should take 5 bytes, 2 each"),
        (wav(chunk(b"LIST", b"", size=2**32 - 2)), "is cut off: it ends before any samples"),
        (wav(SAMPLES, form()), "has samples before it says how they are coded"),
        (wav(form(7, bits=8), SAMPLES), "is compressed (mu-law), which is not read here; unpack"),
        (wav(form(85), SAMPLES), "is compressed (MP3)"),
        (wav(form(999), SAMPLES), "is compressed (format 999)"),
        (wav(form(bits=12), SAMPLES), "has samples of 12 bits; expected one of (8, 16, 24, 32)"),
        (wav(form(3, bits=16), SAMPLES), "has samples of 16 bits; expected one of (32, 64)"),
        (wav(form(channels=0), SAMPLES), "has 0 channels and 8,000 samples a second"),
        (wav(form(rate=0), SAMPLES), "has 1 channels and 0 samples a second"),
        (wav(form(rate=999), SAMPLES), "and 999 samples a second; expected at least one channel"),
        (wav(broken_rate(2**32 - 1), SAMPLES), "4,294,967,295 samples a second; expected at le"),
        (wav(form(3, bits=32), chunk(b"data", NAN)), "has infinite or NaN samples"),
    ],
)
def test_what_is_not_a_whole_recording_is_refused(data, said, written):
    with pytest.raises(ValueError, match=re.escape(said)):
        read_wav(written(data))


@given(st.binary(max_size=60), st.integers(0, 60))
def test_no_bytes_make_another_error(noise, cut):
    whole = wav(form(), SAMPLES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        path.write_bytes(whole[:cut] + noise)
        try:
            read_wav(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017 (either way is right)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_wav(tmp_path / "none.wav")


def test_a_path_of_no_file_is_told_from_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*a\.wav; expected a WAV file"):
        read_wav(tmp_path / "a.wav")
    with pytest.raises(IsADirectoryError, match="is a folder; expected a WAV file"):
        read_wav(tmp_path)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_what_was_written_to_a_pipe_goes_to_its_end(size, written):
    data = wav(form(), chunk(b"data", bytes(range(8)), size=size))
    assert len(read_wav(written(data)).samples) == 4
