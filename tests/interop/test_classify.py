"""A CLIP folder that says what a picture shows: as transformers prepares, compares and shares."""

import numpy as np
import pytest
import torch
from interop.clip import SIZE, clip_folder, clip_tokenizer, preparation_of
from interop.hugging_face import GPT2, config_of, drawn, saved
from matplotlib import cbook
from PIL import Image
from support.recipes import said

from npformer.core.errors import CheckpointError
from npformer.hub import ImageClassifier, read_image
from npformer.hub.images import open_preparation
from npformer.recipes._settings import InputError

LABELS = ["woman in uniform", "cat", "bowl of soup", "Flag"]
PHOTO = cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder, and transformers' model and processor of it."""
    folder = tmp_path_factory.mktemp("clip")
    return folder, *clip_folder(folder)


def test_logits_on_a_photograph_are_theirs(made):
    folder, model, processor = made
    sentences = [f"a photo of a {label}." for label in LABELS]
    with Image.open(PHOTO) as image:
        given = processor(text=sentences, images=image, return_tensors="pt", padding=True)
    with torch.no_grad():
        want = model(**given).logits_per_image
    got = ImageClassifier.open(folder).classify([read_image(PHOTO)] * 2, LABELS)
    assert got.shape == (2, len(LABELS))
    np.testing.assert_allclose(got[0], got[1], atol=1e-6)
    np.testing.assert_allclose(got[0], want[0].softmax(-1).numpy(), atol=1e-5)
    logits = np.log(got[0]) - np.log(got[0]).max()
    np.testing.assert_allclose(logits, (want[0] - want[0].max()).numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [(300, 200), (201, 333), (24, 24), (20, 31)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"size": {"shortest_edge": 30}, "resample": 2},
        {"size": {"height": 26, "width": 40}, "image_mean": [0.5] * 3, "image_std": [0.25] * 3},
        {"size": {"height": SIZE, "width": SIZE}, "do_center_crop": False, "do_normalize": False},
    ],
)
def test_images_are_prepared_as_theirs(size, options, tmp_path):
    _, processor = clip_folder(tmp_path, **options)
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    want = processor.image_processor(image, return_tensors="np")["pixel_values"][0]
    got = open_preparation(tmp_path)(image)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_older_and_newer_folders_say_it_otherwise(made, tmp_path):
    folder, _, processor = made
    image = read_image(PHOTO)
    want = open_preparation(folder)(image)
    processor.image_processor.save_pretrained(tmp_path)
    preparation_of(tmp_path, size=SIZE, crop_size=SIZE)
    np.testing.assert_array_equal(open_preparation(tmp_path)(image), want)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no preprocessor_config.json, which says how"):
        open_preparation(tmp_path)
    processor.save_pretrained(tmp_path)
    assert not (tmp_path / "preprocessor_config.json").exists()
    np.testing.assert_array_equal(open_preparation(tmp_path)(image), want)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"resample": 9}, "'resample' is 9; expected a number from 0 to 5"),
        ({"size": {"longest_edge": 3}}, "'size' is .*; expected height and width, or shortest"),
        ({"crop_size": {"shortest_edge": 3}}, "'crop_size' is .*; expected height and width, in"),
        ({"image_mean": [0.5]}, "'image_mean' is .*; expected three numbers"),
        ({"do_pad": True}, "'do_pad' is True"),
        ({"do_flip": True}, "not known here.*do_flip"),
    ],
)
def test_what_would_change_the_image_is_refused(options, said, tmp_path):
    clip_folder(tmp_path)
    preparation_of(tmp_path, **options)
    with pytest.raises(CheckpointError, match=f"(?s)_config.json cannot be used: .*{said}"):
        ImageClassifier.open(tmp_path)


def test_what_does_not_belong_together(tmp_path):
    clip_folder(tmp_path)
    preparation_of(tmp_path, crop_size=16)
    with pytest.raises(CheckpointError, match=r"to be \(16, 16\), and the model sees \(24, 24\)"):
        ImageClassifier.open(tmp_path)
    preparation_of(tmp_path, crop_size=SIZE, size=20)
    with pytest.raises(CheckpointError, match="resizes images to less than it crops"):
        ImageClassifier.open(tmp_path).classify([read_image(PHOTO)], LABELS)
    preparation_of(tmp_path, size=SIZE)
    with config_of(tmp_path) as config:
        config["text_config"]["eos_token_id"] = 300
    with pytest.raises(CheckpointError, match="does not end texts with the token 300, as the"):
        ImageClassifier.open(tmp_path).classify([read_image(PHOTO)], LABELS)
    tokenizer = clip_tokenizer(tmp_path)
    tokenizer.add_tokens(["one more"])
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="has ids up to 514, and the model a vocabulary of"):
        ImageClassifier.open(tmp_path)


@pytest.mark.parametrize(
    ("labels", "template", "said"),
    [
        (["a"], "{}", "expected at least two, all different, none empty"),
        (["a", "a"], "{}", "expected at least two"),
        (["a", " "], "{}", "expected at least two"),
        (["a", "b"], "a photo", r"the template is 'a photo'; expected one \{\}"),
        (["a", "b" * 99], "{}", "has 101 tokens, and the model reads 60; shorten it"),
    ],
)
def test_labels_that_make_no_sense(labels, template, said, made):
    with pytest.raises(InputError, match=said):
        ImageClassifier.open(made[0]).classify([read_image(PHOTO)], labels, template=template)


def test_the_command_ranks_labels_and_draws_bars(made, tmp_path, capsys):
    folder = made[0]
    picture = tmp_path / "bars.png"
    words = ["classify", PHOTO, "--model", str(folder), "--labels", *LABELS]
    lines = said(capsys, *words, "--out", str(picture)).splitlines()
    shares = ImageClassifier.open(folder).classify([read_image(PHOTO)], LABELS)[0]
    order = np.argsort(-shares)
    assert lines == [f"{100 * shares[i]:5.1f} %  {LABELS[i]}" for i in order]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert said(capsys, *words, "--template", "{}") != said(capsys, *words)


def test_pictures_that_are_none(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"no picture")
    words = ["--model", "nowhere", "--labels", "a", "b"]
    message = said(capsys, "classify", str(tmp_path / "a.png"), *words, status=2)
    assert "a.png is no image that can be read" in message
    assert "there is no image no.png" in said(capsys, "classify", "no.png", *words, status=2)
    message = said(capsys, "classify", PHOTO, *words, "--out", "no/such/b.png", status=2)
    assert "there is no folder 'no/such'" in message
    for out, why in (
        (tmp_path / "b.xyz", "ends in no picture format"),
        (tmp_path, "is a folder; expected the path of a file"),
        ("/proc/b.png", "cannot be written (No such file or directory); choose another"),
    ):
        assert why in said(capsys, "classify", PHOTO, *words, "--out", str(out), status=2)
    assert not (tmp_path / "b.xyz").exists()
    assert "there is no nowhere; expected a folder" in said(
        capsys, "classify", PHOTO, *words, status=2
    )


def test_folders_that_are_no_clip(tmp_path, capsys):
    other = saved(drawn("GPT2LMHeadModel", GPT2), tmp_path / "gpt2")
    words = ["classify", PHOTO, "--model", str(other), "--labels", "a", "b"]
    message = said(capsys, *words, status=2)
    assert "describes a 'gpt2', which is a GPT, not a CLIP" in message
