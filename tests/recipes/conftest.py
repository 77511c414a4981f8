"""Recipes made tiny: a few dates, a short text, models of a few hundred numbers."""

import pytest

from npformer.recipes import dates, text

DATES = ["--steps", "6", "--batch", "4", "--d-model", "8", "--heads", "2", "--layers", "1"]
TEXT = ["--context", "16", *DATES]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(dates, "NUM_DATES", 300)  # 30 of them held out
    monkeypatch.setattr(dates, "_LOOK", 8)
    monkeypatch.setattr(text, "_LOOK", 4)
    monkeypatch.setattr(text, "_SAMPLE_LENGTH", 20)


@pytest.fixture
def book(tmp_path):
    """A text of its own for a run: short, with a few characters outside of ASCII."""
    path = tmp_path / "book.txt"
    path.write_text("Es war einmal ein König. Er hatte zwölf Töchter.\n" * 40, encoding="utf-8")
    return str(path)


@pytest.fixture(params=["dates", "text"])
def command(request, book, tmp_path):
    """A tiny training command of each recipe, without its --out."""
    if request.param == "dates":
        return ["train", "dates", *DATES, "--dropout", "0.1"]
    return ["train", "text", "--data", book, *TEXT, "--dropout", "0.1"]
