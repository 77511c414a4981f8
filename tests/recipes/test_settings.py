"""Settings: options, checks, and what a resumed run may change."""

import argparse
from dataclasses import dataclass

import pytest

from npformer.recipes._settings import (
    COUNT,
    FILE,
    POSITIVE,
    InputError,
    Settings,
    one_of,
    option,
)


@dataclass(frozen=True)
class Sizes(Settings):
    width: int = option(8, COUNT, "width")
    path: str | None = option(None, FILE, "a file")
    norm: str = option("pre", one_of("pre", "post"), "where")


def parse(*words):
    parser = argparse.ArgumentParser(prog="it")
    Sizes.add_options(parser)
    return Sizes.given(parser.parse_args(words))


def test_what_was_not_given_leaves_no_trace():
    assert parse() == {}
    assert parse("--width", "4", "--path", "x", "--lr", "0.5") == {
        "width": 4,
        "path": "x",
        "lr": 0.5,
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--width", "0"), "argument --width: got '0', expected a whole number of at least 1"),
        (("--width", "two"), "got 'two', expected a whole number of at least 1"),
        (("--lr", "nan"), "got 'nan', expected a number above 0"),
        (("--lr", "0"), "got '0', expected a number above 0"),
        (("--seed", "-1"), "got '-1', expected a whole number from 0"),
        (("--warmup", "1"), "got '1', expected a number of at least 0 and below 1"),
        (("--norm", "mid"), "got 'mid', expected pre or post"),
        (("--path", ""), "got '', expected the path of a file"),
    ],
)
def test_bad_options_are_refused_with_what_was_expected(words, said, capsys):
    with pytest.raises(SystemExit) as stop:
        parse(*words)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_python_callers_are_checked_too():
    with pytest.raises(InputError, match="--width is 0; expected a whole number of at least 1"):
        Sizes(width=0)
    with pytest.raises(InputError, match=r"--width is 2\.5; expected a whole number"):
        Sizes(width=2.5)
    with pytest.raises(InputError, match="--width is True; expected a whole number"):
        Sizes(width=True)
    assert type(Sizes(lr=1).lr) is float
    with pytest.raises(InputError, match="--path is 3; expected the path of a file"):
        Sizes(path=3)


def test_help_names_every_option_with_its_default():
    parser = argparse.ArgumentParser()
    Sizes.add_options(parser)
    text = " ".join(parser.format_help().split())
    assert "--width N width (default 8)" in text
    assert "--path FILE a file" in text
    assert "--norm pre|post where (default pre)" in text


def test_saved_and_renewed():
    before = Sizes(width=4, steps=10)
    assert Sizes.saved(before.as_dict()) == before
    assert before.renewed({"steps": 20, "width": 4}) == Sizes(width=4, steps=20)
    with pytest.raises(InputError, match="--width is 5, but the run to be resumed has 4; leave"):
        before.renewed({"width": 5})


@pytest.mark.parametrize("record", [None, [], {}, {"width": 4}, {**Sizes().as_dict(), "more": 1}])
def test_a_record_of_something_else_is_refused(record):
    with pytest.raises(InputError, match="not those of this recipe"):
        Sizes.saved(record)


def test_a_record_with_a_bad_value_is_refused():
    with pytest.raises(InputError, match="--lr is 'fast'; expected a number above 0"):
        Sizes.saved({**Sizes().as_dict(), "lr": "fast"})


def test_numbers_are_positive():
    assert POSITIVE.parse("1e-3") == 1e-3
