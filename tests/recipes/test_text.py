"""The text recipe: its split, its windows, its held-out loss, what it refuses."""

import math
import sys

import numpy as np
import pytest

from npformer.cli import main
from npformer.recipes import Text
from npformer.recipes._texts import python_documentation, read
from npformer.recipes.text import TextSettings


@pytest.fixture
def recipe(book):
    return Text(TextSettings(data=book, batch=5, context=16, d_model=8, heads=2, layers=1))


def test_the_last_tenth_is_held_out(recipe):
    words = recipe.vocabulary
    assert words.decode([*recipe.train.tolist(), *recipe.held_out.tolist()]) == recipe.text
    assert len(recipe.held_out) == math.ceil(len(recipe.text) / 10)


def test_targets_are_the_text_one_character_on(recipe):
    ids, targets = recipe.batch(3)
    assert ids.shape == targets.shape == (5, 16)
    assert np.array_equal(ids[:, 1:], targets[:, :-1])
    written = recipe.vocabulary.decode(recipe.train.tolist())
    for row, after in zip(ids, targets, strict=True):
        whole = recipe.vocabulary.decode([*row.tolist(), int(after[-1])])
        assert whole in written


def test_held_out_loss_is_the_mean_over_all_windows(recipe, monkeypatch):
    model = recipe.build(np.random.default_rng(0))
    held_out = recipe.held_out
    count = (len(held_out) - 1) // 16
    at = np.arange(count * 16).reshape(count, 16)
    expected = float(model.loss(held_out[at], held_out[at + 1])[0])
    assert recipe.judge(model)[0]["loss"] == pytest.approx(expected, rel=1e-6)
    monkeypatch.setattr(Text, "rows", 3)
    assert recipe.judge(model)[0]["loss"] == pytest.approx(expected, rel=1e-6)


def test_at_the_beginning_every_character_is_as_likely(recipe):
    model = recipe.build(np.random.default_rng(0))
    assert recipe.look(model)["loss"] == pytest.approx(math.log(len(recipe.vocabulary)), rel=0.02)


def test_python_documentation_is_english_and_there():
    documentation = python_documentation()
    assert len(documentation) > 300_000
    assert 'The "while" statement' in documentation or "The `while` statement" in documentation


def test_a_python_without_its_documentation_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    assert main(["train", "text", "--out", str(tmp_path / "run")]) == 2
    assert "give a text: --data" in capsys.readouterr().err


def test_line_ends_and_a_byte_order_mark_are_read_away(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\n")
    assert read(str(tmp_path / "a.txt")) == "one\ntwo\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"ab\xff", "is not UTF-8 text: byte 0xff at 2; convert it"),
        (b"", "the text has 0 characters; its last tenth is held out and has to be longer than"),
        (b"a" * 159, "the text has 159 characters; its last tenth"),
    ],
)
def test_texts_that_cannot_be_trained_on(content, said, tmp_path, capsys):
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    command = ["train", "text", "--data", str(path), "--context", "16"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_shortest_text_that_can_be(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"ab" * 85)
    command = [
        "train",
        "text",
        "--data",
        str(tmp_path / "a.txt"),
        "--context",
        "16",
        "--steps",
        "1",
    ]
    command += ["--d-model", "8", "--heads", "1", "--layers", "1"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0


def test_resume_goes_on_with_the_same_text_only(book, tmp_path, capsys):
    out = ["--out", str(tmp_path / "run")]
    sizes = ["--context", "16", "--d-model", "8", "--heads", "1", "--layers", "1", "--steps", "1"]
    assert main(["train", "text", "--data", book, *sizes, *out]) == 0
    moved, changed = tmp_path / "moved.txt", tmp_path / "changed.txt"
    moved.write_text(read(book), encoding="utf-8")
    changed.write_text(read(book)[:-1] + " ", encoding="utf-8")
    command = ["train", "text", "--resume", "--steps", "2", *out]
    assert main([*command, "--data", str(changed)]) == 2
    assert "changed.txt is not the text that the run began with" in capsys.readouterr().err
    assert main([*command, "--data", str(moved)]) == 0
