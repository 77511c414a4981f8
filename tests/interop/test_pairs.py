"""Images with texts from files, read by Pillow and fontTools, which come with matplotlib."""

import csv

import numpy as np
import pytest
from PIL import Image

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
