"""Whisper: what it hears, its fixed positions, what the paper says, and what cannot be read."""

import re

import numpy as np
import pytest
from support.models import VOCAB, batch, build, trained
from support.passes import assert_close, assert_equal, assert_gradient_of_the_loss, moved

import npformer.functional as F
from npformer.core import skeleton
from npformer.generation import beam_search, generate
from npformer.models import Whisper, WhisperConfig
from npformer.training import AdamW, Trainer
from npformer.training.checkpoint import load_model


def mel(seed=0, size=2, frames=7):
    return np.random.default_rng(seed).standard_normal((size, 3, frames))


def ids(seed=0, size=2, length=4):
    return np.random.default_rng(seed).integers(0, VOCAB, (size, length))


def test_the_size_of_the_paper_s_smallest_model():
    """39 million in its table 1; the head shares the table, and no key has a bias."""
    with skeleton():  # nothing is drawn
        model = Whisper(WhisperConfig(51_865, 448, 384, 6, 4))
    d, attention, feed = 384, 4 * 384**2 + 3 * 384, 8 * 384**2 + 5 * 384
    layers = 4 * (attention + feed + 2 * 2 * d) + 4 * (2 * attention + feed + 3 * 2 * d) + 2 * 2 * d
    inputs = 3 * 80 * d + d + 3 * d * d + d + 1500 * d + 448 * d + 51_865 * d
    total = sum(p.value.size for p in model.parameters())
    assert total == layers + inputs
    assert 37e6 < total < 39e6


def test_forward_by_hand():
    """Convolutions, GELU, sinusoids; then the stacks; the logits from the decoder's table."""
    model, sound, target = trained(Whisper), mel(), ids()
    inputs = model.source_inputs
    x = sound.swapaxes(1, 2)
    for conv, stride in ((inputs.conv1, 1), (inputs.conv2, 2)):
        x = np.pad(x, ((0, 0), (1, 1), (0, 0)))
        windows = np.stack([x[:, i : i + 3] for i in range(0, x.shape[1] - 2, stride)], axis=1)
        x = F.gelu(np.einsum("bnkc,dck->bnd", windows, conv.weight.value) + conv.bias.value)[0]
    assert x.shape == (2, 4, 8)
    memory = model.encoder(x + inputs.position.weight.value)
    assert_close(model.encode(sound)[0], memory)
    embedded = model.target_inputs.token.weight.value[target]
    embedded = embedded + model.target_inputs.position.weight.value[:4]
    table = model.target_inputs.token.weight.value
    assert_close(model(sound, target), model.decoder(embedded, memory) @ table.T)


def test_positions_of_the_encoder_are_waves_that_nothing_changes():
    rng = np.random.default_rng(0)
    model = Whisper(WhisperConfig(7, 5, 8, 2, 1, max_source_len=6), rng=rng, dtype=np.float64)
    t, c = np.arange(6)[:, None], np.arange(4)
    angle = t * 10000 ** (-c / 3)  # wavelengths from 2 pi to 2 pi 10000, both included
    want = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)
    position = model.source_inputs.position.weight
    assert_close(position.value, want)
    assert "source_inputs.position.weight" in model.state_dict()
    trainer = Trainer(model, AdamW(model.parameters(), lr=0.1))
    sound = np.random.default_rng(0).standard_normal((2, 80, 11))
    before = model.source_inputs.conv1.weight.value.copy()
    trainer.step(sound, ids(), ids(1))
    assert_close(position.value, want)
    assert not position.grad.any()
    assert np.median(np.abs(model.source_inputs.conv1.weight.value - before)) > 0.05


@pytest.mark.parametrize("frames", [1, 2, 7, 8])
def test_two_frames_are_one_vector_of_the_memory(frames):
    model = trained(Whisper)
    memory, _ = model.encode(mel(frames=frames))
    assert memory.shape == (2, (frames + 1) // 2, 8)


def test_every_frame_is_heard_at_every_place():
    model, sound, target = trained(Whisper), mel(size=1), ids(size=1)
    before = model(sound, target)
    for frame in range(7):
        other = sound.copy()
        other[:, 1, frame] += 1
        assert (np.abs(model(other, target) - before).max(axis=-1) > 1e-6).all()


@pytest.mark.parametrize("t", [0, 2])
def test_the_target_is_read_causally(t):
    model, sound, target = trained(Whisper, "sinusoidal"), mel(), ids()
    other = target.copy()
    other[:, t + 1 :] = (target[:, t + 1 :] + 1) % VOCAB
    y, changed = model(sound, target), model(sound, other)
    assert_equal(y[:, : t + 1], changed[:, : t + 1])
    assert (np.abs(y - changed)[:, t + 1 :].max(axis=-1) > 1e-6).all()


def test_stacks_of_different_depth_and_no_bias_of_keys():
    names = build(Whisper, num_layers=3, num_decoder_layers=1).state_dict()
    layers = {
        name.rpartition("layers.")[0] + name.split(".")[2] for name in names if "layers" in name
    }
    assert layers == {"encoder.0", "encoder.1", "encoder.2", "decoder.0"}
    assert not any(name.endswith("k_proj.bias") for name in names)
    assert {"encoder.norm.weight", "decoder.norm.weight"} < names.keys()
    assert sum(name.endswith("q_proj.bias") for name in names) == 5


def test_the_loss_is_that_of_the_logits():
    model, (sound, target, targets) = trained(Whisper), batch(Whisper)
    want, _ = F.cross_entropy(model(sound, target), targets)
    assert model.loss(sound, target, targets)[0] == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("options", ["learned", "sinusoidal"])
def test_the_gradient_of_the_loss_in_every_parameter(options):
    """The table of waves among them, if somebody sets it free."""
    model = trained(Whisper, options, num_layers=1)
    model.source_inputs.position.weight.trainable = True
    assert_gradient_of_the_loss(model, *batch(Whisper, size=2))


def test_a_checkpoint_of_each_layer_changes_nothing():
    inputs, results = batch(Whisper), []
    for checkpoint in (False, True):
        model = trained(Whisper, checkpoint=checkpoint)
        loss, saved = model.loss(*inputs)
        model.loss_backward(saved)
        results.append({"loss": loss, **{n: p.grad for n, p in model.named_parameters()}})
    assert_close(*results, rtol=0, atol=0)


def test_a_trainer_shards_saves_and_goes_on(tmp_path):
    def trainer():
        model = build(Whisper, dtype=np.float32, dropout=0.1, num_decoder_layers=1)
        rng = np.random.default_rng(4)
        return Trainer(model, AdamW(model.parameters()), workers=2, rng=rng)

    first, second, inputs = trainer(), trainer(), batch(Whisper, dtype=np.float32)
    first.step(*inputs)
    first.save(tmp_path / "whisper.npz")
    want = [first.step(*inputs) for _ in range(2)]
    second.load(tmp_path / "whisper.npz")
    assert [second.step(*inputs) for _ in range(2)] == want
    model, _ = load_model(tmp_path / "whisper.npz")
    assert isinstance(model, Whisper)
    assert model.config == first.model.config


@pytest.fixture
def writer():
    """A model that prefers some tokens clearly."""
    model = moved(build(Whisper), 3, 0.7)
    model.decoder.norm.bias.value[...] = 0  # it would outweigh all else
    return model


@pytest.mark.parametrize("start", [2, [2], [2, 5, 1]])
def test_what_it_writes_is_what_is_likeliest_one_by_one(writer, start):
    sound = mel(size=3)
    written = np.tile(np.atleast_1d(start), (3, 1))
    for _ in range(5):
        best = np.argmax(writer(sound, written)[:, -1], axis=-1)
        written = np.concatenate([written, best[:, None]], axis=1)
    want = written[:, np.size(start) :]
    assert len(np.unique(want)) > 2
    for use_cache in (True, False):
        options = {"start": start, "use_cache": use_cache}
        assert_equal(generate(writer, sound, 5, temperature=0, **options), want)
        assert_equal(beam_search(writer, sound, 5, num_beams=1, **options).best, want)


def test_beams_with_a_cache_and_without_are_the_same(writer):
    a, b = (
        beam_search(writer, mel(), 4, num_beams=3, start=[1, 4], use_cache=use_cache)
        for use_cache in (True, False)
    )
    assert_equal(a.ids, b.ids)
    assert_close(a.scores, b.scores)


def test_steps_with_a_cache_are_one_whole_pass(writer):
    sound, target = mel(), ids()
    memory, _ = writer.encode(sound)
    cache = writer.new_cache(2, 4)
    parts = [writer.decode(target[:, at], memory, cache) for at in (slice(3), slice(3, 4))]
    assert_close(np.concatenate([y for y, _ in parts], axis=1), writer(sound, target))
    assert parts[0][1] is None
    y, saved = writer.forward(sound, target)
    with pytest.raises(ValueError, match=r"^Whisper\.backward: saved is None"):
        writer.backward(y, saved._replace(decode=None))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start": 1, "mask": np.ones((2, 7), bool)}, "source of Whisper has no padding"),
        ({}, "Whisper is an encoder–decoder, so give the token"),
        ({"start": [1, 7]}, "start holds 7; expected 0 to 6"),
        ({"start": [1] * 6}, "would be shown 9 tokens and knows only 8 positions"),
    ],
)
def test_generation_that_cannot_be(writer, options, said):
    for write in (generate, beam_search):
        with pytest.raises(ValueError, match=said):
            write(writer, mel(), 4, **options)


M, T = mel(), ids()


@pytest.mark.parametrize(
    ("inputs", "error", "said"),
    [
        ((M[0], T), ValueError, "mel is (3, 7); expected (batch, 3, frames), at least one of each; "
                                "put one recording in a batch with mel[None]"),
        ((M.swapaxes(1, 2), T), ValueError, "mel is (2, 7, 3); expected (batch, 3, frames)"),
        ((M[:, :, :0], T), ValueError, "mel is (2, 3, 0); expected (batch, 3, frames)"),
        ((mel(frames=9), T), ValueError, "mel has 9 frames and there are positions for 8; cut"),
        ((T, T), TypeError, "Whisper: mel is int64 (2, 4); expected float32 or float64"),
        ((M.astype("f4"), T), TypeError, "mel is float32 but weight is float64"),
        ((M, T[:1]), ValueError, "target_in has 1 sequences and the source 2; expected one target"),
        ((M, T[0]), ValueError, "put a single sequence in a batch with target_in[None]"),
        ((M, T + 0.0), TypeError, "target_in is float64 (2, 4); expected a NumPy array of int"),
        ((M, T + 7), ValueError, "expected 0 to 6 (a table of 7)"),
        ((M, ids(length=9)), ValueError, "run from 0 to 8 but only 0 to 7 were made (max_len=8)"),
    ],
)  # fmt: skip
def test_a_batch_that_cannot_be_read_is_refused(inputs, error, said):
    with pytest.raises(error, match=re.escape(said)):
        build(Whisper)(*inputs)


def test_a_target_for_each_token_and_a_memory_from_encode():
    model = build(Whisper)
    with pytest.raises(ValueError, match=re.escape("targets are (2, 3) and target_in is (2, 4)")):
        model.loss(M, T, T[:, :3])
    with pytest.raises(TypeError, match="memory is a tuple; expected what encode returned first"):
        model.decode(T, model.encode(M))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"n_mels": 0}, ValueError, "n_mels is 0; expected a positive int"),
        ({"max_source_len": 1.0}, TypeError, "max_source_len is 1.0; expected a positive int"),
        ({"num_decoder_layers": 0}, ValueError, "num_decoder_layers is 0; expected a positive"),
        ({"tie_embeddings": 1}, TypeError, "tie_embeddings is 1; expected True or False"),
        ({"checkpoint": None}, TypeError, "checkpoint is None; expected True or False"),
        ({"d_model": 9, "num_heads": 3}, ValueError, "d_model is 9; expected an even number"),
    ],
)
def test_a_configuration_of_its_own_that_cannot_be_built(options, error, said):
    with pytest.raises(error, match=f"WhisperConfig: {said}"):
        build(Whisper, **options)
