"""Translation by a run of ours, as the command does it; and what it cannot do."""

import io
import sys

import numpy as np
import pytest
from support.recipes import checkpoint, runs, said

from npformer.cli import main
from npformer.recipes import dates
from npformer.training import load_model

__all__ = ["runs"]  # a fixture


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


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["translate", "a"], "required: --model"),
        (["translate", "a", "--model", "nowhere"], "there is no nowhere; expected a folder"),
        (["transcribe"], "required: AUDIO, --model"),
        (["classify", "a.png", "--model", "x"], "required: --labels"),
    ],
)
def test_bad_arguments(words, expected, capsys):
    assert expected in said(capsys, *words, status=2)


def test_a_run_that_translates_nothing(runs, capsys):
    message = said(capsys, "translate", "To be", "--model", str(runs / "text"), status=2)
    assert "is a run of 'text', which translates nothing; ask it with npformer sample" in message
