"""Checkpoints: a resumed run is the same to the bit; a failed save leaves the old file."""

import json
import os
import zipfile

import numpy as np
import pytest
from training.files import rewritten
from training.small_model import SmallConfig, batch, everything, small

from npformer.models import GPT, GPTConfig
from npformer.training import SGD, AdamW, Lion, Trainer, load_model, schedules

OPTIMIZERS = {
    "sgd": lambda p: SGD(p, 0.05),
    "momentum": lambda p: SGD(p, 0.05, 0.9, nesterov=True),
    "adamw": lambda p: AdamW(p, 0.02, weight_decay=0.3),
    "adamw on all": lambda p: AdamW(p, 0.02, weight_decay=0.3, decay=lambda parameter: True),
    "lion": lambda p: Lion(p, 0.02, weight_decay=0.1),
}


def trainer(make=OPTIMIZERS["adamw"], seed=0, model=None, rng=None, **options):
    model = small(seed) if model is None else model
    return Trainer(
        model, make(model.parameters()), rng=rng or np.random.default_rng(seed), **options
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("options", [{}, {"accumulate": 2, "workers": 2, "clip_norm": 0.5}])
def test_a_resumed_run_is_the_same_to_the_bit_with_dropout_on(tmp_path, name, options):
    options["schedule"] = schedules.warmup_cosine(0.05, 3, 9)
    straight = trainer(OPTIMIZERS[name], **options)
    for step in range(4):
        straight.step(*batch(step, 11, counted=9))
    path = tmp_path / "run.any-name"
    straight.save(path, note="half way")
    assert os.listdir(tmp_path) == ["run.any-name"]
    saved = everything(straight)
    resumed = trainer(OPTIMIZERS[name], seed=99, **options)
    arrays = [p.value for p in resumed.model.parameters()]
    assert resumed.load(path) == {"note": "half way"}
    assert everything(resumed) == saved
    assert all(p.value is a for p, a in zip(resumed.model.parameters(), arrays, strict=True))
    for step in range(4, 8):
        rows = batch(step, 11, counted=9)
        assert resumed.step(*rows) == straight.step(*rows)
    assert everything(resumed) == everything(straight)


@pytest.mark.parametrize(
    "kind",
    [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64],
)
def test_every_generator_of_numpy_is_kept(tmp_path, kind):
    straight = trainer(rng=np.random.Generator(kind(1)))
    straight.step(*batch())
    straight.rng.random(3, np.float32)  # leaves half a word in the buffer
    straight.save(tmp_path / "c")
    resumed = trainer(rng=np.random.Generator(kind(2)))
    resumed.load(tmp_path / "c")
    assert resumed.step(*batch()) == straight.step(*batch())
    assert resumed.rng.random() == straight.rng.random()


def test_settings_are_taken_from_the_file_and_may_be_changed_after(tmp_path):
    first = trainer(lambda p: AdamW(p, 0.02, (0.5, 0.6), 1e-4, 0.3), accumulate=3, clip_norm=2.0)
    first.step(*batch())
    first.save(tmp_path / "c")
    second = trainer(AdamW)
    second.load(tmp_path / "c")
    assert second.optimizer.hyperparameters() == first.optimizer.hyperparameters()
    assert second.optimizer.betas == (0.5, 0.6)
    assert (second.accumulate, second.clip_norm, second.workers) == (3, 2.0, "auto")
    second.optimizer.lr = 1e-5
    second.step(*batch())


@pytest.mark.parametrize("before", [0, 2])
def test_the_automatic_number_of_shards_is_resumed_to_the_bit(tmp_path, monkeypatch, before):
    monkeypatch.setattr("npformer.training.trainer._LEAST_WORK", 0)
    monkeypatch.setattr("npformer.training.trainer.can_spread", lambda: True)
    monkeypatch.setattr("npformer.training.trainer.num_threads", lambda: 3)
    straight, resumed = trainer(), trainer(seed=9, workers=1)
    for step in range(before):
        straight.step(*batch(step))
    straight.save(tmp_path / "c")
    resumed.load(tmp_path / "c")
    assert (resumed.workers, resumed.threads) == ("auto", 3 if before else None)
    if before:  # threads are of the first step, wherever the run goes on
        monkeypatch.setattr("npformer.training.trainer.num_threads", lambda: 2)
    for step in range(before, before + 3):
        assert resumed.step(*batch(step)) == straight.step(*batch(step))
    assert everything(resumed) == everything(straight)
    assert resumed.threads == 3


def test_a_file_from_before_threads_were_kept_is_read(path, whole):
    def old(header):
        header["workers"] = 2
        del header["threads"]

    path.write_bytes(rewritten(whole, header=old))
    t = trainer()
    t.load(path)
    assert (t.workers, t.threads) == (2, None)


def test_frozen_parameters_are_saved_and_stay_frozen(tmp_path):
    model = small()
    model.w1.trainable = False
    t = trainer(model=model)
    t.step(*batch())
    t.save(tmp_path / "c")
    other = small(5)
    other.w1.trainable = False
    resumed = trainer(model=other)
    resumed.load(tmp_path / "c")
    assert everything(resumed) == everything(t)
    loaded, _ = load_model(tmp_path / "c")
    assert [p.trainable for p in loaded.parameters()] == [False, True, True]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_load_model_builds_what_was_saved(tmp_path, dtype):
    t = trainer(model=small(3, dtype, d_hidden=5, dropout=0.5))
    t.step(*batch(dtype=dtype))
    t.save(tmp_path / "c", vocabulary=["a", "b"], best=np.float32(0.5), at=(1, np.int64(2)))
    model, metadata = load_model(str(tmp_path / "c"))
    assert metadata == {"vocabulary": ["a", "b"], "best": 0.5, "at": [1, 2]}
    assert type(model) is type(t.model)
    assert model.config == SmallConfig(d_hidden=5, dropout=0.5)
    for name, value in t.model.state_dict().items():
        assert model.state_dict()[name].dtype == dtype
        np.testing.assert_array_equal(model.state_dict()[name], value)
    x, _ = batch(dtype=dtype)
    np.testing.assert_array_equal(model(x), t.model(x))
    t.optimizer.step()  # the loaded model shares nothing
    assert not np.array_equal(model(x), t.model(x))


def gpt_trainer(seed, tie=True):
    config = GPTConfig(
        vocab_size=11,
        max_len=8,
        d_model=8,
        num_heads=2,
        num_layers=2,
        dropout=0.2,
        tie_embeddings=tie,
    )
    model = GPT(config, rng=np.random.default_rng(seed))
    optimizer = AdamW(model.parameters(), 3e-3)
    rng = np.random.default_rng(seed)
    return Trainer(model, optimizer, clip_norm=1.0, accumulate=2, workers=2, rng=rng)


@pytest.mark.parametrize("tie", [True, False])
def test_a_gpt_is_resumed_to_the_bit_and_built_from_its_file(tmp_path, tie):
    def rows(step):
        ids = np.random.default_rng(step).integers(0, 11, (6, 9))
        targets = ids[:, 1:].copy()
        targets[:3, 2:] = -100
        return ids[:, :-1], targets

    straight, resumed = gpt_trainer(0, tie), gpt_trainer(1, tie)
    for step in range(3):
        straight.step(*rows(step))
    straight.save(tmp_path / "gpt", characters="abc")
    resumed.load(tmp_path / "gpt")
    for step in range(3, 6):
        assert resumed.step(*rows(step)) == straight.step(*rows(step))
    assert everything(resumed) == everything(straight)
    straight.save(tmp_path / "gpt", characters="abc")
    model, metadata = load_model(tmp_path / "gpt")
    assert metadata == {"characters": "abc"}
    assert model.config == straight.model.config
    np.testing.assert_array_equal(model(rows(0)[0]), straight.model(rows(0)[0]))


def test_a_parameter_of_any_shape_and_layout_is_kept(tmp_path):
    model = small()
    model.w1.value = np.asfortranarray(model.w1.value)
    t = trainer(model=model)
    t.step(*batch())
    t.save(tmp_path / "c")
    other = trainer(seed=4)
    other.load(tmp_path / "c")
    np.testing.assert_array_equal(other.model.w1.value, model.w1.value)


def test_the_file_is_plain_arrays_and_json(tmp_path):
    t = trainer()
    t.step(*batch())
    t.save(tmp_path / "c", text="é\ud800")
    with np.load(tmp_path / "c", allow_pickle=False) as file:
        header = json.loads(file["header.json"])
        np.testing.assert_array_equal(file["model/w1"], t.model.w1.value)
        np.testing.assert_array_equal(file["optimizer/m/w2"], t.optimizer.state["m"][2])
        assert len(file.files) == 1 + 3 + 6
    assert header["model"]["class"] == "Small"
    assert header["model"]["config"]["d_hidden"] == 8
    assert header["optimizer"]["hyperparameters"]["betas"] == [0.9, 0.999]
    assert header["generator"] == t.rng.bit_generator.state
    assert header["metadata"] == {"text": "é\ud800"}
    t.save(tmp_path / "again", text="é\ud800")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("where", ["os.fsync", "os.replace", "numpy.lib.format.write_array"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_save_that_fails_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, where, error):
    t = trainer()
    t.save(tmp_path / "c", run=1)
    old = (tmp_path / "c").read_bytes()

    def fail(*args, **kwargs):
        raise error("no space left on device")

    t.step(*batch())
    with monkeypatch.context() as patch:
        patch.setattr(where, fail)
        with pytest.raises(error, match="no space"):
            t.save(tmp_path / "c", run=2)
    assert os.listdir(tmp_path) == ["c"]
    assert (tmp_path / "c").read_bytes() == old
    t.save(tmp_path / "c", run=3)
    assert trainer().load(tmp_path / "c") == {"run": 3}


def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "latest").symlink_to(tmp_path / "runs" / "one")
    trainer().save(tmp_path / "latest")
    assert (tmp_path / "latest").is_symlink()
    assert zipfile.is_zipfile(tmp_path / "runs" / "one")


def test_a_save_to_nowhere_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"folder .*none does not exist; create it first"):
        trainer().save(tmp_path / "none" / "c")
    with pytest.raises(IsADirectoryError, match="is a folder; give the name of a file"):
        trainer().save(tmp_path)
    with pytest.raises(FileNotFoundError):
        trainer().load(tmp_path / "none")


def nest(depth):
    return [nest(depth - 1)] if depth else []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({1, 2}, "metadata.x is a set, which a checkpoint's JSON cannot hold; expected None, bool"),
        (np.nan, "metadata.x is nan"),
        ([0, float("inf")], r"metadata.x\[1\] is inf"),
        ({"a": {1: 2}}, r"metadata.x.a has the key 1; JSON takes strings alone"),
        (np.ones(2), "metadata.x is a ndarray"),
        (10**60, "metadata.x is a int"),
        (nest(80), "metadata.x.* is a list"),
        ("long" * 3_000_000, "the header takes .* bytes, over 8388608; keep large metadata"),
    ],
)
def test_metadata_that_is_not_json_is_refused_and_nothing_is_written(tmp_path, value, said):
    with pytest.raises(ValueError, match=said):
        trainer().save(tmp_path / "c", x=value)
    assert os.listdir(tmp_path) == []


def test_metadata_comes_back_as_it_was(tmp_path):
    metadata = {
        "none": None, "yes": True, "int": -(10**38), "float": 0.1, "text": "ü", "nest": nest(40),
        "dict": {"": [1, {"a": []}]}, "format": "mine", "steps": 4, "model": "m",
    }  # fmt: skip
    trainer().save(tmp_path / "c", **metadata)
    assert trainer().load(tmp_path / "c") == metadata
