"""Checkpoints that lie, or are of something else: refused, and nothing is changed."""

import re
import tracemalloc

import numpy as np
import pytest
from training.files import W1, at, npy, put, refused, rewritten, trainer
from training.small_model import Inseparable, batch, everything

from npformer.core import CheckpointError
from npformer.training import SGD, Adam, AdamW, Trainer, load_model


@pytest.mark.parametrize(
    ("change", "said", "model"),
    [
        (at("format", value="gguf"), "its format is 'gguf'; expected 'npformer checkpoint'", True),
        (at("format", delete=True), "its format is None", True),
        (
            at("version", value=2),
            "version is 2 and this npformer .* reads version 1; use the",
            True,
        ),
        (at("metadata", value=[]), r"its header has \[\] for 'metadata'; expected a dict", True),
        (at("model", value=3), "its header has 3 for 'model'; expected a dict", True),
        (at("model", "class", value="GPT"), "GPT", True),
        (at("model", "class", value="os.system"), "os.system", True),
        (at("model", "class", value=["GPT"]), r"\['GPT'\]", True),
        (at("model", "config", value=None), "config", True),
        (at("model", "config", value=[1]), "config", True),
        (
            at("model", "config", "d_hidden", value=9),
            "d_hidden is 9 in the file and 8 here|(9, 4)",
            True,
        ),
        (at("model", "config", "d_hidden", delete=True), "d_hidden", True),
        (at("model", "config", "extra", value=1), "extra", True),
        (at("model", "config", "d_hidden", value="8"), "d_hidden is '8'", True),
        (at("model", "config", "d_hidden", value=8.5), "d_hidden is 8.5", True),
        (at("model", "config", "dropout", value=None), "dropout is None", True),
        (at("model", "parameters", value=["w1"]), r"lacks \['b1', 'w2'\]", True),
        (at("model", "parameters", value=["w1", "b1", "w2", "w3"]), r"has also \[\"'w3'\"\]", True),
        (at("model", "parameters", value=["w1", "b1", "w2", 3]), "are not the same", True),
        (at("optimizer", "class", value="SGD"), "by 'SGD' and the trainer has AdamW; make", False),
        (at("optimizer", "steps", value=-1), "-1 for 'steps'; expected an int >= 0", False),
        (at("optimizer", "steps", value=True), "True for 'steps'", False),
        (
            at("optimizer", "slots", value=["m"]),
            r"arrays are \['m'\]; expected \['m', 'v'\]",
            False,
        ),
        (at("optimizer", "parameters", value=["w1"]), "the optimizer's parameters are not", False),
        (at("optimizer", "decayed", value=["w9"]), r"'decayed' lists \['w9'\]", False),
        (at("optimizer", "decayed", value=["w1", "w1"]), "'decayed' lists", False),
        (at("optimizer", "decayed", value=[["w1"]]), "'decayed' lists", False),
        (at("optimizer", "hyperparameters", "lr", value=-1), "lr is -1.0; expected 0 <= lr", False),
        (at("optimizer", "hyperparameters", "eps", value=0), "eps is 0.0", False),
        (at("optimizer", "hyperparameters", "betas", value=[0.9]), "expected two numbers", False),
        (at("optimizer", "hyperparameters", "lr", delete=True), "hyperparameters are", False),
        (at("optimizer", "hyperparameters", "decay", value=1), "hyperparameters are", False),
        (at("generator", value=None), "None for 'generator'", False),
        (
            at("generator", "bit_generator", value="MT19937"),
            "'MT19937' and the trainer's is",
            False,
        ),
        (
            at("generator", "state", value={}),
            "the state of its generator has {} for 'state'",
            False,
        ),
        (at("generator", "state", "state", value=-1), "not one that PCG64 can have", False),
        (at("generator", "state", "state", value=2**130), "not one that PCG64 can have", False),
        (at("generator", "state", "inc", value=1.5), "has 1.5 for 'inc'", False),
        (at("generator", "uinteger", value=2**40), "for 'uinteger'", False),
        (at("steps", value=1.0), "1.0 for 'steps'", False),
        (at("workers", value="all"), "'all' for 'workers'; expected an int >= 1", False),
        (at("workers", value=None), "None for 'workers'; expected an int >= 1", False),
        (at("workers", value=["auto"]), "for 'workers'; expected an int >= 1", False),
        (at("threads", value=0), "0 for 'threads'; expected an int >= 1", False),
        (at("threads", value=True), "True for 'threads'; expected an int >= 1", False),
        (at("threads", value="auto"), "'auto' for 'threads'; expected an int >= 1", False),
        (at("accumulate", value=0), "0 for 'accumulate'", False),
        (at("clip_norm", value=-1), "clip_norm is -1.0", False),
        (at("clip_norm", value="x"), "clip_norm is 'x'", False),
    ],
)
def test_headers_that_lie_are_refused(path, whole, receiver, change, said, model):
    path.write_bytes(rewritten(whole, header=change))
    refused(path, receiver, said, model)


@pytest.mark.parametrize("pos", [625, 10**9, -1])
def test_a_generator_state_that_would_read_beyond_memory_is_refused(path, pos):
    def mersenne(seed):
        return trainer(seed, rng=np.random.Generator(np.random.MT19937(seed)))

    mersenne(0).save(path)
    path.write_bytes(
        rewritten(path.read_bytes(), header=at("generator", "state", "pos", value=pos))
    )
    t = mersenne(1)
    refused(
        path, (t, everything(t)), f"the state of its generator has {pos} for 'pos'", model=False
    )


def test_a_configuration_that_wants_more_than_the_file_holds_takes_no_memory(path, tmp_path):
    from npformer.models import GPT, GPTConfig

    config = GPTConfig(vocab_size=5, max_len=4, d_model=4, num_heads=2, num_layers=1)
    model = GPT(config, rng=np.random.default_rng(0))
    Trainer(model, SGD(model.parameters())).save(path)
    data = path.read_bytes()
    for field in ("vocab_size", "max_len", "num_layers", "d_ff", "d_model"):
        path.write_bytes(rewritten(data, header=at("model", "config", field, value=10**10)))
        tracemalloc.start()
        try:
            with pytest.raises(CheckpointError, match="more elements are asked for than there are"):
                load_model(path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 3_000_000
    for field, value, said in [
        ("num_heads", 3, "heads"),
        ("norm", "batch", "norm is 'batch'"),
        ("tie_embeddings", 1, "tie_embeddings is 1; expected bool"),
        ("d_ff", "x", "d_ff is 'x'; expected int | None"),
    ]:
        path.write_bytes(rewritten(data, header=at("model", "config", field, value=value)))
        with pytest.raises(CheckpointError, match=re.escape(said)):
            load_model(path)


@pytest.mark.parametrize(
    ("dtype", "said"), [("float16", "dtype is 'float16'; expected float32"), ("float64", "float32")]
)
def test_a_dtype_that_is_not_that_of_the_arrays_is_refused(path, whole, dtype, said):
    path.write_bytes(rewritten(whole, header=at("model", "dtype", value=dtype)))
    with pytest.raises(CheckpointError, match=said):
        load_model(path)


def test_a_list_of_frozen_parameters_that_lies_is_refused(path, whole):
    path.write_bytes(rewritten(whole, header=at("model", "frozen", value=["w7"])))
    with pytest.raises(CheckpointError, match=r"'frozen' lists \['w7'\]; expected names of"):
        load_model(path)


def drop(name):
    return lambda found: found.pop(name)


@pytest.mark.parametrize(
    ("change", "said", "model"),
    [
        (drop(W1), "model/w1 is missing|more elements", True),
        (
            put(W1, npy((4, 8), data=bytes(128))),
            r"w1 is float32 \(4, 8\), expected .* \(8, 4\)",
            True,
        ),
        (put(W1, npy((8, 4), "<f8", bytes(256))), "w1 is float64 .* expected float32", True),
        (put("model/more.npy", npy((1,), data=bytes(4))), "it holds 10 arrays; expected 9", False),
        (drop("optimizer/m/w1.npy"), "optimizer/m/w1 is missing", False),
        (put("optimizer/v/b1.npy", npy((7,), data=bytes(28))), r"expected float32 \(8,\)", False),
        (put("optimizer/v/b1.npy", npy((8,), "<f8", bytes(64))), "expected float32", False),
    ],
)
def test_arrays_that_do_not_fit_are_refused(path, whole, receiver, change, said, model):
    path.write_bytes(rewritten(whole, change))
    refused(path, receiver, said, model)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"d_hidden": 9}, "d_hidden is 8 in the file and 9 here; build the model with the file's"),
        ({"dropout": 0.5}, "dropout is 0.25 in the file and 0.5 here"),
        ({"dtype": np.float64}, r"model/w1 is float32 \(8, 4\), expected float64 \(8, 4\)"),
        ({"model": Inseparable}, "it holds a 'Small' and the trainer's model is a Inseparable"),
        ({"optimizer": Adam}, "it was trained by 'AdamW' and the trainer has Adam; make the opt"),
        ({"optimizer": SGD}, "it was trained by 'AdamW' and the trainer has SGD"),
        (
            {"optimizer": lambda p, lr: AdamW(p[:2], lr)},
            r"optimizer's parameters are not the same: the file lacks \[\] and has also \[\"'w2'\"",
        ),
        (
            {"rng": np.random.Generator(np.random.SFC64(0))},
            "generator is 'PCG64' and the trainer's",
        ),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(path, whole, options, said):
    path.write_bytes(whole)
    t = trainer(1, **options)
    t.step(*batch(dtype=t.model.w1.value.dtype))
    refused(path, (t, everything(t)), said, model=False)


def test_a_model_that_is_not_public_is_loaded_by_a_trainer_alone(path):
    t = trainer(model=Inseparable)
    t.save(path)
    trainer(1, model=Inseparable).load(path)
    with pytest.raises(
        CheckpointError, match=r"is 'Inseparable'; expected a model of npformer.mod"
    ):
        load_model(path)
