"""The finetune recipe: a small model's folder is trained on, and is a model's folder again."""

import json

import numpy as np
import pytest
import transformers
from support.recipes import said

from npformer.cli import main
from npformer.formats import open_tokenizer
from npformer.models import BERT, GPT, BERTConfig, GPTConfig
from npformer.recipes import Finetune
from npformer.recipes._byte_pairs import learn
from npformer.recipes._run import CHECKPOINT
from npformer.recipes._settings import InputError
from npformer.recipes.finetune import FinetuneSettings
from npformer.training import load_model

TEXT = "To be, or not to be: that is the question.\n" * 60
SIZES = ["--steps", "4", "--context", "16", "--windows", "3", "--lr", "0.01"]
LLAMA = {"position": "rotary", "norm": "rms", "activation": "swiglu", "bias": False}
CONFIG = {"vocab_size": 320, "max_len": 64, "d_model": 8, "num_heads": 2, "num_layers": 2}


def folder_of(path, model, tokenizer=None):
    model.save_pretrained(path)
    tokenizer = tokenizer or learn([TEXT], 300, ["<end>"])
    tokenizer.save(path)
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a tiny Llama, with random weights."""
    made = GPT(GPTConfig(**CONFIG, **LLAMA), rng=np.random.default_rng(0))
    return folder_of(tmp_path_factory.mktemp("models") / "llama", made)


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "question.txt"
    path.write_text(TEXT)
    return str(path)


@pytest.fixture
def command(model, data):
    return ["train", "finetune", "--model", model, "--data", data, *SIZES]


def recipe(model, data, **settings):
    made = Finetune(FinetuneSettings(model=model, data=data, **{"context": 16, **settings}))
    made.initial_model()
    return made


def test_a_run_tells_the_loss_before_and_after_and_leaves_a_models_folder(
    command, model, tmp_path, capsys
):
    out = tmp_path / "run"
    assert main([*command, "--eval-every", "2", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    looks = json.loads((out / "result.json").read_text())["looks"]
    assert [step for step, _ in looks] == [0, 2, 4]
    before, after = looks[0][1]["loss"], looks[-1][1]["loss"]
    assert after < before
    assert f"loss {before:.4f} at step 0, {after:.4f} at step 4" in told
    assert json.loads((out / "run.json").read_text())["recipe"] == "finetune"

    trained = load_model(out / CHECKPOINT)[0].state_dict()
    read = GPT.from_pretrained(out).state_dict()
    first = GPT.from_pretrained(model).state_dict()
    for name, value in trained.items():
        np.testing.assert_array_equal(value, read[name], err_msg=name)
        assert not np.array_equal(value, first[name]), name

    words = said(capsys, "generate", str(out), "To be", "--max-tokens", "8")
    assert words.startswith("To be")
    assert words == said(capsys, "sample", str(out), "--prompt", "To be", "--temperature", "0",
                         "--tokens", "8")  # fmt: skip
    words = ["attention", str(out), "--input", "To be", "--out", str(tmp_path / "a.png")]
    assert "decoder.layers.1.self_attention" in said(capsys, *words)


def test_the_loss_is_that_of_the_windows_that_are_named(model, data):
    one = recipe(model, data, windows=2)
    made = one.initial_model()
    assert made.config.checkpoint
    count = (len(one.held_out) - 1) // 16
    at = np.array([0, count - 1])[:, None] * 16 + np.arange(16)
    expected = float(made.loss(one.held_out[at], one.held_out[at + 1])[0])
    assert one.look(made)["loss"] == pytest.approx(expected, rel=1e-5)
    assert "held-out loss is of 32 tokens, in 2 windows" in one.describe()


def test_an_interrupted_run_goes_on_to_the_bit(command, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main([*command, "--out", str(whole)]) == 0
    batch = Finetune.batch

    def failing(self, step):
        if step == 2:
            raise KeyboardInterrupt
        return batch(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Finetune, "batch", failing)
        assert main([*command, "--save-every", "1", "--out", str(parts)]) == 130
    assert not (parts / "model.safetensors").exists()
    assert main(["train", "finetune", "--resume", "--out", str(parts)]) == 0
    one, other = (GPT.from_pretrained(out).state_dict() for out in (whole, parts))
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_a_new_run_leaves_no_weights_of_the_one_before(command, tmp_path, monkeypatch):
    out = tmp_path / "run"
    assert main([*command, "--out", str(out)]) == 0
    monkeypatch.setattr(Finetune, "batch", lambda self, step: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main([*command, "--out", str(out)])
    assert not (out / "model.safetensors").exists()
    assert not (out / "config.json").exists()


def test_a_run_that_goes_on_needs_the_same_text_and_tokenizer(command, data, tmp_path, capsys):
    out = tmp_path / "run"
    assert main([*command, "--out", str(out)]) == 0
    made = GPT(GPTConfig(**CONFIG, **LLAMA), rng=np.random.default_rng(0))
    other = folder_of(tmp_path / "other", made, learn(["or other words"], 290, ["<end>"]))
    (tmp_path / "other.txt").write_text(TEXT + TEXT)
    for words, expected in (
        (["--model", other], f"--model {other} has another tokenizer than the model"),
        (["--data", str(tmp_path / "other.txt")], "is not the text that the run began with"),
    ):
        words = ["train", "finetune", "--out", str(out), "--resume", *words]
        assert expected in said(capsys, *words, status=2)
    learn(["or other words"], 290, ["<end>"]).save(out)
    message = said(capsys, "sample", str(out), status=2)
    assert f"the tokenizer in {out} is not the one it was trained with" in message


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (
            lambda: GPT(GPTConfig(**CONFIG, **LLAMA, head=False, tie_embeddings=False)),
            "is a base model without a head",
        ),
        (
            lambda: BERT(BERTConfig(**{**CONFIG, "d_ff": 16}, num_token_types=1)),
            "describes a 'bert', which is a BERT, not a GPT; load it with BERT.from_pretrained",
        ),
        (
            lambda: GPT(GPTConfig(**{**CONFIG, "vocab_size": 280}, **LLAMA)),
            "has ids up to 281, and the model a vocabulary of 280; they do not belong together",
        ),
        (
            lambda: GPT(GPTConfig(**{**CONFIG, "max_len": 12}, **LLAMA)),
            "--context is 16; the model knows sequences of up to 12 tokens",
        ),
    ],
)
def test_models_that_cannot_be_trained_on_are_refused(made, expected, data, tmp_path, capsys):
    model = folder_of(tmp_path / "model", made())
    command = ["train", "finetune", "--model", model, "--data", data, *SIZES]
    assert expected in said(capsys, *command, "--out", str(tmp_path / "run"), status=2)
    assert not (tmp_path / "run").exists()


def test_a_text_that_is_shorter_than_a_window_is_refused(model, tmp_path):
    path = tmp_path / "short.txt"
    path.write_text(TEXT[:200])
    with pytest.raises(InputError, match=r"the text has \d+ tokens; its last tenth is held out"):
        recipe(model, str(path))


def test_a_model_that_is_not_there_is_refused(data):
    with pytest.raises(InputError, match="there is no nowhere; expected a folder of Hugging"):
        recipe("nowhere", data)


def test_a_tokenizer_is_saved_as_it_was_read(smollm2, tmp_path):
    one = open_tokenizer(smollm2)
    one.save(tmp_path)
    other = open_tokenizer(tmp_path)
    talk = [{"role": "user", "content": "How are you in 2026?"}]
    assert other.to_json() == one.to_json()
    assert (other.ends, other.size) == (one.ends, one.size)
    assert other.encode_chat(talk).tolist() == one.encode_chat(talk).tolist()
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.apply_chat_template(talk, add_generation_prompt=True, tokenize=False) == (
        one.decode(one.encode_chat(talk), special=True)
    )
    for text in ("Three é 123  words\n\n日本", "<|im_start|>user"):
        ids = one.encode(text).tolist()
        assert other.encode(text).tolist() == ids
        assert theirs(text)["input_ids"] == ids
