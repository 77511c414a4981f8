"""The npformer command with matplotlib: what it draws, and what it cannot draw."""

import pytest
from support.recipes import checkpoint, said

from npformer.cli import main


@pytest.mark.parametrize(
    ("recipe", "text"), [("dates", "3rd of March 1987"), ("text", "that is the")]
)
def test_attention_is_drawn(recipe, text, runs, tmp_path, capsys):
    words = ["attention", checkpoint(runs, recipe), "--input", text]
    for more, which in (
        ([], "decoder.layers.1.{}_attention, mean of 2 heads"),
        (["--layer", "0", "--head", "1"], "decoder.layers.0.{}_attention, head 1 of 0 to 1"),
    ):
        picture = tmp_path / "picture.png"
        which = which.format("cross" if recipe == "dates" else "self")
        assert which in said(capsys, *words, "--out", str(picture), *more)
        assert picture.read_bytes().startswith(b"\x89PNG")
        picture.unlink()


@pytest.mark.parametrize(
    ("recipe", "words", "expected"),
    [
        ("dates", ["--input", "1/1/50", "--layer", "2"], "--layer is 2; the model's layers are 0"),
        ("text", ["--input", "To be", "--head", "2"], "--head is 2; the model's heads are 0 to 1"),
        ("text", ["--input", ""], "the text has 0 characters; expected 1 to 16"),
        ("text", ["--input", "To be, or not to be"], "the text has 19 characters; expected 1"),
        ("dates", ["--input", ""], "'' is 0 characters"),
        ("dates", ["--input", "1/1/50", "--out", "a.txt"], "ends in no picture format"),
    ],
)
def test_attention_that_cannot_be_drawn(recipe, words, expected, runs, tmp_path, capsys):
    words = ["attention", checkpoint(runs, recipe), "--out", str(tmp_path / "a.png"), *words]
    assert expected in said(capsys, *words, status=2)
    assert not (tmp_path / "a.png").exists()


def test_a_picture_that_cannot_be_written(runs, tmp_path, capsys):
    out = tmp_path / "nowhere" / "a.png"
    words = ["attention", checkpoint(runs, "dates"), "--input", "1/1/50", "--out", str(out)]
    message = said(capsys, *words, status=2)
    assert f"'{out}' cannot be written, for there is no folder '{out.parent}'; make it" in message


@pytest.mark.parametrize(
    ("recipe", "kind", "layer"),
    [
        ("dates", "cross", "decoder.layers.0.cross_attention"),
        ("dates", "self", "decoder.layers.0.self_attention"),
        ("dates", "encoder", "encoder.layers.0.self_attention"),
        ("text", "self", "decoder.layers.0.self_attention"),
    ],
)
def test_the_attention_of_any_layer_is_drawn(recipe, kind, layer, runs, tmp_path, capsys):
    picture = tmp_path / "picture.png"
    text = "1/1/50" if recipe == "dates" else "To be"
    words = ["attention", checkpoint(runs, recipe), "--input", text]
    words += ["--out", str(picture), "--kind", kind]
    assert layer in said(capsys, *words, "--layer", "0")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_last_head_is_minus_1(runs, tmp_path, capsys):
    words = ["attention", checkpoint(runs, "text"), "--input", "To be"]
    words += ["--out", str(tmp_path / "a.png")]
    assert "head 1 of 0 to 1" in said(capsys, *words, "--head", "-1")
    assert "--head is -3; the model's heads are 0 to 1 (-1 is the last;" in said(
        capsys, *words, "--head", "-3", status=2
    )


def test_a_run_leaves_its_pictures(command, tmp_path):
    out = tmp_path / "run"
    assert main([*command, "--out", str(out)]) == 0
    made = {"checkpoint.npz", "config.json", "result.json", "loss.png"}
    made |= {"attention.png"} if command[1] == "dates" else set()
    assert {path.name for path in out.iterdir()} == made
