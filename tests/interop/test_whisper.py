"""Folders of Whisper: what transformers hears, answers and learns is the same here."""

import re

import numpy as np
import pytest
import torch
import transformers
from interop.hugging_face import (
    CHANGES,
    NO_TOKENS,
    config_of,
    drawn,
    gradients,
    saved,
    weights_of,
    worst,
    worst_gradient,
)

from npformer.core.errors import CheckpointError
from npformer.generation import generate
from npformer.models import BERT, Model, Whisper, WhisperConfig

VOCAB, LENGTH, MELS, FRAMES = 23, 6, 5, 16
SMALL = {
    "vocab_size": VOCAB,
    "num_mel_bins": MELS,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 20,
    "d_model": 16,
    "max_source_positions": FRAMES // 2,
    "max_target_positions": 9,
    "decoder_start_token_id": 1,
    "begin_suppress_tokens": None,
}
CASES = {
    "small": SMALL,
    "distilled": SMALL | {"encoder_layers": 3, "decoder_layers": 1},
    "another activation, one head": SMALL
    | {
        "activation_function": "relu",
        "encoder_attention_heads": 1,
        "decoder_attention_heads": 1,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
    },
    "untied": SMALL | {"tie_word_embeddings": False, "activation_function": "quick_gelu"},
}
every_case = pytest.mark.parametrize("case", CASES)


def theirs(case="small", kind="WhisperForConditionalGeneration", **options):
    return drawn(kind, CASES[case], **options)


def batch(seed=0):
    """mel, target_in, targets."""
    rng = np.random.default_rng(seed)
    mel = rng.standard_normal((3, MELS, FRAMES)).astype(np.float32)
    target_in, targets = rng.integers(0, VOCAB, (2, 3, LENGTH))
    targets[0, 4:] = targets[2, :1] = -100
    return mel, target_in, targets


def run(model):
    mel, target_in, targets = map(torch.tensor, batch())
    return model(input_features=mel, decoder_input_ids=target_in, labels=targets)


@every_case
def test_logits_loss_and_every_gradient_are_theirs(case, tmp_path):
    model = theirs(case)
    mine = Whisper.from_pretrained(saved(model, tmp_path / "weights"), **CHANGES)
    answer = run(model)
    answer.loss.backward()
    mel, target_in, targets = batch()
    assert worst(mine(mel, target_in), answer.logits.detach()) < 2e-4
    loss, undo = mine.loss(mel, target_in, targets)
    mine.loss_backward(undo)
    assert abs(loss - answer.loss.item()) < 1e-4 * answer.loss.item()
    got = {name: parameter.grad for name, parameter in mine.named_parameters()}
    error, name = worst_gradient(got, gradients(model, Whisper, tmp_path / "gradients"))
    assert error < 1e-3, name
    assert all(g.any() for n, g in got.items() if n != "source_inputs.position.weight")


def test_the_gradient_of_the_sound_is_theirs(tmp_path):
    model = theirs()
    mine = Whisper.from_pretrained(saved(model, tmp_path))
    mel, target_in, _ = batch()
    sound = torch.tensor(mel, requires_grad=True)
    logits = model(input_features=sound, decoder_input_ids=torch.tensor(target_in)).logits
    dy = np.random.default_rng(1).standard_normal(logits.shape).astype(np.float32)
    logits.backward(torch.tensor(dy))
    assert worst(mine.backward(dy, mine.forward(mel, target_in)[1]), sound.grad) < 1e-3


@every_case
def test_greedy_writing_is_theirs(case, tmp_path):
    model = theirs(case)
    with torch.no_grad():  # so far from its start that it prefers some tokens clearly
        for parameter in model.parameters():
            if parameter.ndim > 1:  # a bias of its last norm would outweigh all else
                parameter += 0.7 * torch.randn_like(parameter)
    mine = Whisper.from_pretrained(saved(model, tmp_path))
    mel = batch()[0]
    written = torch.ones((3, 1), dtype=torch.long)
    with torch.no_grad():
        for _ in range(8):
            answer = model(input_features=torch.tensor(mel), decoder_input_ids=written)
            written = torch.cat([written, answer.logits[:, -1:].argmax(-1)], dim=1)
    want = written[:, 1:].numpy()
    assert len(np.unique(want)) > 3
    for use_cache in (True, False):
        got = generate(mine, mel, 8, start=1, temperature=0, use_cache=use_cache)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("shards", [False, True])
@every_case
def test_what_is_saved_here_is_what_was_loaded_and_they_can_load_it(case, shards, tmp_path):
    model = theirs(case)
    mine = Whisper.from_pretrained(saved(model, tmp_path / "theirs"))
    mine.save_pretrained(tmp_path / "ours", **({"shard_bytes": 8000} if shards else {}))
    kind = transformers.WhisperForConditionalGeneration
    again, told = kind.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not told["missing_keys"]
    assert not told["unexpected_keys"]
    with torch.no_grad():
        assert worst(run(again).logits, run(model).logits) < 1e-5
    twice = Whisper.from_pretrained(tmp_path / "ours")
    for name, value in mine.state_dict().items():
        np.testing.assert_array_equal(twice.state_dict()[name], value)
    assert twice.config == mine.config


def test_a_base_model_has_the_head_that_its_table_makes(tmp_path):
    model = theirs(kind="WhisperModel")
    mine = Model.from_pretrained(saved(model, tmp_path))
    mel, target_in, _ = batch()
    with torch.no_grad():
        answer = model(input_features=torch.tensor(mel), decoder_input_ids=torch.tensor(target_in))
    want = answer.last_hidden_state @ model.decoder.embed_tokens.weight.detach().T
    assert type(mine) is Whisper
    assert worst(mine(mel, target_in), want) < 2e-4


def test_fresh_positions_of_the_encoder_are_theirs():
    config = transformers.WhisperConfig(**SMALL | NO_TOKENS)
    want = transformers.WhisperModel(config).encoder.embed_positions.weight
    table = Whisper(WhisperConfig(VOCAB, 9, 16, 4, 1, max_source_len=8)).source_inputs.position
    assert not table.weight.trainable
    assert worst(table.weight.value, want) < 1e-6


def test_the_folder_s_defaults_are_theirs(tmp_path):
    """Of a configuration that says nothing."""
    folder = saved(theirs(max_source_positions=1500, max_target_positions=448), tmp_path)
    with config_of(folder) as config:
        for name in ("max_source_positions", "max_target_positions", "tie_word_embeddings"):
            config.pop(name)
    config = Whisper.from_pretrained(folder).config
    assert (config.max_source_len, config.max_len, config.tie_embeddings) == (1500, 448, True)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"scale_embedding": True}, "'scale_embedding' is True, with which the model would"),
        ({"encoder_layerdrop": 0.1}, "'encoder_layerdrop' is 0.1"),
        ({"decoder_layerdrop": 0.1}, "'decoder_layerdrop' is 0.1"),
        ({"apply_spec_augment": True}, "'apply_spec_augment' is True"),
        ({"decoder_attention_heads": 2}, "'decoder_attention_heads' is 2, .* expected 4"),
        ({"decoder_ffn_dim": 24}, "'decoder_ffn_dim' is 24, .* expected 20"),
        ({"activation_dropout": 0.1}, "'activation_dropout' is 0.1, inside feed-forward layers"),
        ({"attention_dropout": 0.1}, "its rates of dropout are .*'attention_dropout': 0.1"),
        ({"activation_function": "tanh"}, "is 'tanh'; expected one of gelu"),
        ({"is_encoder_decoder": False}, "'is_encoder_decoder' is False"),
        ({"d_model": 17}, "d_model 17 is not divisible by num_heads 4"),
        ({"new_idea": 3}, "options that are not known here.*'new_idea': 3"),
    ],
)
def test_an_option_that_would_change_the_numbers_is_refused(option, said, tmp_path):
    folder = saved(theirs(), tmp_path)
    with config_of(folder) as config:
        config.update(option)
    with pytest.raises(CheckpointError, match=f"(?s)config.json cannot be loaded: .*{said}"):
        Whisper.from_pretrained(folder)
    if "dropout" in str(option):
        assert Whisper.from_pretrained(folder, dropout=0.2).config.dropout == 0.2


def test_tensors_that_do_not_fit_are_named(tmp_path):
    folder = saved(theirs(), tmp_path)
    with weights_of(folder) as tensors:
        del tensors["model.encoder.conv2.bias"]
        tensors["model.encoder.conv1.weight"] = np.ones((16, 3, MELS), np.float32)
        tensors["model.encoder.layers.0.self_attn.k_proj.bias"] = np.ones(16, np.float32)
    for said in (
        "do not fit the Whisper that it describes: 1 are missing, 1 of another shape or type",
        "missing: model.encoder.conv2.bias (16,), for source_inputs.conv2.bias",
        "wrong shape: model.encoder.conv1.weight is (16, 3, 5), expected (16, 5, 3)",
        "not known: model.encoder.layers.0.self_attn.k_proj.bias (16,)",
    ):
        with pytest.raises(CheckpointError, match=re.escape(said)):
            Whisper.from_pretrained(folder)


def test_another_class_is_refused_and_what_theirs_cannot_be_is_not_written(tmp_path):
    with pytest.raises(CheckpointError, match="a 'whisper', which is a Whisper, not a BERT"):
        BERT.from_pretrained(saved(theirs(), tmp_path))
    model = Whisper(WhisperConfig(VOCAB, 9, 16, 4, 1, activation="swiglu"))
    with pytest.raises(ValueError, match="whisper: activation is 'swiglu', not 'gelu'"):
        model.save_pretrained(tmp_path / "ours")
