"""WAV files: a header that says how samples are written, then the samples.

A file is "RIFF", its size, "WAVE", and then chunks: four letters, a size, and as many bytes, padded
to an even number. "fmt " says the coding, the channels, the rate and the bits of a sample; "data"
has the samples, channel by channel for each moment, little-endian. Of b bits, an integer s is
s / 2^(b-1); of 8 bits it is unsigned, and 128 is silence. The standard library's reader does not
know the extended header, which is usual with 24 bits, before Python 3.12.

References
----------
IBM and Microsoft (1991), "Multimedia Programming Interface and Data Specifications 1.0", for the
chunks; Microsoft (1999), "Multiple Channel Audio Data and WAVE Files", for the extended header.
"""

import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from ..core.arrays import Array

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_COMPRESSED = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 49: "GSM", 85: "MP3"}
# The sizes of what was written to a pipe, by who could not know it: FFmpeg's, and SoX's.
_TO_THE_END = (0xFFFFFFFF, 0x7FFFF000)
_RATES = range(1000, 768_001)  # from below any telephone to twice what studios record with


class Recording(NamedTuple):
    """What was recorded, and how many samples of it make a second."""

    samples: Array  # (n,) float32
    rate: int


class _Coding(NamedTuple):
    kind: int
    channels: int
    rate: int
    bits: int

    @property
    def frame(self) -> int:
        """Bytes of one moment, all channels."""
        return self.channels * self.bits // 8


def read_wav(path: str | os.PathLike[str]) -> Recording:
    """Read a WAV file, and mix its channels to one.

    Parameters
    ----------
    path : str or path
        Of samples of 8, 16, 24 or 32 bits, or of floats, at any rate, with any number of channels.

    Returns
    -------
    samples : (n,) float32 ndarray
        The mean of the channels, in [-1, 1]; floats are taken as they are.
    rate : int
        Samples a second.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file, or it is a folder.
    ValueError
        If it is no WAV file, is cut off, or is compressed; or its rate is out of all reason, or
        a sample not finite.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"{path} is a folder; expected a WAV file, so give one of its files"
        )
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}; expected a WAV file")
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            raise ValueError(
                f"{path} is no WAV file, since it begins with {head!r}; "
                f"convert it, as with: ffmpeg -i {path.name} recording.wav"
            )
        coding: _Coding | None = None
        while (chunk := file.read(8)) and len(chunk) == 8:
            name, size = struct.unpack("<4sI", chunk)
            end = file.tell() + size + size % 2
            if name == b"fmt ":
                coding = _read_coding(path, file.read(min(size, 40)))
            elif name == b"data":
                if coding is None:
                    raise ValueError(f"{path} has samples before it says how they are coded")
                samples = _mixed(_read_samples(path, file, size, coding), coding)
                if not np.isfinite(samples).all():
                    raise ValueError(f"{path} has infinite or NaN samples; record it again")
                return Recording(samples, coding.rate)
            file.seek(end)
    raise ValueError(f"{path} is cut off: it ends before any samples; fetch or record it again")


def _read_coding(path: Path, chunk: bytes) -> _Coding:
    """Read what the chunk "fmt " says, and refuse what is not read here."""
    if len(chunk) < 16:
        raise ValueError(f"{path} is cut off: it ends in its header; fetch or record it again")
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        (kind,) = struct.unpack("<H", chunk[24:26])
    known = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
    if kind not in known:
        raise ValueError(
            f"{path} is compressed ({_COMPRESSED.get(kind, f'format {kind}')}), which is not read "
            f"here; unpack it, as with: ffmpeg -i {path.name} -c:a pcm_s16le recording.wav"
        )
    if bits not in known[kind]:
        raise ValueError(f"{path} has samples of {bits} bits; expected one of {known[kind]}")
    if not channels or rate not in _RATES:
        raise ValueError(
            f"{path} has {channels} channels and {rate:,} samples a second; expected at least one "
            f"channel, and from {_RATES[0]:,} to {_RATES[-1]:,} samples, so its header is broken"
        )
    return _Coding(kind, channels, rate, bits)


def _read_samples(path: Path, file: BinaryIO, size: int, coding: _Coding) -> bytes:
    there = os.fstat(file.fileno()).st_size - file.tell()
    if size in _TO_THE_END:
        size = there
    if size > there or size % coding.frame:
        raise ValueError(
            f"{path} is cut off: its samples should take {size} bytes, {coding.frame} each, and "
            f"{there} are there; fetch or record it again"
        )
    return file.read(size)


def _mixed(data: bytes, coding: _Coding) -> Array:
    """Return the mean of the channels."""
    bits = coding.bits
    samples: Array
    if coding.kind == _FLOAT:
        samples = np.frombuffer(data, f"<f{bits // 8}").astype(np.float32)
    elif bits == 8:
        samples = (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    elif bits == 24:  # as the upper three bytes of 32 bits
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        samples = wide.view("<i4")[:, 0].astype(np.float32) / 2**31
    else:
        samples = np.frombuffer(data, f"<i{bits // 8}").astype(np.float32) / 2 ** (bits - 1)
    mixed: Array = samples.reshape(-1, coding.channels).mean(axis=1, dtype=np.float32)
    return mixed
