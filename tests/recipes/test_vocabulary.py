"""Vocabulary: there and back, and what is not in it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npformer.recipes._settings import InputError
from npformer.recipes._vocabulary import Vocabulary


@given(st.text(min_size=1))
def test_there_and_back(text):
    vocabulary = Vocabulary(sorted(set(text)))
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64
    assert ids.shape == (len(text),)
    assert vocabulary.decode(ids.tolist()) == text


def test_names_have_ids_that_no_text_reaches():
    vocabulary = Vocabulary(["<pad>", "a", "b", "<end>"])
    assert vocabulary.encode("abba").tolist() == [1, 2, 2, 1]
    assert vocabulary.decode([0, 2, 3]) == "<pad>b<end>"
    assert vocabulary.ids["<end>"] == 3
    assert len(vocabulary) == 4
    assert vocabulary.encode("").shape == (0,)


def test_unknown_characters_are_named():
    with pytest.raises(InputError, match=r"'aéz' contains 'z', 'é', which .* it knows 'ab'"):
        Vocabulary(["<pad>", "a", "b"]).encode("aéz")
    with pytest.raises(InputError, match="contains 'a'"):
        Vocabulary([]).encode("a")


@pytest.mark.parametrize(
    ("tokens", "said"),
    [(["a", "a"], "listed twice"), (["ab"], "'ab' is neither"), ([""], "'' is neither")],
)
def test_bad_tokens(tokens, said):
    with pytest.raises(ValueError, match=said):
        Vocabulary(tokens)


def test_a_record_is_opened_again_and_anything_else_is_refused():
    tokens = Vocabulary(["<pad>", "b", "a"])
    again = Vocabulary.from_record(tokens.tokens)
    assert again.encode("ab").tolist() == [2, 1]
    assert again.pieces([0, 2]) == ["<pad>", "a"]
    for record in (None, "ab", [1, 2]):
        with pytest.raises(ValueError, match="the record is no list of tokens"):
            Vocabulary.from_record(record)
