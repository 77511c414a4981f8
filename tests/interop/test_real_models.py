"""The commands for real models, with real weights: MiniLM and SmolLM2."""

import io
import json
import shutil
import sys

import numpy as np
import pytest
from support.recipes import said

from npformer.hub import LanguageModel, SentenceEncoder

SENTENCES = [
    "That is a happy person",
    "That is a happy dog",
    "That is a very happy person",
    "Today is a sunny day",
]
COSINES = [1.0, 0.6946, 0.9429, 0.2569]


def test_embed_shows_how_near_sentences_are(minilm, capsys):
    lines = said(capsys, "embed", str(minilm), *SENTENCES).splitlines()
    np.testing.assert_allclose([float(x) for x in lines[1].split()[-4:]], COSINES, atol=1e-3)
    assert lines[4].startswith("4  Today is a sunny day")


def test_embed_writes_vectors(minilm, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join([*SENTENCES, ""])))
    words = ["embed", str(minilm), "--json", "--npy", str(tmp_path / "a.npy")]
    found = json.loads(said(capsys, *words))
    assert found["sentences"] == SENTENCES
    vectors = np.load(tmp_path / "a.npy")
    assert vectors.shape == (4, 384)
    np.testing.assert_allclose(found["vectors"], vectors)
    np.testing.assert_allclose(vectors @ vectors[0], COSINES, atol=1e-3)


def test_sentences_of_any_length_keep_their_places(minilm):
    encoder = SentenceEncoder.open(minilm)
    assert (encoder.longest, encoder.width) == (256, 384)
    sentences = ["", *SENTENCES, "word " * 300]
    with pytest.warns(UserWarning, match="1 of 6 sentences are longer than 256.*sentence 6"):
        vectors = encoder.encode(sentences, batch=2)
    np.testing.assert_allclose(vectors[1:5] @ vectors[1], COSINES, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_a_tokenizer_of_another_model_is_refused(minilm, tmp_path, capsys):
    for file in minilm.iterdir():
        if file.is_file() and file.name != "tokenizer.json":
            shutil.copy(file, tmp_path)
    tokenizer = json.loads((minilm / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["new"] = 30522
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    message = said(capsys, "embed", str(tmp_path), "a", status=2)
    assert "has ids up to 30522, and the model a vocabulary of 30522; they do not" in message


def test_an_encoder_does_not_write(minilm, capsys):
    message = said(capsys, "generate", str(minilm), "a", status=2)
    assert "describes a 'bert', which is a BERT, not a GPT" in message


@pytest.fixture(scope="module")
def opened(smollm2):
    """Read once: it takes seconds."""
    with pytest.warns(UserWarning, match="become float32"):
        model = LanguageModel.open(smollm2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LanguageModel, "open", classmethod(lambda cls, path: model))
        yield model


def test_generate(opened, capsys):
    words = ["generate", "smollm2", "The capital of France is", "--max-tokens", "2"]
    assert said(capsys, *words) == "The capital of France is Paris.\n"


def test_chat_answers_and_remembers(opened, capsys, monkeypatch):
    lines = "What is the capital of France?\nAnd of Italy?\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    answers = said(capsys, "chat", "smollm2", "--temperature", "0").splitlines()
    assert answers == ["The capital of France is Paris.", "The capital of Italy is Rome."]
