"""Folders of Hugging Face's: what transformers computes is computed here, gradients included."""

import numpy as np
import pytest
import torch
import transformers
from interop.hugging_face import (
    BASE,
    CASES,
    CHANGES,
    WITH_LOSS,
    batch,
    config_of,
    gradients,
    run,
    run_ours,
    saved,
    theirs,
    weights_of,
    worst,
    worst_gradient,
)
from safetensors import safe_open
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch

from npformer.models import BERT, GPT, Model

every_case = pytest.mark.parametrize("case", CASES)


def ours(case, folder, **changes):
    return (BERT if case.startswith("bert") else GPT).from_pretrained(folder, **CHANGES | changes)


def real(case, array):
    """Of a decoder, what stands at real tokens: what padding sees differs, and counts nowhere."""
    return np.asarray(array)[batch(case)[2]]


@every_case
def test_outputs_are_theirs(case, tmp_path):
    model = theirs(case)
    with torch.no_grad():
        want = run(model, case)
    got = run_ours(ours(case, saved(model, tmp_path)), case)
    if case == "gpt2, base":  # ours has the head that its table makes
        want = want @ model.wte.weight.detach().T
    assert worst(real(case, got), real(case, want)) < 2e-4


@pytest.mark.parametrize("case", WITH_LOSS)
def test_loss_and_every_gradient_are_theirs(case, tmp_path):
    model = theirs(case)
    mine = ours(case, saved(model, tmp_path / "weights"))
    ids, targets, mask, types = batch(case)
    logits = run(model, case)
    want = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten())
    want.backward()
    loss, undo = mine.loss(ids, targets, mask, *([] if types is None else [types]))
    mine.loss_backward(undo)
    assert abs(loss - want.item()) < 1e-4 * abs(want.item())
    got = {name: parameter.grad for name, parameter in mine.named_parameters()}
    error, name = worst_gradient(got, gradients(model, type(mine), tmp_path / "gradients"))
    assert error < 1e-3, name


@pytest.mark.parametrize("case", BASE)
def test_gradients_of_a_base_model_are_theirs(case, tmp_path):
    model = theirs(case)
    mine = ours(case, saved(model, tmp_path / "weights"))
    ids, _, mask, types = batch(case)
    output = run(model, case)
    if case == "gpt2, base":
        output = output @ model.wte.weight.T
    dy = np.random.default_rng(1).standard_normal(output.shape).astype(np.float32)
    dy[~mask] = 0
    output.backward(torch.tensor(dy))
    _, undo = mine.forward(ids, mask) if types is None else mine.forward(ids, types, mask)
    mine.backward(dy, undo)
    got = {name: parameter.grad for name, parameter in mine.named_parameters()}
    error, name = worst_gradient(got, gradients(model, type(mine), tmp_path / "gradients"))
    assert error < 1e-3, name


@pytest.mark.parametrize("case", ["bert, base", "bert, both heads"])
def test_the_pooler_and_its_gradient_are_theirs(case, tmp_path):
    model = theirs(case)
    mine = ours(case, saved(model, tmp_path))
    ids, _, mask, types = batch(case)
    base = getattr(model, "bert", model)
    answer = base(torch.tensor(ids), torch.tensor(mask).long(), torch.tensor(types))
    hidden, undo = mine.forward(ids, types, mask)
    assert worst(mine.pooled(hidden), answer.pooler_output.detach()) < 2e-4
    dy = np.random.default_rng(1).standard_normal((3, 16)).astype(np.float32)
    answer.pooler_output.backward(torch.tensor(dy))
    _, undo_pooler = mine.pooler.forward(hidden)
    mine.backward(mine.pooler.backward(dy, undo_pooler), undo)
    table = base.embeddings.word_embeddings.weight.grad
    assert worst(mine.inputs.token.weight.grad, table) < 1e-3
    assert worst(mine.pooler.dense.weight.grad, base.pooler.dense.weight.grad) < 1e-3


NOT_HERE = {  # a head of another task, and a bias that an untied head does not use
    "bert, both heads": {"cls.seq_relationship.weight", "cls.seq_relationship.bias"},
    "bert, untied": {"cls.predictions.bias"},
}


@every_case
@pytest.mark.parametrize("shards", [False, True])
def test_what_is_saved_here_is_what_was_loaded_and_they_can_load_it(case, shards, tmp_path):
    model = theirs(case)
    there = saved(model, tmp_path / "theirs")
    mine = ours(case, there)
    size = {"shard_bytes": 8000} if shards else {}
    mine.save_pretrained(tmp_path / "ours", **size)
    assert (tmp_path / "ours/model.safetensors").exists() != shards
    kind = getattr(transformers, CASES[case][0])
    if case == "gpt2, base":  # which has become one with a head
        kind = transformers.GPT2LMHeadModel
    again, told = kind.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert set(told["missing_keys"]) == NOT_HERE.get(case, set())
    assert not told["unexpected_keys"]
    with torch.no_grad():
        got, want = run(again, case), run(model, case)
    want = want @ model.wte.weight.T if case == "gpt2, base" else want
    assert worst(got.numpy(), want.detach().numpy()) < 1e-5
    twice = ours(case, tmp_path / "ours")
    for name, value in mine.state_dict().items():
        np.testing.assert_array_equal(twice.state_dict()[name], value)
    assert twice.config == mine.config


def test_the_class_is_that_of_the_folder(tmp_path):
    for case, kind in (("gpt2", GPT), ("llama", GPT), ("bert", BERT)):
        folder = saved(theirs(case), tmp_path / case)
        assert type(Model.from_pretrained(folder, dropout=0.0)) is kind


def test_a_class_of_one_s_own_stays_it(tmp_path):
    class Mine(GPT):
        pass

    assert type(Mine.from_pretrained(saved(theirs("llama"), tmp_path))) is Mine


def test_the_folder_s_dropout_is_kept_where_it_is_one(tmp_path):
    folder = saved(theirs("gpt2", resid_pdrop=0.3, embd_pdrop=0.3, attn_pdrop=0.3), tmp_path)
    assert GPT.from_pretrained(folder).config.dropout == 0.3
    assert GPT.from_pretrained(folder, dropout=0.0, checkpoint=True).config.checkpoint


@every_case
def test_many_files_and_an_index(case, tmp_path):
    folder = saved(theirs(case), tmp_path / "many", max_shard_size="8KB")
    assert (folder / "model.safetensors.index.json").exists()
    one = ours(case, saved(theirs(case), tmp_path / "one")).state_dict()
    for name, value in ours(case, folder).state_dict().items():
        np.testing.assert_array_equal(value, one[name])


def test_one_file_takes_the_place_of_many(tmp_path):
    model = ours("llama", saved(theirs("llama"), tmp_path))
    model.save_pretrained(tmp_path, shard_bytes=4000)
    model.save_pretrained(tmp_path)
    names = {file.name for file in tmp_path.glob("model*")}
    assert names == {"model.safetensors"}


@pytest.mark.parametrize(("dtype", "kind"), [(torch.bfloat16, "BF16"), (torch.float16, "F16")])
@pytest.mark.parametrize("options", [{}, {"max_shard_size": "4KB"}])
def test_half_precision_becomes_float32_and_it_is_said(dtype, kind, options, tmp_path):
    model = theirs("llama").to(dtype)
    folder = saved(model, tmp_path, **options)
    count = len(list(model.parameters()))
    with pytest.warns(UserWarning, match=f"{count} as {kind} of {count} tensors.*float32"):
        mine = GPT.from_pretrained(folder)
    got = mine.inputs.token.weight.value
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, model.model.embed_tokens.weight.detach().float().numpy())
    with torch.no_grad():
        want = run(model.float(), "llama")
    assert worst(real("llama", run_ours(mine, "llama")), real("llama", want)) < 2e-4


def test_float64_is_read_as_float64_alone(tmp_path):
    model = theirs("gpt2").double()
    folder = saved(model, tmp_path)
    with pytest.raises(ValueError, match=r"16|28.*stored as F64.*dtype=np.float64"):
        GPT.from_pretrained(folder, **CHANGES)
    mine = GPT.from_pretrained(folder, dtype=np.float64, **CHANGES)
    with torch.no_grad():
        want = run(model, "gpt2")
    assert worst(real("gpt2", run_ours(mine, "gpt2")), real("gpt2", want)) < 1e-12
    mine.save_pretrained(tmp_path / "again")
    with safe_open(tmp_path / "again/model.safetensors", "np") as file:
        assert file.get_slice("transformer.wte.weight").get_dtype() == "F64"


@pytest.mark.parametrize("case", ["gpt2", "llama", "bert"])
def test_float32_can_be_read_as_float64(case, tmp_path):
    folder = saved(theirs(case), tmp_path)
    with pytest.warns(UserWarning, match="as F32 .* float64"):
        double = ours(case, folder, dtype=np.float64)
    single = ours(case, folder)
    assert double.parameters()[0].value.dtype == np.float64
    assert worst(run_ours(double, case), run_ours(single, case)) < 1e-5


@pytest.mark.parametrize(
    ("case", "prefix"), [("gpt2", "transformer."), ("llama", "model."), ("bert", "bert.")]
)
def test_with_a_head_the_prefix_may_be_missing_and_without_it_may_be_there(case, prefix, tmp_path):
    folder = saved(theirs(case), tmp_path / "head")
    want = run_ours(ours(case, folder), case)
    with weights_of(folder) as tensors:
        for name in list(tensors):
            tensors[name.removeprefix(prefix)] = tensors.pop(name)
    np.testing.assert_array_equal(run_ours(ours(case, folder), case), want)
    base = saved(theirs(f"{case}, base"), tmp_path / "base")
    want = run_ours(ours(case, base), case)
    with weights_of(base) as tensors:
        for name in list(tensors):
            tensors[prefix + name] = tensors.pop(name)
    np.testing.assert_array_equal(run_ours(ours(case, base), case), want)


USELESS = {
    "gpt2": {
        "h.0.attn.bias": np.ones((1, 1, 9, 9), np.uint8),
        "transformer.h.1.attn.masked_bias": np.float32([-1e4]),
        "lm_head.weight": "transformer.wte.weight",
    },
    "llama": {"model.layers.1.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32)},
    "llama, grouped and tied": {"lm_head.weight": "model.embed_tokens.weight"},
    "bert": {
        "bert.embeddings.position_ids": np.arange(9)[None],
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
        "cls.seq_relationship.weight": np.ones((2, 16), np.float32),
        "cls.seq_relationship.bias": np.ones(2, np.float32),
    },
}


@pytest.mark.parametrize("case", USELESS)
def test_what_is_of_no_use_and_what_is_there_twice_is_passed_over(case, tmp_path):
    folder = saved(theirs(case), tmp_path)
    want = run_ours(ours(case, folder), case)
    with weights_of(folder) as tensors:
        for name, tensor in USELESS[case].items():
            tensors[name] = tensors[tensor].copy() if isinstance(tensor, str) else tensor
    np.testing.assert_array_equal(run_ours(ours(case, folder), case), want)


def test_old_names_of_layer_norm_and_of_the_decoder_s_bias(tmp_path):
    folder = saved(theirs("bert"), tmp_path)
    want = run_ours(ours("bert", folder), "bert")
    with weights_of(folder) as tensors:
        for name in list(tensors):
            new = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            new = new.replace("LayerNorm.bias", "LayerNorm.beta")
            new = new.replace("predictions.bias", "predictions.decoder.bias")
            tensors[new] = tensors.pop(name)
    np.testing.assert_array_equal(run_ours(ours("bert", folder), "bert"), want)


def test_the_rotary_base_of_older_folders(tmp_path):
    folder = saved(theirs("llama, biases"), tmp_path)
    want = run_ours(ours("llama", folder), "llama")
    with config_of(folder) as config:
        config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
        config["rope_scaling"] = None
        del config["head_dim"]
    np.testing.assert_array_equal(run_ours(ours("llama", folder), "llama"), want)


def test_interleaved_pairs_are_the_same_model_with_its_rows_in_another_order(tmp_path):
    folder = saved(theirs("llama, biases"), tmp_path / "a")
    halves = ours("llama", folder)
    pairs = ours("llama", folder, rotary_interleaved=True)
    weight = "decoder.layers.0.self_attention.q_proj.weight"
    assert not np.array_equal(pairs.state_dict()[weight], halves.state_dict()[weight])
    assert worst(run_ours(pairs, "llama"), run_ours(halves, "llama")) < 1e-5
    pairs.save_pretrained(tmp_path / "b")
    for name, value in ours("llama", tmp_path / "b").state_dict().items():
        np.testing.assert_array_equal(value, halves.state_dict()[name])


def test_bfloat16_beside_other_types_in_one_file(tmp_path):
    """Each tensor is read from its own place."""
    folder = saved(theirs("gpt2"), tmp_path)
    path = folder / "model.safetensors"
    tensors = load_torch(path)
    for number, name in enumerate(sorted(tensors)):
        tensors[name] = tensors[name].to((torch.bfloat16, torch.float16, torch.float32)[number % 3])
    save_torch(tensors, path)
    with pytest.warns(UserWarning, match="become float32"):
        mine = GPT.from_pretrained(folder, **CHANGES)
    mine.save_pretrained(tmp_path / "again")
    for name, value in load_torch(tmp_path / "again/model.safetensors").items():
        np.testing.assert_array_equal(value.numpy(), tensors[name].float().numpy(), name)
