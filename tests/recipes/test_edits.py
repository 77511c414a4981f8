"""Edits between texts: against the definition, and the rates that are made of them."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npformer.recipes._edits import best_guess, edit_distances, error_rate

TEXTS = st.text("abç ", max_size=6)


@cache
def by_definition(a, b):
    if not a or not b:
        return len(a) + len(b)
    ways = by_definition(a[1:], b) + 1, by_definition(a, b[1:]) + 1
    return min(*ways, by_definition(a[1:], b[1:]) + (a[0] != b[0]))


@given(TEXTS, st.lists(TEXTS, max_size=5))
def test_the_least_number_of_edits(text, others):
    want = [by_definition(text, other) for other in others]
    assert edit_distances(text, others).tolist() == want


def test_a_rate_is_edits_per_character_that_was_said():
    assert error_rate(["cat", "dig", ""], ["cat", "dog", "an"]) == pytest.approx(3 / 8)
    assert error_rate(["something else"], ["a"]) > 1
    assert error_rate([], []) == 0


def test_the_best_guess_is_wrong_the_least_often():
    said = ["ten", "tin", "tan", "ten", "hundred"]
    text, rate = best_guess(["tan", "ten", "hundred"], said)
    assert text == "ten"
    assert rate == error_rate(["ten"] * 5, said)
