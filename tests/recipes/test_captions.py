"""The captions recipe: scenes, pairs from files, how it is judged, what it refuses."""

import json
import sys

import numpy as np
import pytest

from npformer.cli import main
from npformer.core.errors import MissingExtraError
from npformer.recipes import Captions, _pairs, _scenes, captions
from npformer.recipes._settings import InputError
from npformer.recipes.captions import END, PAD, CaptionsSettings, encode

SIZES = {"d_model": 8, "d_embed": 4, "heads": 2, "layers": 1}
OPTIONS = ["--steps", "3", "--batch", "4", "--d-model", "8", "--d-embed", "4"]
OPTIONS += ["--heads", "2", "--layers", "1"]


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(captions, "_POOL", 20)
    monkeypatch.setattr(captions, "_LOOK", 5)


@pytest.fixture
def recipe():
    return Captions(CaptionsSettings(batch=6, **SIZES))


def test_every_scene_has_one_sentence():
    assert len(set(_scenes.SENTENCES)) == len(_scenes.SENTENCES) == 60 * 2 * 60


def test_a_scene_shows_what_its_sentence_says():
    rng = np.random.default_rng(0)
    for _ in range(20):
        image = _scenes.draw("a large red circle above a small blue square", rng)
        assert image.shape == (3, 32, 32)
        assert image.dtype == np.float32
        assert 0 <= image.min() <= image.max() <= 1
        red, blue = image[0] - image[2] > 0.3, image[2] - image[0] > 0.3
        rows = [np.nonzero(part)[0] for part in (red, blue)]
        assert rows[0].max() < rows[1].min()
        assert len(rows[0]) > 1.5 * len(rows[1])
    image = _scenes.draw("a small white ring left of a large green triangle", rng)
    white, green = image.min(0) > 0.8, image[1] - image[0] > 0.4
    assert np.nonzero(white)[1].max() < np.nonzero(green)[1].min()


def test_shapes_stay_inside_of_the_image():
    rng = np.random.default_rng(1)
    for number in rng.choice(len(_scenes.SENTENCES), 200, replace=False):
        image = _scenes.draw(_scenes.SENTENCES[number], rng)
        edge = np.concatenate([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], axis=1)
        assert edge.max() < 0.2  # the ground alone


def test_held_out_sentences_are_never_trained_on(recipe):
    assert not set(recipe.train) & set(recipe.held_out)
    texts = {recipe.vocabulary.decode(row.tolist()) for row in recipe.batch(0)[1]}
    held_out = {recipe.texts[i] for i in recipe.held_out}
    assert not {text.split(END)[0] for text in texts} & held_out


def test_a_batch_holds_different_pairs_that_belong_together(recipe, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        _scenes, "draw", lambda text, rng: (drawn.append(text), np.zeros((3, 32, 32)))[1]
    )
    images, ids = recipe.batch(2)
    assert images.shape == (6, 3, 32, 32)
    assert len(set(drawn)) == 6
    for row, text in zip(ids, drawn, strict=True):
        assert recipe.vocabulary.decode(row.tolist()).replace(PAD, "") == text + END


def test_texts_end_and_are_padded(recipe):
    ids = encode(recipe.vocabulary, ["a red", "a"])
    end, pad = recipe.vocabulary.ids[END], recipe.vocabulary.ids[PAD]
    assert ids.shape == (2, 6)
    assert ids[0, -1] == ids[1, 1] == end
    assert np.all(ids[1, 2:] == pad)


def test_found_is_the_share_whose_nearest_is_its_own(recipe, monkeypatch):
    class Perfect:
        log_scale = recipe.build(np.random.default_rng(0)).log_scale
        rows: tuple = ()

        def encode_image(self, images):
            return np.eye(20, dtype=np.float32)

        def encode_text(self, ids):
            v = np.eye(20, dtype=np.float32)
            v[[0, 1]] = v[[1, 0]]  # the first two exchanged
            v[2] = v[3]  # so that the third image has no text, and the fourth has two
            return v

    monkeypatch.setattr(captions, "_ROWS", 20)
    measures = recipe.judge(Perfect())[0]
    assert measures["text found"] == pytest.approx(16 / 20)
    assert measures["image found"] == pytest.approx(17 / 20)


def test_a_run_writes_what_every_run_writes(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "captions", *OPTIONS, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "chance finds 5.00 %" in said
    measures = json.loads((out / "result.json").read_text())["held_out"]
    assert set(measures) == {"loss", "text found", "image found"}
    prompt = ["--prompt", "a large red ring above a small blue square", "--tokens", "3"]
    assert main(["sample", str(out), *prompt]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line[8:] in _scenes.SENTENCES for line in lines)
    assert main(["sample", str(out), "--prompt", "a cat"]) == 2
    assert "'a cat' is no scene; expected a sentence such as" in capsys.readouterr().err
    assert main(["train", "captions", "--resume", "--steps", "4", "--out", str(out)]) == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--image-size", "64"], "--image-size is 64; scenes are 32 pixels wide"),
        (["--batch", "1"], "--batch: got '1', expected a whole number of at least 2"),
        (["--data", "nowhere"], "--data nowhere is neither a folder with images and captions.csv"),
        (["--data", __file__], "is neither a folder with images and captions.csv"),
    ],
)
def test_what_cannot_be_trained_on(more, said, tmp_path, capsys):
    assert main(["train", "captions", *OPTIONS, *more, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "captions.csv cannot be read: "),
        ("", "captions.csv lists nothing"),
        ("file,text\n", "captions.csv lists nothing"),
        ("0.png,one,two\n", "row 1 of captions.csv is ['0.png', 'one', 'two']; expected"),
        ("file,text\n0.png, \n", "row 1 of captions.csv is ['0.png', ' ']; expected"),
    ],
)
def test_lists_that_say_nothing(content, said, tmp_path):
    if content is not None:
        (tmp_path / "captions.csv").write_text(content)
    with pytest.raises(InputError) as error:
        _pairs.read_pairs(str(tmp_path), 32)
    assert said in str(error.value)


def test_without_pillow_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "captions.csv").write_text("0.png,a dot\n")
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'npformer\[cli\]'"):
        _pairs.read_pairs(str(tmp_path), 32)
