"""The file of a checkpoint, broken or hostile: refused, or of the same content."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training.files import W1, entries, npy, put, refused, rewritten, trainer
from training.small_model import everything

from npformer.core import CheckpointError
from npformer.training import load_model


def test_the_helpers_write_what_is_accepted(path, whole, receiver):
    path.write_bytes(rewritten(whole, header=lambda h: None))
    t = trainer(3)
    assert t.load(path) == {"note": "x"}
    state = everything(t)
    path.write_bytes(whole)
    t.load(path)
    assert everything(t) == state
    assert load_model(path)[1] == {"note": "x"}


def test_a_file_cut_off_anywhere_is_refused(path, whole, receiver):
    for length in [
        *range(0, 300, 7),
        *range(300, len(whole), 97),
        *range(len(whole) - 30, len(whole)),
    ]:
        path.write_bytes(whole[:length])
        refused(path, receiver, "is not a checkpoint that can be read: .* expected a whole file")


def check_corrupted(path, data, whole):
    """A corrupted file has to be refused, or to have the content of the whole one."""
    path.write_bytes(whole)
    good = trainer(3)
    good.load(path)
    want = everything(good)
    path.write_bytes(data)
    t = trainer(4)
    before = everything(t)
    try:
        assert t.load(path) == {"note": "x"}
    except CheckpointError:
        assert everything(t) == before
    else:
        assert everything(t) == want
    try:
        model, metadata = load_model(path)
    except CheckpointError:
        return
    assert metadata == {"note": "x"}
    assert {n: v.tobytes() for n, v in model.state_dict().items()} == want[0]


@settings(max_examples=150)
@given(where=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255), tail=st.booleans())
def test_a_flipped_byte_is_refused_or_changes_no_content(path, whole, where, mask, tail):
    reach = 1500 if tail else len(whole)  # the table of contents is at the end
    at = len(whole) - reach + int(where * reach)
    data = bytearray(whole)
    data[at] ^= mask
    check_corrupted(path, bytes(data), whole)


@settings(max_examples=60)
@given(data=st.data())
def test_any_corruption_is_refused_or_changes_no_content(path, whole, data):
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(len(whole), start + 40)))
    middle = data.draw(st.binary(max_size=40))
    check_corrupted(path, whole[:start] + middle + whole[stop:], whole)


@pytest.mark.parametrize(
    "content", [b"", b"no zip", b"PK\x05\x06" + bytes(18), b"\x80\x04K\x01.", bytes(10_000)]
)
def test_what_is_no_checkpoint_is_refused(path, receiver, content):
    path.write_bytes(content)
    refused(path, receiver, "is not a checkpoint that can be read")


def test_savez_of_numpy_is_not_a_checkpoint(path, receiver):
    with open(path, "wb") as file:
        np.savez(file, a=np.ones(3))
    refused(path, receiver, "it has no header.json")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            W1,
            npy((2**20, 2**20)),
            r"declares the shape \(1048576, 1048576\) in float32, which takes",
        ),
        (W1, npy((10**17, 10**17, 10**17)), "which takes 4[0-9]+ bytes, and holds 0"),
        (W1, npy((0, 10**17)), "cannot be (read|loaded)"),
        (W1, npy((8, 4), data=bytes(127)), "takes 128 bytes, and holds 127"),
        (W1, npy((8, 4), data=bytes(129)), "takes 128 bytes, and holds 129"),
        (W1, npy((8, 4), "|O", bytes(256)), r"declares .*'\|O'.*; expected a float32 or float64"),
        (W1, npy((8, 4), ">f4", bytes(128)), "expected a float32 or float64 array in C order"),
        (W1, npy((8, 4), "<f2", bytes(64)), "expected a float32 or float64 array in C order"),
        (W1, npy((8, 4), "<f4", bytes(128), fortran=True), "expected .* in C order"),
        (W1, npy((8, -4), data=bytes(128)), "expected a float32 or float64"),
        (W1, npy("(8, __import__('os').abort())"), "expected a float32 or float64"),
        (W1, npy("(" * 5000 + ")" * 5000), "expected a float32 or float64"),
        (W1, npy((1,) * 100, data=bytes(4)), "is not a checkpoint that can be read"),
        (W1, npy((8, 4), data=bytes(128), version=b"\x02\x00"), "not an array in .npy format 1.0"),
        (W1, b"\x93NUMPY\x01\x00\xff\xff{", "declares"),
        (W1, b"", "not an array in .npy format"),
        (W1, b"\x80\x04K\x01.", "not an array in .npy format"),
        ("evil.py", b"print()", "evil.py is neither header.json nor an array"),
        ("header.json", b"[]", "header.json is not a JSON object"),
        ("header.json", b"\xff\xfe\xff", "can't decode|codec"),
        ("header.json", b'{"a": NaN}', "has NaN, which is not JSON"),
        ("header.json", b'{"a": 1e999}', "has 1e999, which is out of range"),
        ("header.json", b'{"a": ' + b"9" * 5000 + b"}", "has an integer of 5000 digits"),
        ("header.json", b'{"a": 1, "a": 2}', "one key twice"),
        ("header.json", b'{"a": ' + b"[" * 60 + b"]" * 60 + b"}", "nested more than 50 deep"),
        ("header.json", b'{"a": ' + b"[" * 200_000, "recursion"),
        ("header.json", b" " * (2**23 + 1), "has 8388609 bytes, over 8388608"),
        ("header.json", b"{", "Expecting"),
    ],
)
def test_hostile_entries_are_refused(path, whole, receiver, name, content, said):
    path.write_bytes(rewritten(whole, put(name, content)))
    refused(path, receiver, said)


def test_declared_sizes_take_no_memory(path, whole, receiver):
    data = bytearray(rewritten(whole, put(W1, npy((2**16, 2**16)))))
    # and the same in the zip's own table: w1's entry claims 2 GB, stored
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        order = [info.filename for info in archive.infolist()]
    centre = -1
    for _ in range(order.index(W1) + 1):
        centre = data.index(b"PK\x01\x02", centre + 1)
    lying = (
        bytes(data[: centre + 20]) + struct.pack("<II", 2**31, 2**31) + bytes(data[centre + 28 :])
    )
    tracemalloc.start()
    try:
        path.write_bytes(bytes(data))
        refused(path, receiver, "which takes 17179869184 bytes")
        path.write_bytes(lying)
        refused(path, receiver, "declare [0-9]+ bytes, and the file has|Overlapped")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


def test_compressed_entries_are_refused_unopened(path, whole, receiver):
    bomb = npy((2**24,), data=bytes(2**26))
    path.write_bytes(rewritten(whole, put(W1, bomb), compression=zipfile.ZIP_DEFLATED))
    assert path.stat().st_size < 200_000
    refused(path, receiver, "is compressed, which checkpoints never are")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused(path, whole, receiver):
    buffer = io.BytesIO(whole)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(W1, entries(whole)[W1])
    path.write_bytes(buffer.getvalue())
    refused(path, receiver, "it has 11 entries under 10 names")
