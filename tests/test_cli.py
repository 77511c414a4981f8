"""The npformer command: sampling, translation, attention, bad arguments, exit statuses."""

import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from support.recipes import checkpoint, runs, said

import npformer
from npformer.__main__ import entry
from npformer.cli import main
from npformer.models import GPT, GPTConfig
from npformer.recipes import dates
from npformer.training import AdamW, Trainer, load_model

__all__ = ["runs"]  # a fixture

COMMANDS = (
    *(
        "train",
        "sample",
        "attention",
        "check",
        "explain",
        "compare",
        "ablate",
        "models",
        "embed",
        "generate",
        "chat",
    ),
    *("transcribe", "translate", "classify"),
)


def test_version(capsys):
    assert said(capsys, "--version") == f"npformer {npformer.__version__}\n"


def test_the_installed_command_is_this_one():
    command = [sys.executable, "-c", "import sys; from npformer.cli import main; sys.exit(main())"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"npformer {npformer.__version__}\n"
    assert subprocess.run([*command, "train"], capture_output=True, check=False).returncode == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "required: COMMAND"),
        (["train"], "required: RECIPE"),
        (["train", "poems"], "invalid choice: 'poems'"),
        (["train", "dates", "--steps", "-3"], "--steps: got '-3', expected a whole number"),
        (["train", "dates", "--data", "x"], "unrecognized arguments: --data x"),
        (["sample"], "required: CHECKPOINT"),
        (["translate", "a"], "required: --model"),
        (["translate", "a", "--model", "nowhere"], "there is no nowhere; expected a folder"),
        (["transcribe"], "required: AUDIO, --model"),
        (["classify", "a.png", "--model", "x"], "required: --labels"),
        (["sample", "x", "--temperature", "-1"], "got '-1', expected a number of at least 0"),
        (["sample", "x", "--top-p", "0"], "got '0', expected a number above 0 and at most 1"),
        (["sample", "nowhere.npz"], "there is no nowhere.npz; npformer train makes one"),
        (["attention", "x", "--out", "a.png"], "required: --input"),
        (
            ["attention", "x", "--input", "a", "--out", "no/dir/b.png"],
            "there is no folder 'no/dir'",
        ),
        (
            ["attention", "x", "--input", "a", "--out", "b.png", "--kind", "any"],
            "--kind: got 'any', expected cross or self or encoder",
        ),
    ],
)
def test_bad_arguments(words, expected, capsys):
    assert expected in said(capsys, *words, status=2)


@pytest.mark.parametrize("words", [[], ["train"], ["train", "text"], *([one] for one in COMMANDS)])
def test_help(words, capsys):
    assert said(capsys, *words, "--help").startswith(" ".join(["usage: npformer", *words]))


def test_the_help_lists_every_command(capsys):
    assert set(re.findall(r"^    (\w+)\b", said(capsys, "--help"), re.MULTILINE)) == set(COMMANDS)


def test_sample_goes_on_from_a_prompt(runs, capsys):
    words = ["sample", checkpoint(runs, "text"), "--prompt", "To be", "--tokens", "40"]
    text = said(capsys, *words)
    assert text.startswith("To be")
    assert len(text) == 5 + 40 + 1
    assert said(capsys, *words) == text
    assert said(capsys, *words, "--seed", "1") != text
    greedy = [said(capsys, *words, "--temperature", "0", "--seed", seed) for seed in "12"]
    assert greedy[0] == greedy[1] == said(capsys, *words, "--top-k", "1")
    assert said(capsys, *words, "--top-p", "1e-9") == greedy[0]


def test_sample_needs_no_prompt_for_a_text_and_takes_a_folder(runs, capsys):
    text = said(capsys, "sample", str(runs / "text"), "--tokens", "5")
    assert len(text) == 1 + 5 + 1


def test_sample_translates_a_date(runs, capsys):
    words = ["sample", checkpoint(runs, "dates"), "--prompt", "3rd of March 1987"]
    answer = said(capsys, *words)
    assert said(capsys, *words, "--seed", "3") == answer  # greedy unless told otherwise
    assert len(said(capsys, *words, "--tokens", "3", "--temperature", "2")) > 0


@pytest.mark.parametrize(
    ("recipe", "words", "expected"),
    [
        ("dates", [], "--prompt is missing; give a date, such as"),
        ("dates", ["--prompt", "März"], "'März' contains 'ä', which the model has never seen"),
        ("dates", ["--prompt", "1" * 100], "is 100 characters; expected 1 to 64"),
        ("text", ["--prompt", "Z"], "'Z' contains 'Z', which the model has never seen"),
    ],
)
def test_prompts_that_cannot_be_read(recipe, words, expected, runs, capsys):
    assert expected in said(capsys, "sample", checkpoint(runs, recipe), *words, status=2)


def test_files_that_are_no_recipes_checkpoint(tmp_path, capsys):
    (tmp_path / "a.npz").write_bytes(b"not a checkpoint")
    assert "a.npz" in said(capsys, "sample", str(tmp_path / "a.npz"), status=2)
    config = GPTConfig(vocab_size=3, max_len=4, d_model=4, num_heads=1, num_layers=1)
    model = GPT(config)
    trainer = Trainer(model, AdamW(model.parameters()))
    for metadata in ({}, {"recipe": "poems"}, {"recipe": "text", "vocabulary": ["a"]}):
        trainer.save(tmp_path / "b.npz", **metadata)
        message = said(capsys, "sample", str(tmp_path / "b.npz"), status=2)
        assert "b.npz was not saved by a recipe" in message


def test_attention_without_matplotlib_says_the_remedy(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    words = ["attention", checkpoint(runs, "dates"), "--input", "1/1/50", "--out", "a.png"]
    assert "pip install 'npformer[cli]'" in said(capsys, *words, status=1)


def test_help_says_which_attention_is_drawn_and_how_to_count(capsys):
    words = " ".join(said(capsys, "attention", "--help").split())
    assert "(dates, translate, speech: cross; the others have only one)" in words
    assert "--head N from 0; -1 is the last (default: the mean of all heads)" in words


def test_an_attention_that_a_model_has_not_is_refused(runs, tmp_path, capsys):
    words = ["attention", checkpoint(runs, "text"), "--input", "To be", "--kind", "cross"]
    message = said(capsys, *words, "--out", str(tmp_path / "a.png"), status=2)
    assert "--kind is cross; a model of text has self" in message


def test_ctrl_c_has_its_own_status(runs, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("npformer.cli.load_model", interrupted)
    assert said(capsys, "sample", checkpoint(runs, "text"), status=130) == "interrupted\n"


@pytest.mark.skipif(os.name != "posix", reason="pipes are closed differently elsewhere")
def test_a_reader_that_goes_away_is_no_error(runs):
    code = "import sys; from npformer.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "sample", checkpoint(runs, "text"), "--tokens", "5"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.stderr == ""


def test_a_run_translates_with_beams(runs, capsys):
    texts = ["3rd of March 1987", "1/1/50"]
    one = said(capsys, "translate", *texts, "--model", str(runs / "dates"), "--beams", "1")
    greedy = [said(capsys, "sample", str(runs / "dates"), "--prompt", text) for text in texts]
    assert one == "".join(greedy)
    assert said(capsys, "translate", *texts, "--model", checkpoint(runs, "dates"))
    assert main(["translate", "1/1/50", "--model", str(runs / "dates")]) == 0
    assert "1 text in " in capsys.readouterr().err


def test_texts_come_from_the_standard_input_line_by_line(runs, capsys, monkeypatch):
    words = ["--model", str(runs / "dates"), "--beams", "1"]
    want = said(capsys, "translate", "1/1/50", "", "2/2/60", *words)
    assert want.split("\n")[1] == ""
    monkeypatch.setattr(sys, "stdin", io.StringIO("1/1/50\n\n2/2/60\r\n"))
    assert said(capsys, "translate", *words) == want
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert "there are no texts" in said(capsys, "translate", *words, status=2)


def test_a_search_keeps_what_is_likelier_than_greed_finds(runs):
    """The recipe's own search, by the scores of both."""
    model, _ = load_model(checkpoint(runs, "dates"))
    vocabulary = dates.vocabulary()
    source, mask = dates.encode(vocabulary, ["3rd of March 1987"])
    start, end = vocabulary.ids[dates.START], vocabulary.ids[dates.END]

    def score(ids):
        logits = model(source, np.concatenate([[start], ids[:-1]])[None], mask)[0]
        logits = logits.astype(np.float64)
        total = np.log(np.exp(logits - logits.max(axis=-1, keepdims=True)).sum(axis=-1))
        likely = logits - logits.max(axis=-1, keepdims=True) - total[:, None]
        stop = list(ids).index(end) + 1 if end in ids else len(ids)
        return likely[np.arange(stop), ids[:stop]].sum() / ((5 + stop) / 6) ** 0.6

    found = dates.decode(model, vocabulary, source, mask, beams=4)[0]
    greedy = dates.decode(model, vocabulary, source, mask)[0]
    assert score(found) >= score(greedy) - 1e-9


def test_a_run_that_translates_nothing(runs, capsys):
    message = said(capsys, "translate", "To be", "--model", str(runs / "text"), status=2)
    assert "is a run of 'text', which translates nothing; ask it with npformer sample" in message


class Interrupted:
    """Ctrl-C while a module is imported."""

    def find_spec(self, name, path, target=None):
        if name == "npformer.cli":
            raise KeyboardInterrupt


def test_ctrl_c_while_the_command_starts(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "npformer.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert entry() == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_rate_that_is_too_high_ends_in_one_line(tmp_path):
    command = ["-m", "npformer", "train", "dates", "--steps", "9", "--lr", "1e30"]
    sizes = ["--d-model", "8", "--heads", "2", "--layers", "1", "--batch", "4", "--warmup", "0"]
    done = subprocess.run(
        [sys.executable, *command, *sizes, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "RuntimeWarning" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("npformer: error: ")
