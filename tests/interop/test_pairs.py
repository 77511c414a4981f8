"""Images with texts from files, read by Pillow and fontTools, which come with matplotlib."""

import csv

import numpy as np
import pytest
from PIL import Image

from npformer.hub import read_image
from npformer.recipes import Captions, _pairs
from npformer.recipes._settings import InputError
from npformer.recipes.captions import CaptionsSettings


def folder_of(path, count):
    with open(path / "captions.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "text"])
        for i in range(count):
            Image.new("RGB", (9, 7), (10 * i, 0, 200)).save(path / f"{i}.png")
            rows.writerow([f"{i}.png", f"Number {i}, in blue"])
    return str(path)


def test_a_folder_gives_its_images_and_texts(tmp_path):
    images, texts = _pairs.read_pairs(folder_of(tmp_path, 3), 16)
    assert images.shape == (3, 3, 16, 16)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images[2, :, 0, 0], [20 / 255, 0, 200 / 255], atol=1e-6)
    assert texts[2] == "number 2, in blue"


def test_what_is_transparent_is_white(tmp_path):
    folder_of(tmp_path, 1)
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "0.png")
    assert np.all(_pairs.read_pairs(str(tmp_path), 8).images == 1)


def test_a_recipe_is_made_from_a_folder(tmp_path):
    settings = {"d_model": 8, "d_embed": 4, "heads": 2, "layers": 1, "image_size": 16}
    recipe = Captions(CaptionsSettings(data=folder_of(tmp_path, 25), batch=64, **settings))
    assert len(recipe.held_out) == 2
    images, ids = recipe.batch(0)
    assert len(images) == len(ids) == 23  # all there are
    model = recipe.build(np.random.default_rng(0))
    assert set(recipe.look(model)) == {"loss", "text found", "image found"}


def test_too_few_pairs_are_refused(tmp_path):
    with pytest.raises(InputError, match="has 19 pairs; a tenth is held out"):
        Captions(CaptionsSettings(data=folder_of(tmp_path, 19)))
    with pytest.raises(InputError, match="has 1 pair; a tenth is held out"):
        Captions(CaptionsSettings(data=folder_of(tmp_path, 1)))


@pytest.mark.parametrize("content", [None, b"no image"])
def test_a_file_that_is_no_image_is_named(content, tmp_path):
    folder_of(tmp_path, 2)
    (tmp_path / "1.png").unlink()
    if content is not None:
        (tmp_path / "1.png").write_bytes(content)
    with pytest.raises(InputError, match=r"1\.png is not an image that can be read"):
        _pairs.read_pairs(str(tmp_path), 8)


def test_a_font_without_pictures_is_refused():
    import matplotlib

    path = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    with pytest.raises(InputError, match="is not a font with pictures"):
        _pairs.read_pairs(path, 8)


def test_grey_of_16_bits_is_scaled_and_not_cut_off(tmp_path):
    folder_of(tmp_path, 1)
    grey = np.array([[0, 257, 128 * 257], [30000, 65279, 65535]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "0.png")
    want = np.rint(grey / 257)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "0.png"))[..., 1], want)
    mean = np.mean(want) / 255
    assert abs(_pairs.read_pairs(str(tmp_path), 1).images.mean() - mean) < 0.01


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_numbers_of_an_unknown_range_are_refused(kind, tmp_path):
    path = tmp_path / "0.tiff"
    Image.fromarray(np.full((4, 4), 7, kind)).save(path)
    said = r"0\.tiff .* its numbers are of 32 bits .*; save it with 8 or 16 bits"
    with pytest.raises(InputError, match=said):
        read_image(path)
    (tmp_path / "captions.csv").write_text("0.tiff,seven\n")
    with pytest.raises(InputError, match=said):
        _pairs.read_pairs(str(tmp_path), 8)


def test_an_image_is_turned_as_its_camera_was(tmp_path):
    folder_of(tmp_path, 1)
    image = Image.new("RGB", (6, 4), (255, 0, 0))
    image.paste((0, 0, 255), (0, 0, 3, 4))  # its left half
    exif = Image.Exif()
    exif[0x0112] = 6  # the left side is the lower one
    image.save(tmp_path / "0.png", exif=exif)
    seen = np.asarray(read_image(tmp_path / "0.png"))
    assert seen.shape == (6, 4, 3)
    assert (seen[:3, :, 2].max(), seen[3:, :, 2].max()) == (255, 0)
    red = _pairs.read_pairs(str(tmp_path), 6).images[0, 0]
    assert (red[:3].max(), red[3:].min()) == (0, 1)
