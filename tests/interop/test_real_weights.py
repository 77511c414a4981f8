"""Real models, whose answers are known: MiniLM from a folder, SmolLM2 from a GGUF file."""

import json

import numpy as np
import pytest
import tokenizers
import torch
import transformers

from npformer.generation import generate
from npformer.models import BERT, GPT

SENTENCE = "That is a happy person"
OTHERS = ["That is a happy dog", "That is a very happy person", "Today is a sunny day"]
COSINES = [0.6946, 0.9429, 0.2569]
WRITTEN = 48


@pytest.fixture(scope="module")
def read(minilm):
    """ids and mask of sentences."""
    tokenizer = tokenizers.Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding()

    def encode(sentences):
        encoded = tokenizer.encode_batch(sentences)
        ids = np.array([e.ids for e in encoded])
        return ids, np.array([e.attention_mask for e in encoded], bool)

    return encode


@pytest.fixture(scope="module")
def model(minilm):
    return BERT.from_pretrained(minilm)


def test_sentences_are_as_near_as_the_model_card_says(model, read):
    assert model.config.head is False
    ids, mask = read([SENTENCE, *OTHERS])
    hidden = model(ids, mask=mask)
    mean = np.sum(hidden * mask[..., None], axis=1) / mask.sum(axis=1, keepdims=True)
    unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(unit[1:] @ unit[0], COSINES, atol=1e-3)


def test_hidden_states_are_those_of_transformers(model, read, minilm):
    ids, mask = read(["A longer sentence, with [UNK] words and some padding beside it.", SENTENCE])
    theirs = transformers.BertModel.from_pretrained(minilm).eval()
    with torch.no_grad():
        answer = theirs(torch.tensor(ids), torch.tensor(mask).long())
    hidden = model(ids, mask=mask)
    np.testing.assert_allclose(hidden, answer.last_hidden_state, atol=1e-4)
    if model.pooler is not None:
        np.testing.assert_allclose(model.pooled(hidden), answer.pooler_output, atol=1e-4)


@pytest.fixture(scope="module")
def language_model(smollm2):
    with pytest.warns(UserWarning, match="210 as Q4_1.*become float32"):
        return GPT.from_pretrained(smollm2)


def test_a_language_model_writes_what_transformers_makes_it_write(language_model, smollm2, capsys):
    folder, file = smollm2.parent, smollm2.name
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file).eval()
    ids = np.array([tokenizer("The capital of France is")["input_ids"]])
    theirs.generation_config.eos_token_id = None  # it goes on after the end, as ours does
    with torch.no_grad():
        want = theirs.generate(torch.tensor(ids), max_new_tokens=WRITTEN, do_sample=False)
        logits = theirs(torch.tensor(ids)).logits.numpy()
    assert np.abs(language_model(ids) - logits).max() < 2e-4 * np.abs(logits).max()
    got = generate(language_model, ids, WRITTEN, temperature=0)
    np.testing.assert_array_equal(got, want.numpy())
    assert tokenizer.decode(got[0, ids.shape[1] :]).startswith(" Paris")


def test_what_is_read_from_gguf_is_saved_as_a_folder_that_transformers_reads(
    language_model, tmp_path
):
    """Where rotary pairs are halves, and rows of q and k in another order."""
    language_model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "llama"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = np.arange(100, 112)[None]
    with torch.no_grad():
        logits = theirs(torch.tensor(ids)).logits.numpy()
    assert np.abs(language_model(ids) - logits).max() < 2e-4 * np.abs(logits).max()
