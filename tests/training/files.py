"""Checkpoints to be damaged: how to take one apart, change it, and see that it is refused."""

import io
import json
import struct
import zipfile

import numpy as np
import pytest
from training.small_model import Small, everything, small

from npformer.core import CheckpointError
from npformer.training import AdamW, Trainer, load_model

W1 = "model/w1.npy"  # (8, 4) float32: 128 bytes


def trainer(seed=0, optimizer=AdamW, model=Small, dtype=np.float32, rng=None, **fields):
    model = small(seed, dtype, model, **fields)
    rng = np.random.default_rng(seed) if rng is None else rng
    return Trainer(model, optimizer(model.parameters(), 0.01), rng=rng)


def refused(path, receiver, said="", model=True):
    """Load `path` both ways: each has to raise, and to change nothing."""
    t, before = receiver
    with pytest.raises(CheckpointError, match=said) as caught:
        t.load(path)
    assert everything(t) == before
    assert str(path) in str(caught.value)
    assert "nothing was changed" in str(caught.value)
    if model:
        with pytest.raises(CheckpointError, match=said):
            load_model(path)


def entries(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(data, change=None, header=None, compression=zipfile.ZIP_STORED):
    """The same checkpoint with its entries and its header changed by functions."""
    found = entries(data)
    if header is not None:
        parsed = json.loads(found["header.json"])
        header(parsed)
        found["header.json"] = json.dumps(parsed).encode()
    if change is not None:
        change(found)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in found.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def npy(shape, descr="<f4", data=b"", fortran=False, version=b"\x01\x00"):
    text = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text.encode() + data


def put(name, content):
    return lambda found: found.update({name: content})


def at(*keys, value=None, delete=False):
    def change(header):
        for key in keys[:-1]:
            header = header[key]
        if delete:
            del header[keys[-1]]
        else:
            header[keys[-1]] = value

    return change
