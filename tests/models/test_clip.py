"""CLIP: patches, towers, where a text ends, both losses' ways, and what cannot be read."""

import math
import re

import numpy as np
import pytest
from support.passes import (
    assert_close,
    assert_equal,
    assert_gradient_of_the_loss,
    moved,
    parameter_gradients,
)

import npformer.functional as F
from npformer import Run
from npformer.core import skeleton
from npformer.layers import Dropout, MultiHeadAttention
from npformer.models import CLIP, BERTConfig, CLIPConfig
from npformer.training import SGD, Adam, AdamW, Lion, Trainer
from npformer.training.checkpoint import load_model

VOCAB, LENGTH = 9, 6
SIZES = {
    "vocab_size": VOCAB,
    "max_len": 8,
    "image_size": 6,
    "patch_size": 2,
    "d_embed": 5,
    "image_d_model": 8,
    "image_num_heads": 2,
    "image_num_layers": 2,
    "image_d_ff": 10,
    "text_d_model": 4,
    "text_num_heads": 2,
    "text_num_layers": 3,
    "text_d_ff": 6,
}


def build(dtype=np.float64, seed=0, **options):
    config = CLIPConfig(**SIZES | options)
    return CLIP(config, rng=np.random.default_rng(seed), dtype=dtype)


def trained(**options):
    return moved(build(**options))


def batch(size=3, seed=0, dtype=np.float64):
    """Images, ids and a mask; padded on either side."""
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((size, 3, 6, 6)).astype(dtype)
    mask = np.ones((size, LENGTH), bool)
    mask[0, 4:] = mask[-1, :2] = False
    return images, rng.integers(0, VOCAB, (size, LENGTH)), mask


def loss_and_gradients(model, inputs, dloss=1.0, run=None):
    model.zero_grad()
    loss, saved = model.loss(*inputs, run=run)
    model.loss_backward(saved, dloss)
    return loss, parameter_gradients(model)


def test_the_defaults_are_the_paper_s():
    """ViT-B/32 has 151,277,313 parameters; of each stack of L blocks, L (12 D^2 + 13 D)."""

    def total(layers, vocab):
        stacks = sum(layers * (12 * d**2 + 13 * d) for d in (768, 512))
        image = 768 * (3 * 32**2 + 1 + 50 + 4 + 512)  # patches, class, positions, norms, projection
        return stacks + image + 512 * (vocab + 77 + 2 + 512) + 1

    assert total(12, 49408) == 151_277_313
    config = CLIPConfig()
    assert (config.image_num_layers, config.text_num_layers, config.vocab_size) == (12, 12, 49408)
    with skeleton():  # nothing is drawn
        model = CLIP(CLIPConfig(100, image_num_layers=1, text_num_layers=1))
    assert sum(p.value.size for p in model.parameters()) == total(1, 100)
    assert model.log_scale.value == pytest.approx(math.log(1 / 0.07))


def test_a_patch_is_seen_by_its_own_window_of_weights():
    """As a convolution has it, whose stride is its kernel."""
    inputs, (images, _, _) = trained().image.inputs, batch()
    kernel = inputs.linear.weight.value.reshape(8, 3, 2, 2)
    e = inputs(images) - inputs.position.weight.value
    assert e.shape == (3, 10, 8)
    assert_close(e[:, 0], np.tile(inputs.class_token.weight.value, (3, 1)))
    for row in range(3):
        for column in range(3):
            window = images[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            want = np.einsum("nchw,dchw->nd", window, kernel)
            assert_close(e[:, 1 + 3 * row + column], want)


def test_the_gradient_of_images_through_their_patches():
    """Batch, patches a side, channels and a patch's side differ: no exchange of two is unseen."""
    inputs, rng, h = trained(num_channels=4).image.inputs, np.random.default_rng(0), 1e-30
    images, v = rng.standard_normal((2, 5, 4, 6, 6))
    y, saved = inputs.forward(images)
    dy = rng.standard_normal(y.shape)
    dimages = inputs.backward(dy, saved)
    assert dimages.shape == images.shape
    want = np.sum(dy * inputs(images + 1j * h * v).imag) / h
    assert np.sum(dimages * v) == pytest.approx(want, rel=1e-11)


def test_the_vectors_have_length_1_and_their_cosines_are_scaled():
    model, (images, ids, mask) = trained(), batch()
    u, v = model.encode_image(images), model.encode_text(ids, mask)
    assert_close((u**2).sum(-1), np.ones(3))
    assert_close((v**2).sum(-1), np.ones(3))
    assert_close(model(images, ids, mask), np.exp(model.log_scale.value) * u @ v.T)
    assert model(images[:2], ids, mask).shape == (2, 3)


def test_the_loss_is_the_mean_of_two_cross_entropies():
    model, inputs = trained(), batch()
    logits, right = model(*inputs), np.arange(3)
    want = (F.cross_entropy(logits, right)[0] + F.cross_entropy(logits.T.copy(), right)[0]) / 2
    assert model.loss(*inputs)[0] == pytest.approx(want, rel=1e-12)


def test_gradients_by_the_loss_and_by_the_logits_are_the_same():
    model, inputs = trained(), batch()
    _, want = loss_and_gradients(model, inputs, 2.0)
    model.zero_grad()
    logits, undo = model.forward(*inputs)
    right = np.arange(3)
    _, rows = F.cross_entropy(logits, right)
    _, columns = F.cross_entropy(logits.T.copy(), right)
    dlogits = F.cross_entropy_backward(1.0, rows) + F.cross_entropy_backward(1.0, columns).T
    model.backward(dlogits, undo)
    assert_close(parameter_gradients(model), want, atol=1e-12)


@pytest.mark.parametrize("options", [{"end_token": 8}, {"activation": "gelu"}])
def test_the_gradient_of_the_loss_in_every_parameter(options):
    model, (images, ids, mask) = trained(text_num_layers=1, image_num_layers=1, **options), batch()
    ids[:, 3] = 8
    assert_gradient_of_the_loss(model, images, ids, mask)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_directional_derivative_through_the_whole_model_with_dropout(seed):
    """A key's bias alone has a gradient of zero, for softmax does not see it."""
    model, inputs, h = trained(seed=seed, dropout=0.3), batch(seed=seed), 1e-30
    rng = np.random.default_rng(seed)
    _, gradients = loss_and_gradients(model, inputs, run=Run(np.random.default_rng(3)))
    parameters = dict(model.named_parameters())
    direction = {name: np.asarray(rng.standard_normal(p.shape)) for name, p in parameters.items()}
    for name, p in parameters.items():
        p.value = np.asarray(p.value + 1j * h * direction[name])
    loss, _ = model.loss(*inputs, run=Run(np.random.default_rng(3)))
    terms = {name: np.sum(gradients[name] * direction[name]) for name in parameters}
    assert sum(terms.values()) == pytest.approx(loss.imag / h, rel=1e-10)
    left_out = {name for name, term in terms.items() if term == 0}
    assert not {name for name in left_out if not name.endswith("k_proj.bias")}


def test_an_image_is_seen_as_a_whole_and_a_text_up_to_its_end():
    model, (images, ids, _) = trained(end_token=8), batch(size=1)
    before = model.encode_image(images)
    for at in np.ndindex(3, 6, 6):
        changed = images.copy()
        changed[(0, *at)] += 1.0
        assert np.abs(model.encode_image(changed) - before).max() > 1e-6
    ids %= 8
    ids[0, 3] = 8
    before = model.encode_text(ids)
    for t in range(LENGTH):
        changed = ids.copy()
        changed[0, t] = (changed[0, t] + 1) % 8 if t != 3 else changed[0, t]
        moved_by = np.abs(model.encode_text(changed) - before).max()
        assert moved_by > 1e-6 if t < 3 else moved_by == 0


@pytest.mark.parametrize("end_token", [None, 8])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing_whatever_stands_there(side, end_token):
    model, ids = trained(end_token=end_token), np.array([[1, 7, 8], [0, 8, 3]])
    padded, mask = np.full((2, 6), 8), np.zeros((2, 6), bool)
    at = slice(3, None) if side == "left" else slice(0, 3)
    padded[:, at], mask[:, at] = ids, True
    assert_close(model.encode_text(padded, mask), model.encode_text(ids))


def test_where_a_text_ends():
    ids = np.array([[3, 8, 5, 8], [8, 1, 8, 8], [7, 7, 2, 6]], np.int8)
    mask = np.array([[True] * 4, [False, True, True, True], [True] * 4])
    largest, first = build().text, build(end_token=8).text
    assert_equal(largest.ends(ids, mask), [1, 2, 0])
    assert_equal(largest.ends(ids), [1, 0, 0])
    assert_equal(first.ends(ids[:2], mask[:2]), [1, 2])
    said = re.escape("1 of 3 texts, the first of them ids[2], have no token 8, which ends a text")
    with pytest.warns(UserWarning, match=said):
        assert_equal(first.ends(ids, mask), [1, 2, 0])
    with pytest.warns(UserWarning, match="no token 8"):
        assert_equal(first.ends(np.array([[1, 2, 3]]), np.array([[False, True, True]])), [1])


def test_a_pair_alone_has_no_loss():
    loss, gradients = loss_and_gradients(trained(), batch(size=1))
    assert loss == 0
    assert all(np.abs(g).max() < 1e-15 for g in gradients.values())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_loss_is_of_the_model_s_dtype_and_any_number_may_scale_it(dtype):
    model, inputs = build(dtype), batch(8, dtype=dtype)
    loss, once = loss_and_gradients(model, inputs)
    assert type(loss) is dtype
    _, twice = loss_and_gradients(model, inputs, np.float64(2))
    assert all(g.dtype == dtype for g in twice.values())
    assert_close(twice, {name: 2 * g for name, g in once.items()}, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", [SGD, Adam, AdamW, Lion])
def test_every_optimizer_moves_the_temperature(optimizer):
    model, inputs = build(), batch()
    before = model.log_scale.value.copy()
    loss_and_gradients(model, inputs)
    optimizer(model.parameters(), lr=0.01).step()
    assert model.log_scale.shape == ()
    assert 0 < abs(model.log_scale.value - before) < 0.1


def test_a_small_batch_is_learnt_by_heart():
    model, inputs = build(), batch(6)
    trainer = Trainer(model, AdamW(model.parameters(), lr=0.01), clip_norm=1.0)
    for _ in range(150):
        loss = trainer.step(*inputs)
    assert loss < 0.02
    assert_equal(model(*inputs).argmax(0), np.arange(6))
    assert_equal(model(*inputs).argmax(1), np.arange(6))


def test_a_trainer_keeps_the_batch_whole_saves_and_goes_on(tmp_path):
    def trainer(**options):
        model = build(np.float32, dropout=0.1, end_token=8)
        rng = np.random.default_rng(4)
        return Trainer(model, AdamW(model.parameters()), rng=rng, **options)

    images, ids, mask = batch(dtype=np.float32)
    ids[:, 2] = 8
    inputs = images, ids, mask
    first, second = trainer(), trainer()
    assert first.model.loss_weight(*inputs) is None
    first.step(*inputs)
    first.save(tmp_path / "clip.npz")
    want = [first.step(*inputs) for _ in range(2)]
    second.load(tmp_path / "clip.npz")
    assert [second.step(*inputs) for _ in range(2)] == want
    model, _ = load_model(tmp_path / "clip.npz")
    assert isinstance(model, CLIP)
    assert model.config == first.model.config
    for options in ({"accumulate": 3}, {"workers": 3}):
        with pytest.raises(ValueError, match="CLIP"):
            trainer(**options).step(*inputs)


def test_a_replica_shares_values_and_has_gradients_of_its_own():
    model, inputs = trained(), batch()
    replica = model.replica()
    loss, want = loss_and_gradients(replica, inputs)
    assert not any(p.grad.any() for p in model.parameters())
    assert_close(loss_and_gradients(model, inputs)[1], want, rtol=0, atol=0)
    for p in model.parameters():
        p.value *= 1.5
    assert replica.loss(*inputs)[0] == model.loss(*inputs)[0] != loss


def test_a_checkpoint_of_each_layer_changes_nothing():
    results = []
    for checkpoint in (False, True):
        model = trained(checkpoint=checkpoint, dropout=0.2)
        loss, gradients = loss_and_gradients(model, batch(), run=Run(np.random.default_rng(1)))
        results.append({"loss": loss, **gradients})
    assert_close(*results, rtol=0, atol=0)


def test_a_state_dict_makes_an_equal_model():
    model, other, inputs = trained(), build(seed=9), batch()
    assert model.loss(*inputs)[0] != other.loss(*inputs)[0]
    other.load_state_dict(model.state_dict())
    assert model.loss(*inputs)[0] == other.loss(*inputs)[0]


def test_weights_start_small_and_what_ends_a_branch_smaller_by_its_own_tower_s_depth():
    options = {"image_num_layers": 2, "text_num_layers": 8, "image_d_model": 64, "image_d_ff": 64}
    model = build(**options, text_d_model=64, text_d_ff=64, d_embed=64)
    for name, p in model.named_parameters():
        if p.value.size < 1000:
            continue
        depth = 2 if name.startswith("image") else 8
        ends_a_branch = name.endswith(("out_proj.weight", "down.weight"))
        std = 0.02 / np.sqrt(2 * depth) if ends_a_branch else 0.02
        np.testing.assert_allclose(p.value.std(), std, rtol=5 / np.sqrt(2 * p.value.size))


def test_every_option_reaches_both_towers():
    model = build(dropout=0.35, norm_eps=0.07, activation="silu")
    for tower in (model.image, model.text):
        layers = [layer for _, layer in tower.named_layers()]
        assert {x.rate for x in layers if type(x) is Dropout} == {0.35, 0.0}
        assert {x.dropout for x in layers if type(x) is MultiHeadAttention} == {0.35}
        assert {x.eps for x in layers if hasattr(x, "eps")} == {0.07}
        assert {x.activation for x in layers if hasattr(x, "activation")} == {"silu"}


def test_attention_is_recorded_in_both_towers():
    model, inputs = trained(), batch()
    run = Run(record=["attention"])
    assert_equal(model(*inputs, run=run), model(*inputs))
    named = run.named(model, "attention")
    names = [f"image.encoder.layers.{i}.self_attention" for i in range(2)]
    names += [f"text.encoder.layers.{i}.self_attention" for i in range(3)]
    assert [name for name, _ in named] == names
    for name, weights in named:
        assert bool(np.triu(weights, 1).any()) == name.startswith("image")


IDS, IMAGES = batch()[1], batch()[0]
BAD_INPUTS = [
    ((IMAGES[0], IDS), ValueError, "images are (3, 6, 6); expected (batch, channels, height"),
    ((IMAGES[:, :, :4], IDS), ValueError, "images are (3, 3, 4, 6); expected"),
    ((IMAGES[:, :1], IDS), ValueError, "images are (3, 1, 6, 6); expected"),
    ((IMAGES[:0], IDS[:0]), ValueError, "at least one image"),
    ((IMAGES.astype(int), IDS), TypeError, "images is int64 (3, 3, 6, 6); expected float32 or"),
    ((IMAGES.astype(np.float32), IDS), TypeError, "float32"),
    ((IMAGES, IDS[0]), ValueError, "ids is (6,); expected (batch, length)"),
    ((IMAGES, IDS + VOCAB), ValueError, "expected 0 to 8"),
    ((IMAGES, IDS, IDS), TypeError, "mask is int64 (3, 6); expected a bool"),
    ((IMAGES, np.zeros((3, 9), int)), ValueError, "positions run from 0 to 8 but only 0 to 7"),
]


@pytest.mark.parametrize(("inputs", "error", "said"), BAD_INPUTS)
def test_what_cannot_be_read_is_refused(inputs, error, said):
    for call in (build(), build().loss):
        with pytest.raises(error, match=re.escape(said)):
            call(*inputs)


def test_the_loss_needs_a_text_for_each_image():
    with pytest.raises(ValueError, match="there are 2 images and 3 texts; expected a text for"):
        build().loss(IMAGES[:2], IDS)


def test_a_gradient_that_does_not_fit_is_refused():
    model = build()
    _, saved = model.forward(IMAGES, IDS)
    with pytest.raises(ValueError, match=re.escape("CLIP.backward: dy is (3, 2) but the output")):
        model.backward(np.ones((3, 2)), saved)


BAD_OPTIONS = [
    ({"image_size": 7}, ValueError, "CLIPConfig: image_size 7 is not divisible by patch_size 2"),
    ({"vocab_size": 0}, ValueError, "CLIPConfig: vocab_size is 0; expected a positive int"),
    ({"num_channels": 1.5}, TypeError, "CLIPConfig: num_channels is 1.5; expected a positive int"),
    ({"image_num_heads": 3}, ValueError, "CLIPConfig, of the image: d_model 8 is not divisible"),
    ({"text_num_heads": 3}, ValueError, "CLIPConfig, of the text: d_model 4 is not divisible"),
    ({"text_num_layers": 0}, ValueError, "CLIPConfig: text_num_layers is 0; expected a positive"),
    ({"image_d_ff": "big"}, TypeError, "CLIPConfig: image_d_ff is 'big'; expected a positive int"),
    ({"end_token": -1}, ValueError, "CLIPConfig: end_token is -1; expected an int, 0 or more"),
    ({"dropout": 1.0}, ValueError, "CLIPConfig: dropout is 1.0; expected 0 <= dropout < 1"),
    ({"norm_eps": 0}, ValueError, "CLIPConfig: norm_eps is 0; expected a positive number"),
    ({"activation": "swish"}, ValueError, "CLIPConfig: activation is 'swish'; expected one of"),
    ({"checkpoint": 1}, TypeError, "CLIPConfig: checkpoint is 1; expected True or False"),
]


@pytest.mark.parametrize(("options", "error", "said"), BAD_OPTIONS)
def test_a_configuration_that_cannot_be_built_is_refused(options, error, said):
    with pytest.raises(error, match=re.escape(said)):
        CLIPConfig(**SIZES | options)


def test_another_model_s_configuration_is_refused():
    with pytest.raises(TypeError, match="expected a CLIPConfig"):
        CLIP(BERTConfig(7, 5, 4, 2, 1))
