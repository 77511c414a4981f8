"""Folders that cannot be loaded: what was found, what was expected, and the remedy are said."""

import json
import re
import sys

import numpy as np
import pytest
import torch
from interop.hugging_face import CHANGES, config_of, saved, theirs, weights_of
from safetensors.torch import load_file, save_file

from npformer.core.errors import CheckpointError, MissingExtraError
from npformer.formats import open_safetensors
from npformer.hub import LanguageModel
from npformer.layers import Linear
from npformer.models import BERT, GPT, GPTConfig, Model, Transformer

LLAMA_Q = "model.layers.0.self_attn.q_proj.weight"


def refused(folder, said, kind=Model, error=CheckpointError, **changes):
    with pytest.raises(error, match=f"(?s){said}"):
        kind.from_pretrained(folder, **CHANGES | changes)


def test_a_folder_that_is_not_there(tmp_path):
    """Such as a model's name on the hub."""
    said = "no folder openai-community/gpt2; expected one with config.json.*hf download"
    refused("openai-community/gpt2", said, error=FileNotFoundError)
    refused(tmp_path, "has no config.json; it holds nothing; fetch", error=FileNotFoundError)


def test_a_folder_without_weights(tmp_path):
    folder = saved(theirs("gpt2"), tmp_path)
    (folder / "model.safetensors").unlink()
    said = "neither model.safetensors nor model.safetensors.index.json; it holds config.json"
    refused(folder, said, error=FileNotFoundError)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    said = "pytorch_model.bin is not read here, since unpickling can run code: load it with trans"
    refused(folder, said, error=FileNotFoundError)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "config.json is no JSON: .*; fetch it again"),
        ("[" * 100_000, "config.json is no JSON"),
        ("[1]", "config.json holds a JSON list; expected an object"),
        ("{}", "has the model_type None; expected one that can be read: gpt2, llama, bert"),
        ('{"model_type": ["gpt2"]}', r"has the model_type \['gpt2'\]; expected one"),
        ('{"model_type": "t5"}', "has the model_type 't5'; expected one"),
    ],
)
def test_a_configuration_that_is_none(text, said, tmp_path):
    folder = saved(theirs("gpt2"), tmp_path)
    (folder / "config.json").write_text(text)
    refused(folder, said)


def test_another_architecture(tmp_path):
    folder = saved(theirs("bert"), tmp_path)
    refused(folder, "describes a 'bert', which is a BERT, not a GPT; load it with BERT.from", GPT)
    refused(saved(theirs("llama"), tmp_path / "llama"), "'llama', which is a GPT, not a BERT", BERT)
    refused(folder, "not a Transformer", Transformer)


def test_of_the_tensors_all_that_is_wrong_is_said_at_once(tmp_path):
    folder = saved(theirs("llama"), tmp_path)
    with weights_of(folder) as tensors:
        del tensors["model.layers.1.mlp.up_proj.weight"]
        tensors[LLAMA_Q] = np.ones((16, 15), np.float32)
        tensors["model.norm.weight"] = np.ones(16, np.int64)
        tensors["score.weight"] = np.ones((2, 16), np.float32)
    refused(
        folder,
        "do not fit the GPT that it describes: 1 are missing, 2 of another shape or type, 1 not "
        "known. If the folder holds a head for another task.*"
        r"missing: model.layers.1.mlp.up_proj.weight \(20, 16\), for "
        r"decoder.layers.1.feed_forward.up.weight.*"
        rf"wrong shape: {LLAMA_Q} is \(16, 15\), expected \(16, 16\).*"
        r"wrong type: model.norm.weight is I64, expected floats.*"
        r"not known: score.weight \(2, 16\)",
    )


def test_of_many_tensors_some_are_named(tmp_path):
    folder = saved(theirs("llama"), tmp_path)
    with config_of(folder) as config:
        config["num_hidden_layers"] = 4
    refused(folder, r"18 are missing.*missing: model.layers.2.*and 6 more$")


@pytest.mark.parametrize(
    ("case", "option", "said"),
    [
        ("gpt2", {"n_embd": 32}, r"transformer.wte.weight is \(23, 16\), expected \(23, 32\)"),
        ("gpt2", {"n_layer": 1}, r"12 not known.*transformer.h.1.attn.c_attn.bias \(48,\)"),
        ("llama", {"num_key_value_heads": 2}, r"k_proj.weight is \(16, 16\), expected \(8, 16\)"),
        ("llama", {"attention_bias": True, "mlp_bias": True}, "14 are missing.*q_proj.bias"),
        ("bert", {"vocab_size": 24}, r"cls.predictions.bias is \(23,\), expected \(24,\)"),
        (
            "bert",
            {"num_hidden_layers": 10**9},
            "far larger than its tensors, which have .* numbers",
        ),
        ("bert", {"vocab_size": 10**12}, "far larger than its tensors"),
    ],
)
def test_sizes_that_are_not_those_of_the_tensors(case, option, said, tmp_path):
    folder = saved(theirs(case), tmp_path)
    with config_of(folder) as config:
        config.update(option)
    refused(folder, said)


@pytest.mark.parametrize(
    ("case", "option", "said"),
    [
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "'scale_attn_by_inverse_layer_idx' is"),
        ("gpt2", {"scale_attn_weights": False}, "is False, with which the model would compute"),
        ("gpt2", {"add_cross_attention": True}, "'add_cross_attention' is True"),
        ("gpt2", {"activation_function": "tanh"}, "is 'tanh'; expected one of gelu, gelu_new"),
        ("gpt2", {"n_embd": None}, "it has no 'n_embd'; expected an int"),
        ("gpt2", {"n_embd": 16.0}, "its 'n_embd' is 16.0; expected an int"),
        ("gpt2", {"n_embd": True}, "its 'n_embd' is True; expected an int"),
        ("gpt2", {"n_head": 3}, "d_model 16 is not divisible by num_heads 3"),
        ("gpt2", {"n_head": 0}, "num_heads is 0; expected a positive int"),
        ("gpt2", {"layer_norm_epsilon": "small"}, "is 'small'; expected a number"),
        ("gpt2", {"new_idea": 3}, "options that are not known here.*'new_idea': 3.*take them out"),
        ("gpt2", {"quantization_config": {"bits": 4}}, "not known here.*quantization_config"),
        ("llama", {"head_dim": 8}, "'head_dim' is 8, with which .* expected 4 or None"),
        ("llama", {"num_attention_heads": 0, "head_dim": None}, "num_heads is 0"),
        ("llama", {"hidden_act": "gelu"}, "'hidden_act' is 'gelu'"),
        ("llama", {"mlp_bias": True}, "'mlp_bias' is True, with which .* expected False"),
        ("llama", {"attention_dropout": 0.1}, "'attention_dropout' is 0.1, of attention weights"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "'rope_scaling' is"),
        ("llama", {"rope_parameters": {"rope_type": "yarn"}}, "'rope_type' is 'yarn'"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "default", "factor": 2.0}},
            "not known here.*'factor': 2.0",
        ),
        ("llama", {"rope_parameters": 3}, "'rope_parameters' is 3; expected an object"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            "'partial_rotary_factor' is 0.5",
        ),
        ("bert", {"position_embedding_type": "relative_key"}, "is 'relative_key', with which"),
        ("bert", {"is_decoder": True}, "'is_decoder' is True"),
        ("bert", {"pruned_heads": {"0": [1]}}, "'pruned_heads' is"),
    ],
)
def test_an_option_that_would_change_the_numbers(case, option, said, tmp_path):
    folder = saved(theirs(case), tmp_path)
    with config_of(folder) as config:
        config.update(option)
    with pytest.raises(CheckpointError, match=f"(?s)config.json cannot be loaded: .*{said}"):
        Model.from_pretrained(folder, **({} if "attention_dropout" in option else CHANGES))


@pytest.mark.parametrize(
    ("case", "option"), [("gpt2", "embd_pdrop"), ("bert", "hidden_dropout_prob")]
)
def test_rates_of_dropout_that_differ_are_to_be_chosen(case, option, tmp_path):
    folder = saved(theirs(case, **{option: 0.4}), tmp_path)
    with pytest.raises(CheckpointError, match=r"its rates of dropout are .*0.4.*dropout=\.\.\."):
        Model.from_pretrained(folder)
    assert Model.from_pretrained(folder, dropout=0.2).config.dropout == 0.2


def test_changes_are_fields_of_the_configuration(tmp_path):
    folder = saved(theirs("gpt2"), tmp_path)
    refused(folder, "from_pretrained: .*'drop_out'", error=TypeError, drop_out=0.1)
    refused(folder, "dropout is 2.0; expected 0 <= dropout < 1", dropout=2.0)
    refused(folder, "dtype is float16; expected float32 or float64", error=TypeError, dtype="f2")


def test_two_tables_where_one_is_said(tmp_path):
    folder = saved(theirs("llama"), tmp_path)
    with config_of(folder) as config:
        config["tie_word_embeddings"] = True
    said = "model.embed_tokens.weight and lm_head.weight are the same, but .* differ; perhaps"
    refused(folder, said)


@pytest.mark.parametrize("left", [0, 4, 8, 100, 2000, -1])
def test_a_file_that_is_cut_off(left, tmp_path):
    folder = saved(theirs("bert"), tmp_path)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    refused(folder, r"model.safetensors \(\d+ bytes\) is no whole safetensors file: .*fetch it ag")


def test_a_file_that_is_none(tmp_path):
    folder = saved(theirs("bert"), tmp_path)
    (folder / "model.safetensors").write_bytes(b"<html>not found</html>")
    refused(folder, "is no whole safetensors file")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        open_safetensors(tmp_path / "other.safetensors")


def sharded(tmp_path):
    folder = saved(theirs("llama"), tmp_path, max_shard_size="8KB")
    path = folder / "model.safetensors.index.json"
    return folder, path, json.loads(path.read_text())


def test_a_shard_that_is_not_there(tmp_path):
    folder, _, index = sharded(tmp_path)
    shards = sorted(set(index["weight_map"].values()))
    (folder / shards[1]).unlink()
    said = f"lacks {shards[1]} of the {len(shards)} files that its .*; fetch the folder again"
    refused(folder, said, error=FileNotFoundError)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "..", "", "a/b"])
def test_an_index_that_leads_out_of_its_folder(name, tmp_path):
    folder, path, index = sharded(tmp_path)
    index["weight_map"][LLAMA_Q] = name
    path.write_text(json.dumps(index))
    refused(folder, rf"index.json names the files \['{re.escape(name)}'\]; expected names of files")


def test_an_index_that_is_not_of_its_files(tmp_path):
    folder, path, index = sharded(tmp_path)
    del index["weight_map"][LLAMA_Q]
    path.write_text(json.dumps(index))
    refused(folder, f"disagree: the file lacks nothing and has also {LLAMA_Q}; fetch")
    path.write_text(json.dumps({"weight_map": {"a": 1}}))
    refused(folder, 'has no "weight_map" from names of tensors to names of files; fetch it again')


def test_numbers_of_eight_bits(tmp_path):
    """Which stand for others by a scale that is elsewhere."""
    folder = saved(theirs("llama"), tmp_path)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors[LLAMA_Q] = tensors[LLAMA_Q].to(torch.float8_e4m3fn)
    save_file(tensors, path)
    with pytest.warns(UserWarning, match="1 as F8_E4M3"):
        refused(folder, f"{LLAMA_Q} is stored as F8_E4M3, which is not read here; expected F32")


@pytest.mark.parametrize("package", ["safetensors", "gguf"])
def test_a_missing_package_names_the_extra(package, tmp_path, monkeypatch):
    folder = saved(theirs("gpt2"), tmp_path)
    (folder / "model.gguf").write_bytes(b"GGUF")
    for name in [n for n in sys.modules if n.partition(".")[0] == package] + [package]:
        monkeypatch.setitem(sys.modules, name, None)
    path = folder if package == "safetensors" else folder / "model.gguf"
    said = rf"{package} is needed to read.*: pip install 'npformer\[hub\]'"
    refused(path, said, error=MissingExtraError)
    if package == "safetensors":
        with pytest.raises(MissingExtraError, match=r"npformer\[hub\]"):
            GPT(GPTConfig(5, 4, 4, 2, 1)).save_pretrained(tmp_path / "new")


class Own(Model):
    """A model that is none of ours."""

    forward = backward = loss = loss_backward = loss_weight = None

    def __init__(self):
        self.linear = Linear(2, 2)


def test_a_model_that_no_architecture_of_theirs_can_be(tmp_path):
    sizes = {"vocab_size": 5, "max_len": 4, "d_model": 4, "num_heads": 2, "num_layers": 1}
    model = GPT(GPTConfig(**sizes, position="alibi", window=3))
    said = (
        "this GPT; keep it with Trainer.save.*gpt2: position is 'alibi', not 'learned', window is "
        "3, not None.*llama: norm is 'layer', not 'rms', activation is 'gelu', not 'swiglu'"
    )
    with pytest.raises(ValueError, match=f"(?s){said}"):
        model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match=r"(?s)this Own; .*it has no counterpart"):
        Own().save_pretrained(tmp_path / "new")
    with pytest.raises(ValueError, match="shard_bytes is 0; expected a positive int"):
        model.save_pretrained(tmp_path / "new", shard_bytes=0)


def test_what_was_there_stays_if_saving_fails(tmp_path, monkeypatch):
    model = GPT.from_pretrained(saved(theirs("gpt2"), tmp_path), **CHANGES)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    class Full(Exception):
        pass

    def fail(*_, **__):
        raise Full

    monkeypatch.setattr("safetensors.numpy.save_file", fail)
    with pytest.raises(Full):
        model.save_pretrained(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("case", "lost", "said"),
    [
        ("llama", "lm_head.", "lm_head.weight"),
        ("gpt2, untied", "lm_head.", "lm_head.weight"),
        ("bert", "cls.", "cls.predictions.transform.dense.weight"),
    ],
)
def test_a_head_that_the_class_has_and_the_tensors_lack(case, lost, said, tmp_path):
    folder = saved(theirs(case), tmp_path)
    with weights_of(folder) as tensors:
        for name in [name for name in tensors if name.startswith(lost)]:
            del tensors[name]
    with pytest.raises(CheckpointError, match=said):
        Model.from_pretrained(folder)
    base = Model.from_pretrained(folder, head=False)  # as who wants the base model says
    assert base.head is None


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_not_finite(number, tmp_path):
    folder = saved(theirs("llama"), tmp_path)
    with weights_of(folder) as tensors:
        tensors[LLAMA_Q] = tensors[LLAMA_Q].copy()
        tensors[LLAMA_Q][0, 3] = number
    refused(folder, f"{LLAMA_Q}, beside .*config.json, holds NaN or infinite numbers")


def test_what_is_no_gpt_is_told_before_a_tokenizer_is_missed(tmp_path):
    folder = saved(theirs("bert"), tmp_path)
    with pytest.raises(CheckpointError, match="describes a 'bert', which is a BERT, not a GPT"):
        LanguageModel.open(folder)
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer\.json"):
        LanguageModel.open(saved(theirs("llama"), tmp_path / "llama"))
