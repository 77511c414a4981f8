"""CTC: what it hears, its loss by hand and by shards, and what cannot be read."""

import re

import numpy as np
import pytest
from support.passes import assert_close, moved

import npformer.functional as F
from npformer import Layer, gradcheck
from npformer.generation import ctc_greedy
from npformer.models import CTC, CTCConfig, Model, Whisper, WhisperConfig
from npformer.training import AdamW, Trainer
from npformer.training.checkpoint import load_model

SIZES = {"vocab_size": 5, "d_model": 4, "num_heads": 2, "num_layers": 1, "d_ff": 6}
SIZES |= {"n_mels": 3, "max_source_len": 6}
TARGETS = np.array([[1, 2, -100], [3, 3, 1], [4, -100, -100]])


def build(dtype=np.float64, seed=0, **options):
    return CTC(CTCConfig(**SIZES | options), rng=np.random.default_rng(seed), dtype=dtype)


def trained(**options):
    return moved(build(**options))


def mel(seed=0, size=3, frames=11, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal((size, 3, frames)).astype(dtype)


def test_it_hears_as_whisper_does():
    """The same layers with the same values give the same memory."""
    model = trained()
    config = WhisperConfig(max_len=2, **SIZES)
    whisper = Whisper(config, dtype=np.float64)
    values = model.state_dict()
    ours = {n.replace("inputs.", "source_inputs.", 1): v for n, v in values.items()}
    ours = {n: v for n, v in ours.items() if not n.startswith("head.")}
    whisper.load_state_dict(whisper.state_dict() | ours)
    memory, _ = whisper.encode(mel())
    assert_close(model(mel()), memory @ values["head.weight"].T + values["head.bias"])


def test_the_loss_is_that_of_every_recording_by_itself():
    model, sound = trained(), mel()
    losses = []
    for one, target in zip(sound, TARGETS, strict=True):
        p, _ = F.log_softmax(model(one[None]))
        target = target[None, target != -100]
        losses.append(F.ctc_loss(p, target, np.array([6]), np.array([target.size]))[0])
    assert model.loss(sound, TARGETS)[0] == pytest.approx(np.mean(losses), rel=1e-12)
    assert model.loss_weight(sound[:2], TARGETS[:2]) == 2


class LossOf(Layer):
    """A model's loss as a layer, for the checker."""

    def __init__(self, model, *batch):
        self.model, self.batch = model, batch

    def forward(self, *, run=None):
        return self.model.loss(*self.batch, run=run)

    def backward(self, dy, saved, run=None):
        self.model.loss_backward(saved, dy)


def test_the_gradient_of_the_loss_in_every_parameter():
    model, sound = trained(d_ff=4), mel(size=2, frames=7)
    gradcheck(LossOf(model, sound, TARGETS[::2, :2]), mode="fast").assert_ok()


def test_it_learns_to_spell_shards_saves_and_goes_on(tmp_path):
    def trainer(workers):
        model = build(np.float32, d_model=8, d_ff=None)
        return Trainer(model, AdamW(model.parameters(), lr=0.02), workers=workers)

    first, second, batch = trainer(1), trainer(3), (mel(dtype=np.float32), TARGETS)
    assert first.step(*batch) == pytest.approx(second.step(*batch), rel=1e-5)
    for _ in range(60):
        first.step(*batch)
    spelled = ctc_greedy(first.model(batch[0]), np.full(3, 6))
    assert [row.tolist() for row in spelled] == [[1, 2], [3, 3, 1], [4]]
    first.save(tmp_path / "ctc.npz")
    model, _ = load_model(tmp_path / "ctc.npz")
    assert isinstance(model, CTC)
    assert model.config == first.model.config
    np.testing.assert_array_equal(model(batch[0]), first.model(batch[0]))


def test_a_checkpoint_of_each_layer_changes_nothing():
    results = []
    for checkpoint in (False, True):
        model = trained(checkpoint=checkpoint)
        loss, saved = model.loss(mel(), TARGETS)
        model.loss_backward(saved)
        results.append({"loss": loss, **{n: p.grad for n, p in model.named_parameters()}})
    assert_close(*results, rtol=0, atol=0)


def test_no_folder_of_others_is_one(tmp_path):
    with pytest.raises(ValueError, match="CTC"):
        build().save_pretrained(tmp_path)
    assert CTC in Model.__subclasses__()


M, T = mel(), TARGETS


@pytest.mark.parametrize(
    ("inputs", "error", "said"),
    [
        ((M[0], T), ValueError, "mel is (3, 11); expected (batch, 3, frames), at least one of "
                                "each; put one recording in a batch with mel[None]"),
        ((mel(frames=13), T), ValueError, "mel has 13 frames and there are positions for 12; cut"),
        ((M.astype("f4"), T), TypeError, "CTC: mel is float32 but weight is float64"),
        ((M, T[:2]), ValueError, "targets are (2, 3) and mel is (3, 3, 11); expected (batch, T)"),
        ((M, T[0]), ValueError, "targets are (3,) and mel is (3, 3, 11)"),
        ((M, T + 0.0), TypeError, "targets is float64 (3, 3)"),
        ((M, np.where(T == 4, 0, T)), ValueError, "targets[2, 0] is 0, the blank"),
        ((M, np.where(T == 4, 5, T)), ValueError, "targets[2, 0] is 5; expected 0 to 4"),
        ((M, T[:, ::-1]), ValueError, "targets[0, 0] is -100; expected 0 to 4"),
        ((M, np.full((3, 4), 2)), ValueError, "the target of sample 0 does not fit its input"),
    ],
)  # fmt: skip
def test_a_batch_that_cannot_be_read_is_refused(inputs, error, said):
    with pytest.raises(error, match=re.escape(said)):
        build().loss(*inputs)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"vocab_size": 0}, ValueError, "vocab_size is 0; expected a positive int"),
        ({"max_source_len": 1.0}, TypeError, "max_source_len is 1.0; expected a positive int"),
        ({"d_ff": 0}, ValueError, "d_ff is 0; expected a positive int"),
        ({"dropout": 1.0}, ValueError, "dropout is 1.0"),
        ({"activation": "selu"}, ValueError, "activation is 'selu'"),
        ({"checkpoint": 1}, TypeError, "checkpoint is 1; expected True or False"),
        ({"d_model": 9, "num_heads": 3}, ValueError, "d_model is 9; expected an even number"),
        ({"d_model": 6, "num_heads": 4}, ValueError, "d_model"),
    ],
)
def test_a_configuration_that_cannot_be_built(options, error, said):
    with pytest.raises(error, match=f"CTCConfig: {said}"):
        CTCConfig(**SIZES | options)
