"""Recipes made tiny: a few dates, a short text, models of a few hundred numbers."""

import io
import signal

import pytest

from npformer.cli import main
from npformer.recipes import dates, masked, text
from npformer.recipes._progress import Progress

DATES = ["--steps", "6", "--batch", "4", "--d-model", "8", "--heads", "2", "--layers", "1"]
TEXT = ["--context", "16", *DATES]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    # A process that was started in the background may ignore Ctrl-C; these tests send it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(dates, "NUM_DATES", 300)  # 30 of them held out
    monkeypatch.setattr(dates, "_LOOK", 8)
    monkeypatch.setattr(text, "_LOOK", 4)
    monkeypatch.setattr(masked, "_LOOK", 4)
    monkeypatch.setattr(text, "_SAMPLE_LENGTH", 20)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def book(tmp_path):
    """A text of its own for a run: short, with a few characters outside of ASCII."""
    path = tmp_path / "book.txt"
    path.write_text("Es war einmal ein König. Er hatte zwölf Töchter.\n" * 40, encoding="utf-8")
    return str(path)


@pytest.fixture(params=["dates", "text", "masked"])
def command(request, book, tmp_path):
    """A tiny training command of each recipe, without its --out."""
    if request.param == "dates":
        return ["train", "dates", *DATES, "--dropout", "0.1"]
    return ["train", request.param, "--data", book, *TEXT, "--dropout", "0.1"]


SIZES = ["--steps", "2", "--batch", "4", "--d-model", "8", "--heads", "2", "--layers", "2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A tiny run of each recipe: the folder that holds both."""
    folder = tmp_path_factory.mktemp("runs")
    book = folder / "book.txt"
    book.write_text("To be, or not to be: that is the question.\n" * 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dates, "NUM_DATES", 100)
        assert main(["train", "dates", *SIZES, "--out", str(folder / "dates")]) == 0
    more = ["--data", str(book), "--context", "16", "--out", str(folder / "text")]
    assert main(["train", "text", *SIZES, *more]) == 0
    return folder


def checkpoint(runs, recipe):
    return str(runs / recipe / "checkpoint.npz")


def said(capsys, *words, status=0):
    """Run the command and return what it printed: on stdout, or on stderr if it failed."""
    capsys.readouterr()
    assert main(list(words)) == status
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return err if status else out


class Terminal(io.StringIO):
    def isatty(self):
        return True


def make_progress(stream, total=4, done=0):
    """Run a progress from its `done`-th step to its end and return what it showed."""
    progress = Progress(total, done, stream)
    for loss in (4.0, 3.0, 2.0, 1.0)[done:]:
        progress.step(loss)
        if loss == 3.0:
            progress.say("half way")
    progress.close()
    return stream.getvalue()
