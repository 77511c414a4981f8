"""The masked recipe: what is struck out, what is asked, accuracy, filling in, what it refuses."""

import json
import re

import numpy as np
import pytest
from support.recipes import TEXT

from npformer.cli import main
from npformer.recipes import Masked, masked
from npformer.recipes.masked import MASK, MaskedSettings

SIZES = {"context": 16, "d_model": 8, "heads": 2, "layers": 1}


@pytest.fixture
def recipe(book):
    return Masked(MaskedSettings(data=book, batch=400, **SIZES))


def test_what_is_struck_out_is_asked_for_and_nothing_else(recipe):
    ids, targets = recipe.batch(0)
    asked, mask = targets != -100, recipe.vocabulary.ids[MASK]
    count = np.sum(asked)
    assert np.mean(asked) == pytest.approx(0.15, abs=0.015)
    assert np.sum(ids == mask) / count == pytest.approx(0.8, abs=0.04)
    assert not np.any(targets == mask)
    assert np.all(ids[~asked] < mask)
    kept = np.sum(asked & (ids == targets)) / count  # 10 %, and those that chance put back
    assert 0.07 < kept < 0.14


def test_outside_of_what_is_asked_stands_the_text(recipe):
    ids, targets = recipe.batch(1)
    written = recipe.vocabulary.decode(recipe.train.tolist())
    whole = np.where(targets == -100, ids, targets)
    assert all(recipe.vocabulary.decode(row.tolist()) in written for row in whole)


def test_the_held_out_questions_are_the_same_for_every_step_and_run(recipe, book):
    again = Masked(MaskedSettings(data=book, batch=3, **SIZES))
    for one, other in zip(recipe.asked, again.asked, strict=True):
        np.testing.assert_array_equal(one, other)
    other = Masked(MaskedSettings(data=book, seed=1, **SIZES))
    assert not np.array_equal(recipe.asked[1], other.asked[1])


def test_measures_are_the_models_loss_and_the_share_it_names_right(recipe, monkeypatch):
    model = recipe.build(np.random.default_rng(0))
    ids, targets = recipe.asked
    asked = targets != -100
    best = np.argmax(model.logits(model(ids)), axis=-1)
    expected = float(model.loss(ids, targets)[0]), np.mean(best[asked] == targets[asked])
    monkeypatch.setattr(masked, "_ROWS", 3)
    measures = recipe.judge(model)[0]
    assert (measures["loss"], measures["accuracy"]) == pytest.approx(expected, rel=1e-5)


def test_the_guess_is_the_share_of_the_most_frequent_character(recipe):
    answers = recipe.asked[1][recipe.asked[1] != -100]
    most = max(set(recipe.vocabulary.decode(recipe.train.tolist())), key=recipe.text.count)
    assert recipe.likeliest == most
    right = np.mean(answers == recipe.vocabulary.ids[most])
    assert recipe.guess() == pytest.approx(right)


def test_a_model_that_is_trained_beats_the_guess_and_fills_in(tmp_path, capsys):
    out, text = tmp_path / "run", tmp_path / "abc.txt"
    text.write_text("abc" * 1000)
    more = ["--steps", "150", "--lr", "0.02", "--d-model", "16", "--batch", "16"]
    assert main(["train", "masked", "--data", str(text), *TEXT, *more, "--out", str(out)]) == 0
    guess = float(re.search(r"is right for ([\d.]+) %", capsys.readouterr().out)[1]) / 100
    measures = json.loads((out / "result.json").read_text())["held_out"]
    assert guess < 0.5
    assert measures["accuracy"] > 0.8
    prompt = ["sample", str(out), "--prompt", f"abca{MASK}cab{MASK}ab"]
    for options in ([], ["--temperature", "9", "--top-k", "1"]):
        assert main([*prompt, *options]) == 0
        assert capsys.readouterr().out == "abcabcabcab\n"
    assert main([*prompt, "--temperature", "1e6", "--seed", "1"]) == 0
    assert re.fullmatch("abca[abc]cab[abc]ab\n", capsys.readouterr().out)
    command = ["attention", str(out), "--input", f"ab{MASK}", "--out", str(tmp_path / "a.png")]
    assert main([*command, "--kind", "self"]) == 2
    assert "a model of masked has encoder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (None, "there is nothing to fill in; write <mask>"),
        ("einmal", "there is nothing to fill in; write <mask>"),
        (f"einmal {MASK}in König. Er", "the text has 20 characters; expected 1 to 16"),
        (f"{MASK}Q", "contains 'Q', which the model has never seen"),
    ],
)
def test_prompts_that_cannot_be_filled_in(prompt, said, recipe):
    model = recipe.build(np.random.default_rng(0))
    with pytest.raises(masked.InputError, match=said):
        recipe.respond(model, recipe.vocabulary, prompt, None)


def test_a_text_that_is_too_short_is_refused(tmp_path, capsys):
    path = tmp_path / "a.txt"
    path.write_text("a" * 150)
    command = ["train", "masked", "--data", str(path), *TEXT, "--out", str(tmp_path / "run")]
    assert main(command) == 2
    assert "the text has 150 characters; its last tenth is held out" in capsys.readouterr().err
