"""CLIP's folders: both towers, the loss and every gradient are those of transformers."""

import numpy as np
import pytest
import torch
import transformers
from interop.hugging_face import config_of, gradients, saved, weights_of, worst, worst_gradient

from npformer.core.errors import CheckpointError
from npformer.models import BERT, CLIP, CLIPConfig, Model

VOCAB, END = 23, 19
TEXT = {
    "vocab_size": VOCAB,
    "max_position_embeddings": 9,
    "hidden_size": 16,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "intermediate_size": 20,
    "bos_token_id": 1,
    "eos_token_id": END,
}
IMAGE = {
    "hidden_size": 12,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "intermediate_size": 24,
    "image_size": 12,
    "patch_size": 4,
}
GELU = {"hidden_act": "gelu"}
# Of each: options of the texts, of the images, and of both together.
CASES = {
    "an end token": (TEXT, IMAGE, {"projection_dim": 10}),
    "the largest id, as in older folders": (
        TEXT | {"eos_token_id": 2},
        IMAGE | {"num_hidden_layers": 1, "patch_size": 6},
        {"projection_dim": 7},
    ),
    "gelu": (
        TEXT | GELU | {"num_hidden_layers": 1, "layer_norm_eps": 1e-2},
        IMAGE | GELU | {"num_hidden_layers": 3, "layer_norm_eps": 1e-2},
        {"projection_dim": 16},
    ),
    "gelu, one patch, one channel, one head": (
        TEXT | GELU | {"eos_token_id": 2, "num_attention_heads": 1},
        IMAGE | GELU | {"num_channels": 1, "patch_size": 12, "num_attention_heads": 1},
        {"projection_dim": 4},
    ),
}
every_case = pytest.mark.parametrize("case", CASES)


def theirs(case="an end token", seed=0, **options):
    """A model of transformers, its parameters away from their initial values."""
    text, image, both = CASES[case]
    torch.manual_seed(seed)
    config = transformers.CLIPConfig(
        text_config=text, vision_config=image, **both | options, attn_implementation="eager"
    )
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            size = 0.1 if name == "logit_scale" else 0.3
            parameter += size * torch.randn_like(parameter)
    return model


def batch(case, seed=0, size=4):
    """Images, ids and a mask: texts that end where their padding begins, before it, and twice."""
    rng = np.random.default_rng(seed)
    _, image, _ = CASES[case]
    shape = (size, image.get("num_channels", 3), image["image_size"], image["image_size"])
    ids, mask = rng.integers(0, END, (size, 7)), np.ones((size, 7), bool)
    for i, end in enumerate((3, 6, 2, 4)[:size]):
        ids[i, end] = END
    ids[0, 4:], mask[0, 4:] = END, False
    ids[2, 4:], mask[2, 5:] = END, False
    return rng.standard_normal(shape).astype(np.float32), ids, mask


def run(model, case, masked=True, **options):
    images, ids, mask = batch(case)
    given = {"attention_mask": torch.tensor(mask).long()} if masked else {}
    return model(torch.tensor(ids), torch.tensor(images), **given, **options)


@every_case
@pytest.mark.parametrize("masked", [True, False])
def test_embeddings_and_logits_are_theirs(case, masked, tmp_path):
    model = theirs(case)
    with torch.no_grad():
        want = run(model, case, masked)
    images, ids, mask = batch(case)
    mask = mask if masked else None
    mine = CLIP.from_pretrained(saved(model, tmp_path))
    assert worst(mine.encode_image(images), want.image_embeds) < 2e-4
    assert worst(mine.encode_text(ids, mask), want.text_embeds) < 2e-4
    assert worst(mine(images, ids, mask), want.logits_per_image) < 2e-4


@every_case
def test_loss_and_every_gradient_are_theirs(case, tmp_path):
    model = theirs(case)
    mine = CLIP.from_pretrained(saved(model, tmp_path / "weights"))
    want = run(model, case, return_loss=True).loss
    want.backward()
    loss, undo = mine.loss(*batch(case))
    mine.loss_backward(undo)
    assert abs(loss - want.item()) < 1e-4 * abs(want.item())
    got = {name: parameter.grad for name, parameter in mine.named_parameters()}
    error, name = worst_gradient(got, gradients(model, CLIP, tmp_path / "gradients"))
    assert error < 1e-3, name


@every_case
def test_gradients_of_logits_and_of_images_are_theirs(case, tmp_path):
    model = theirs(case)
    mine = CLIP.from_pretrained(saved(model, tmp_path / "weights"))
    images, ids, mask = batch(case)
    pixels = torch.tensor(images, requires_grad=True)
    want = model(torch.tensor(ids), pixels, torch.tensor(mask).long()).logits_per_image
    dy = np.random.default_rng(1).standard_normal(want.shape).astype(np.float32)
    want.backward(torch.tensor(dy))
    _, undo = mine.forward(images, ids, mask)
    assert worst(mine.backward(dy, undo), pixels.grad) < 1e-3
    got = {name: parameter.grad for name, parameter in mine.named_parameters()}
    error, name = worst_gradient(got, gradients(model, CLIP, tmp_path / "gradients"))
    assert error < 1e-3, name


@every_case
def test_what_is_saved_here_is_what_was_loaded_and_they_can_load_it(case, tmp_path):
    model = theirs(case)
    mine = Model.from_pretrained(saved(model, tmp_path / "theirs"))
    assert type(mine) is CLIP
    mine.save_pretrained(tmp_path / "ours", shard_bytes=8000)
    again, told = transformers.CLIPModel.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    with torch.no_grad():
        got, want = run(again, case), run(model, case)
    assert worst(got.logits_per_image, want.logits_per_image) < 1e-5
    twice = CLIP.from_pretrained(tmp_path / "ours")
    assert twice.config == mine.config
    for name, value in mine.state_dict().items():
        np.testing.assert_array_equal(twice.state_dict()[name], value)


def test_texts_without_an_end_are_those_of_their_first_token(tmp_path):
    model = theirs()
    images, ids, _ = batch("an end token")
    ids[1:3] %= END
    with torch.no_grad():
        want = model(torch.tensor(ids), torch.tensor(images)).text_embeds
    mine = CLIP.from_pretrained(saved(model, tmp_path))
    with pytest.warns(UserWarning, match=r"2 of 4 texts, the first of them ids\[1\], have no"):
        assert worst(mine.encode_text(ids), want) < 2e-4


def test_older_folders_have_each_tower_twice_and_what_is_of_no_use(tmp_path):
    folder = saved(theirs(), tmp_path)
    images, ids, mask = batch("an end token")
    want = CLIP.from_pretrained(folder)(images, ids, mask)
    with config_of(folder) as config:
        config["text_config_dict"] = config["text_config"]
        config["text_config"] = {"hidden_size": 99, "eos_token_id": 2}
        config["vision_config_dict"] = None
        config["vision_config"] |= {"dropout": 0.0, "top_k": 50, "pruned_heads": {}}
    with weights_of(folder) as tensors:
        tensors["text_model.embeddings.position_ids"] = np.arange(9)[None]
        tensors["vision_model.embeddings.position_ids"] = np.arange(10)[None]
    np.testing.assert_array_equal(CLIP.from_pretrained(folder)(images, ids, mask), want)


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_what_a_folder_leaves_out_is_as_in_transformers(tower, tmp_path):
    """Such as all sizes; here one is told by the tensors that do not fit."""
    folder = saved(theirs(), tmp_path)
    with config_of(folder) as config:
        config[f"{tower}_config"] = {}
    with pytest.raises(CheckpointError, match=r"far larger than its|do not fit the CLIP"):
        CLIP.from_pretrained(folder)


@pytest.mark.parametrize(
    ("part", "option", "said"),
    [
        (None, {"new_idea": 3}, "options that are not known here.*'new_idea': 3"),
        (None, {"text_config": 3}, "'text_config' is 3; expected an object"),
        ("text", {"new_idea": 3}, "in its 'text_config', it has options that are not .*new_idea"),
        ("text", {"eos_token_id": [1, 2]}, r"'eos_token_id' is \[1, 2\]; expected an int"),
        ("text", {"hidden_act": "tanh"}, "'hidden_act' is 'tanh'; expected one of gelu"),
        ("text", {"hidden_act": "gelu"}, "activation 'gelu' and its vision_config 'quick_gelu'"),
        ("vision", {"layer_norm_eps": 1e-3}, "norm_eps 1e-05 and its vision_config 0.001"),
        ("vision", {"attention_dropout": 0.1}, "'attention_dropout' is 0.1, of attention weights"),
        ("vision", {"image_size": [12, 8]}, r"'image_size' is \[12, 8\]; expected an int"),
        ("vision", {"patch_size": 5}, "image_size 12 is not divisible by patch_size 5"),
        ("vision", {"num_attention_heads": 5}, "image: d_model 12 is not divisible by num_heads 5"),
    ],
)
def test_an_option_that_would_change_the_numbers(part, option, said, tmp_path):
    folder = saved(theirs(), tmp_path)
    with config_of(folder) as config:
        (config if part is None else config[f"{part}_config"]).update(option)
    with pytest.raises(CheckpointError, match=f"(?s)config.json cannot be loaded: .*{said}"):
        Model.from_pretrained(folder)


def test_of_the_tensors_all_that_is_wrong_is_said_at_once(tmp_path):
    folder = saved(theirs(), tmp_path)
    patches = "vision_model.embeddings.patch_embedding.weight"
    with weights_of(folder) as tensors:
        tensors[patches] = tensors[patches][:, :, :, :3]
        del tensors["vision_model.embeddings.class_embedding"]
        tensors["classifier.weight"] = np.ones((2, 12), np.float32)
    said = (
        r"(?s)1 are missing.*class_embedding \(12,\), for image.inputs.class_token.weight.*"
        r"wrong shape: .*patch_embedding.weight is \(12, 3, 4, 3\), expected \(12, 3, 4, 4\).*"
        r"not known: classifier.weight"
    )
    with pytest.raises(CheckpointError, match=said):
        CLIP.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="describes a 'clip', which is a CLIP, not a BERT"):
        BERT.from_pretrained(folder)


def test_dropout_is_chosen_and_written_as_that_of_attention(tmp_path):
    model = CLIP.from_pretrained(saved(theirs(), tmp_path), dropout=0.2, checkpoint=True)
    assert model.config.dropout == 0.2
    model.save_pretrained(tmp_path / "again")
    with config_of(tmp_path / "again") as config:
        assert config["vision_config"]["attention_dropout"] == 0.2
    assert CLIP.from_pretrained(tmp_path / "again", dropout=0.1).config.dropout == 0.1


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"activation": "swiglu"}, "clip: activation is 'swiglu', not 'gelu'"),
        ({"end_token": 2}, "clip: end_token is 2, for which it would take the largest id"),
    ],
)
def test_what_their_clip_cannot_be(option, said, tmp_path):
    sizes = {"vocab_size": 5, "image_size": 4, "patch_size": 2, "image_num_layers": 1}
    sizes |= {"text_num_layers": 1, "image_d_model": 4, "image_num_heads": 2}
    model = CLIP(CLIPConfig(**sizes, text_d_model=4, text_num_heads=2, **option))
    with pytest.raises(ValueError, match=f"(?s)this CLIP; .*{said}"):
        model.save_pretrained(tmp_path / "new")
