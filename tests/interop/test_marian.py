"""Marian's folders: logits, the loss, every gradient and what is written are transformers' own."""

import numpy as np
import pytest
import torch
import transformers
from interop.hugging_face import config_of, gradients, saved, weights_of, worst, worst_gradient

import npformer.functional as F
from npformer.core.errors import CheckpointError
from npformer.generation import beam_search, generate
from npformer.models import GPT, Model, Transformer, TransformerConfig

VOCAB, START = 23, 22
MARIAN = {
    "vocab_size": VOCAB,
    "d_model": 16,
    "max_position_embeddings": 12,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 20,
    "activation_function": "swish",
    "scale_embedding": True,
    "decoder_start_token_id": START,
}
# Of a padding token, transformers withholds the gradient of its row; all others have theirs.
NO_TOKENS = {"pad_token_id": None, "eos_token_id": None, "forced_eos_token_id": None}
CASES = {
    "swish": MARIAN,
    "relu, a deep encoder": MARIAN
    | {"activation_function": "relu", "encoder_layers": 3, "decoder_layers": 1},
    "gelu, not scaled, a deep decoder": MARIAN
    | {
        "activation_function": "gelu",
        "scale_embedding": False,
        "encoder_layers": 1,
        "decoder_layers": 3,
        "encoder_attention_heads": 1,
        "decoder_attention_heads": 1,
    },
}
every_case = pytest.mark.parametrize("case", CASES)


def theirs(case="swish", seed=0, kind=transformers.MarianMTModel, **options):
    """A model of transformers, its parameters away from their initial values."""
    torch.manual_seed(seed)
    given = CASES[case] | NO_TOKENS | options
    model = kind(transformers.MarianConfig(**given, attn_implementation="eager")).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                parameter += 0.2 * torch.randn_like(parameter)
        if kind is transformers.MarianMTModel:
            model.final_logits_bias += torch.randn_like(model.final_logits_bias)
    return model


def batch(seed=0):
    """source, target_in, targets, and the source's mask, padded on the right."""
    rng = np.random.default_rng(seed)
    source, target_in, targets = (rng.integers(0, VOCAB, (3, n)) for n in (7, 5, 5))
    mask = np.ones((3, 7), bool)
    mask[0, 4:] = mask[2, 6:] = False
    targets[1, 3:] = -100
    return source, target_in, targets, mask


def run(model):
    source, target_in, _, mask = batch()
    given = {"decoder_input_ids": torch.tensor(target_in), "attention_mask": torch.tensor(mask)}
    return model(torch.tensor(source), **given)


def run_ours(model):
    source, target_in, _, mask = batch()
    return model(source, target_in, mask)


@every_case
def test_logits_are_theirs(case, tmp_path):
    model = theirs(case)
    with torch.no_grad():
        want = run(model).logits
    mine = Transformer.from_pretrained(saved(model, tmp_path))
    assert worst(run_ours(mine), want) < 2e-4


@every_case
def test_loss_and_every_gradient_are_theirs(case, tmp_path):
    model = theirs(case)
    mine = Transformer.from_pretrained(saved(model, tmp_path / "weights"))
    source, target_in, targets, mask = batch()
    want = torch.nn.functional.cross_entropy(
        run(model).logits.flatten(0, 1), torch.tensor(targets).flatten()
    )
    want.backward()
    loss, undo = mine.loss(source, target_in, targets, mask)
    mine.loss_backward(undo)
    assert abs(loss - want.item()) < 1e-4 * abs(want.item())
    got = {name: parameter.grad for name, parameter in mine.named_parameters()}
    assert not got.pop("head.bias").any()  # which is frozen
    wanted = gradients(model, Transformer, tmp_path / "gradients")
    del wanted["head.bias"]
    error, name = worst_gradient(got, wanted)
    assert error < 1e-3, name


@every_case
def test_what_is_written_is_theirs(case, tmp_path):
    model = theirs(case)
    mine = Transformer.from_pretrained(saved(model, tmp_path))
    source, _, _, mask = batch()
    given = {"attention_mask": torch.tensor(mask), "do_sample": False, "max_new_tokens": 9}
    want = model.generate(torch.tensor(source), **given, num_beams=1).numpy()
    got = generate(mine, source, 9, start=mine.config.start_token, mask=mask, temperature=0)
    assert mine.config.start_token == START
    np.testing.assert_array_equal(got, want[:, 1:])  # without the start


@every_case
@pytest.mark.parametrize("shards", [False, True])
def test_what_is_saved_here_is_what_was_loaded_and_they_can_load_it(case, shards, tmp_path):
    model = theirs(case)
    mine = Model.from_pretrained(saved(model, tmp_path / "theirs"))
    assert type(mine) is Transformer
    mine.save_pretrained(tmp_path / "ours", **({"shard_bytes": 8000} if shards else {}))
    again, told = transformers.MarianMTModel.from_pretrained(
        tmp_path / "ours", output_loading_info=True
    )
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    with torch.no_grad():
        assert worst(run(again).logits, run(model).logits) < 1e-5
    twice = Transformer.from_pretrained(tmp_path / "ours")
    assert twice.config == mine.config
    for name, value in mine.state_dict().items():
        np.testing.assert_array_equal(twice.state_dict()[name], value)


def test_a_base_model_has_the_head_that_its_table_makes(tmp_path):
    model = theirs(kind=transformers.MarianModel)
    mine = Transformer.from_pretrained(saved(model, tmp_path))
    assert not mine.config.logits_bias
    with torch.no_grad():
        want = run(model).last_hidden_state @ model.shared.weight.T
    assert worst(run_ours(mine), want) < 2e-4
    mine.save_pretrained(tmp_path / "again")
    whole = transformers.MarianMTModel.from_pretrained(tmp_path / "again")
    with torch.no_grad():
        assert worst(run(whole).logits, want) < 1e-5


def test_the_folder_s_dropout_is_that_of_attention_and_of_all_else_unless_one_is_chosen(tmp_path):
    folder = saved(theirs(dropout=0.3, attention_dropout=0.2), tmp_path)
    config = Transformer.from_pretrained(folder).config
    assert (config.dropout, config.attention_dropout) == (0.3, 0.2)
    config = Transformer.from_pretrained(folder, dropout=0.1).config
    assert (config.dropout, config.attention_dropout) == (0.1, None)


def test_older_folders_have_more_options_and_the_table_several_times(tmp_path):
    folder = saved(theirs(), tmp_path)
    want = run_ours(Transformer.from_pretrained(folder))
    with config_of(folder) as config:
        config |= {"add_bias_logits": False, "normalize_embedding": False, "_num_labels": 3}
        config |= {"static_position_embeddings": True, "extra_pos_embeddings": VOCAB}
        config |= {"bad_words_ids": [[START]], "num_beams": 4, "classif_dropout": 0.0}
    with weights_of(folder) as tensors:
        for stack in ("encoder", "decoder"):
            table = tensors["model.shared.weight"].copy()
            tensors[f"model.{stack}.embed_tokens.weight"] = table
            nothing = np.zeros((12, 16), np.float32)
            positions, _ = F.sinusoidal(nothing, np.arange(12), "halves")
            tensors[f"model.{stack}.embed_positions.weight"] = positions
        tensors["lm_head.weight"] = tensors["model.shared.weight"].copy()
    np.testing.assert_array_equal(run_ours(Transformer.from_pretrained(folder)), want)
    with weights_of(folder) as tensors:
        tensors["model.decoder.embed_tokens.weight"] += 1
    with pytest.raises(CheckpointError, match="are the same, but the tensors beside it differ"):
        Transformer.from_pretrained(folder)


@pytest.mark.parametrize("table", [np.ones((12, 16)), np.zeros((3, 2))])
def test_a_table_of_positions_that_is_not_the_sinusoids(table, tmp_path):
    folder = saved(theirs(), tmp_path)
    with weights_of(folder) as tensors:
        tensors["model.encoder.embed_positions.weight"] = table.astype(np.float32)
    with pytest.raises(CheckpointError, match=r"encoder\.embed_positions\.weight .* not the table"):
        Transformer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"share_encoder_decoder_embeddings": False}, "'share_encoder_decoder_embeddings' is"),
        ({"tie_word_embeddings": False}, "'tie_word_embeddings' is False, with which"),
        ({"decoder_vocab_size": 9}, "'decoder_vocab_size' is 9, with which .* expected 23"),
        ({"decoder_ffn_dim": 24}, "'encoder_ffn_dim' is 20 and its 'decoder_ffn_dim' 24"),
        ({"decoder_attention_heads": 2}, "'encoder_attention_heads' is 4 and its 'dec"),
        ({"normalize_embedding": True}, "'normalize_embedding' is True, with which"),
        ({"static_position_embeddings": False}, "'static_position_embeddings' is False"),
        ({"is_encoder_decoder": False}, "'is_encoder_decoder' is False"),
        ({"activation_dropout": 0.1}, "'activation_dropout' is 0.1, of what has no dropout here"),
        ({"activation_function": "tanh"}, "'activation_function' is 'tanh'"),
        ({"new_idea": 1}, "not known here.*new_idea"),
    ],
)
def test_an_option_that_would_change_the_numbers(option, said, tmp_path):
    folder = saved(theirs(), tmp_path)
    with config_of(folder) as config:
        config.update(option)
    with pytest.raises(CheckpointError, match=f"(?s)config.json cannot be loaded: .*{said}"):
        Model.from_pretrained(folder)


def test_another_class_and_what_their_marian_cannot_be(tmp_path):
    folder = saved(theirs(), tmp_path)
    with pytest.raises(CheckpointError, match="'marian', which is a Transformer, not a GPT"):
        GPT.from_pretrained(folder)
    model = Transformer(TransformerConfig(5, 4, 4, 2, 1, norm_position="pre"))
    said = "(?s)this Transformer; .*marian: norm_position is 'pre', not 'post', sinusoid_layout is"
    with pytest.raises(ValueError, match=said):
        model.save_pretrained(tmp_path / "new")


def test_a_beam_of_theirs(tmp_path):
    """Of one length each, so that no penalty of it matters."""
    model = theirs()
    mine = Transformer.from_pretrained(saved(model, tmp_path))
    source, _, _, mask = batch()
    given = {"attention_mask": torch.tensor(mask), "do_sample": False, "max_new_tokens": 5}
    want = model.generate(torch.tensor(source), **given, num_beams=3).numpy()
    best = beam_search(mine, source, 5, num_beams=3, start=START, mask=mask)
    np.testing.assert_array_equal(best.best, want[:, 1:])
