"""GGUF files: quantised tensors, rotary pairs side by side, and files that cannot be loaded."""

import gguf
import numpy as np
import pytest
import torch
from interop.hugging_face import run, run_ours, theirs, worst

from npformer.formats import open_gguf
from npformer.models import BERT, GPT

SIZES = {"hidden_size": 64, "intermediate_size": 96}  # blocks of quantised numbers have 32
PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def name_there(name):
    """transformers' name as GGUF's."""
    name = name.removeprefix("model.").removesuffix(".weight")
    if name.startswith("layers."):
        _, number, part = name.split(".", 2)
        return f"blk.{number}.{PARTS[part]}.weight"
    return {
        "embed_tokens": "token_embd.weight",
        "norm": "output_norm.weight",
        "lm_head": "output.weight",
    }[name]


def rows_there(name, weight, heads, back=False):
    """The order of the rows of q and k: of halves, and of pairs side by side."""
    count = heads.get(name.rpartition(".")[0].rpartition(".")[2])
    if count is None:
        return weight
    cut = (count, -1, 2) if back else (count, 2, -1)
    return weight.reshape(*cut, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def written(model, path, kind, *, without=(), extra=(), **metadata):
    """Write a model of transformers as GGUF; put what the file then holds back into the model."""
    config, quantised = model.config, getattr(gguf.GGMLQuantizationType, kind)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    writer = gguf.GGUFWriter(path, metadata.pop("architecture", "llama"))
    keys = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "rope.freq_base": config.rope_parameters["rope_theta"],
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "vocab_size": config.vocab_size,
        "rope.dimension_count": config.head_dim,
    } | metadata
    for key, value in keys.items():
        if value is not None:
            add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
            add[type(value)](f"llama.{key}", value)
    writer.add_token_list(["a", "b"])
    for name, parameter in model.state_dict().items():
        if name in without:
            continue
        weight = rows_there(name, parameter.numpy(), heads)
        if weight.ndim == 1:
            writer.add_tensor(name_there(name), weight)
            continue
        blocks = gguf.quants.quantize(weight, quantised)
        writer.add_tensor(name_there(name), blocks, raw_dtype=quantised)
        lost = gguf.quants.dequantize(blocks, quantised).reshape(weight.shape)
        parameter.copy_(torch.tensor(rows_there(name, lost, heads, back=True).copy()))
    for name in extra:
        writer.add_tensor(name, np.ones(8, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_1"])
@pytest.mark.parametrize("case", ["llama", "llama, grouped and tied"])
def test_the_answers_of_what_is_quantised(case, kind, tmp_path):
    model = theirs(case, **SIZES)
    path = written(model, tmp_path / "model.gguf", kind)
    if kind == "F32":
        mine = GPT.from_pretrained(path)
    else:
        with pytest.warns(UserWarning, match=f" as {kind} .*become float32"):
            mine = GPT.from_pretrained(path)
    assert mine.config.rotary_interleaved
    with torch.no_grad():
        want = run(model, case)
    got = run_ours(mine, case)
    mask = np.ones(got.shape[:2], bool)
    mask[0, 4:] = mask[2, 6:] = False
    assert worst(got[mask], want.numpy()[mask]) < 2e-4


def test_pairs_may_be_put_apart_as_in_a_folder(tmp_path):
    model = theirs("llama, grouped and tied", **SIZES)
    path = written(model, tmp_path / "model.gguf", "F32")
    apart = GPT.from_pretrained(path, rotary_interleaved=False).state_dict()
    model.save_pretrained(tmp_path / "folder")
    for name, value in GPT.from_pretrained(tmp_path / "folder").state_dict().items():
        np.testing.assert_array_equal(apart[name], value)


def test_metadata_and_what_is_stored_are_known_before_a_tensor_is_read(tmp_path):
    tensors = open_gguf(written(theirs("llama", **SIZES), tmp_path / "model.gguf", "Q8_0"))
    assert tensors.metadata["llama.embedding_length"] == 64
    assert tensors.metadata["tokenizer.ggml.tokens"] == ["a", "b"]
    assert tensors.stored["blk.0.ffn_down.weight"] == ("Q8_0", (64, 96))
    assert len(tensors) == len(list(tensors)) == 2 * 9 + 3


REFUSED = [
    ({"without": ["model.norm.weight"]}, r"missing: output_norm.weight \(64,\), for decoder.norm"),
    ({"extra": ["rope_freqs.weight"]}, r"not known: rope_freqs.weight \(8,\)"),
    ({"block_count": 1}, r"9 not known.*not known: blk.1"),
    ({"feed_forward_length": 64}, r"blk.0.ffn_gate.weight is \(96, 64\), expected \(64, 64\)"),
    ({"context_length": None}, "it has no 'llama.context_length'; expected an int"),
    ({"rope.scaling.type": "linear"}, "'llama.rope.scaling.type' is 'linear', with which"),
    ({"rope.dimension_count": 8}, "'llama.rope.dimension_count' is 8, with which"),
    ({"expert_count": 4}, "options that are not known here.*'llama.expert_count': 4"),
    ({"architecture": "gpt2"}, "general.architecture 'gpt2'; expected one.*: llama"),
]


@pytest.mark.parametrize(("changes", "said"), REFUSED)
def test_a_file_that_does_not_describe_itself_is_refused(changes, said, tmp_path):
    path = written(theirs("llama", **SIZES), tmp_path / "model.gguf", "F32", **changes)
    with pytest.raises(ValueError, match=f"(?s){said}"):
        GPT.from_pretrained(path)


def test_another_class_is_refused(tmp_path):
    path = written(theirs("llama", **SIZES), tmp_path / "model.gguf", "F32")
    with pytest.raises(ValueError, match=r"is a GPT, not a BERT; load it with GPT\.from_"):
        BERT.from_pretrained(path)


@pytest.mark.parametrize("left", [0, 3, 30, 200, 3000, -1])
def test_a_file_that_is_cut_off_is_refused(left, tmp_path):
    path = written(theirs("llama", **SIZES), tmp_path / "model.gguf", "F32")
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match=r"is no whole GGUF file.*cut off, so fetch it again"):
        GPT.from_pretrained(path)


def test_what_is_no_gguf_file_is_refused(tmp_path):
    (tmp_path / "model.gguf").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(ValueError, match="is no whole GGUF file"):
        GPT.from_pretrained(tmp_path / "model.gguf")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        GPT.from_pretrained(tmp_path / "other.gguf")


def test_a_folder_with_nothing_but_a_gguf_file_points_to_it(tmp_path):
    written(theirs("llama", **SIZES), tmp_path / "model.gguf", "F32")
    with pytest.raises(FileNotFoundError, match=r"has no config.json; .*model.gguf; give the file"):
        GPT.from_pretrained(tmp_path)
