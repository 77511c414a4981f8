"""Pictures: they are made, whatever the data, and say what is wrong when they are not."""

import sys

import numpy as np
import pytest

from npformer.core.errors import MissingExtraError
from npformer.recipes._pictures import Attention, draw_attention, draw_loss
from npformer.recipes._settings import InputError

PNG = b"\x89PNG"


def attention(queries, keys, title="t"):
    weights = np.full((len(queries), len(keys)), 1 / len(keys), np.float32)
    return Attention(weights, queries, keys, title, "written", "read")


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        ([], []),
        ([3.0], [(0, {"loss": 3.1})]),
        ([3.0, 2.0, 1.0] * 100, [(0, {"loss": 3.1}), (300, {"loss": 1.5})]),
        (
            [3.0, 2.0],
            [(0, {"loss": 3.1, "exact match": 0.0}), (2, {"loss": 2.0, "exact match": 1})],
        ),
    ],
)
def test_loss(tmp_path, train, held_out):
    draw_loss(tmp_path / "loss.png", train, held_out, title="loss", unit="nats", floor=0.7)
    assert (tmp_path / "loss.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("queries", "keys"),
    [
        (["1"], ["a"]),
        ([*list("1987-03-04"), "<end>"], list("the 3rd of March, 1987")),
        (list("$a_b$\n\t日"), list("$\\frac{$ ")),  # no mathematics, and a glyph the font lacks
        (list("x" * 70), list("y" * 80)),
    ],
)
def test_attention(tmp_path, queries, keys):
    draw_attention(tmp_path / "a.png", attention(queries, keys, title="of $x_{$ and {"))
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("steps", [1, 50])
def test_attention_to_a_sound_stands_below_its_spectrum(tmp_path, steps):
    spectrum = np.random.default_rng(0).random((8, 2 * steps), np.float32)
    times = ["0.0"] + [""] * (steps - 1)
    shown = attention(["a", " "], times)._replace(what="probability", spectrum=spectrum)
    draw_attention(tmp_path / "a.svg", shown)
    drawn = (tmp_path / "a.svg").read_text()
    assert all(f"<!-- {words} -->" in drawn for words in ("probability", "frequency", "written"))
    assert drawn.count("<image") >= 3  # spectrum, weights, colour bar


def test_the_ending_chooses_the_format(tmp_path):
    draw_attention(tmp_path / "a.svg", attention(["1"], ["a"]))
    assert "<svg" in (tmp_path / "a.svg").read_text()
    with pytest.raises(InputError, match=r"'a.txt' ends in no picture format; use one of .*\.png"):
        draw_attention("a.txt", attention(["1"], ["a"]))


def test_pyplot_and_its_global_state_are_not_touched(tmp_path):
    before = "matplotlib.pyplot" in sys.modules
    draw_attention(tmp_path / "a.png", attention(["1"], ["a"]))
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_without_matplotlib_the_remedy_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'npformer\[cli\]'"):
        draw_loss(tmp_path / "loss.png", [1.0], [], title="loss", unit="nats")
