"""Written dates: each string means one date, and the right one."""

import datetime
import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npformer.recipes._written_dates import (
    CHARACTERS,
    FIRST,
    FORMS,
    LAST,
    NUM_DATES,
    date,
    ordinal,
    write,
    write_all,
)

days = st.integers(0, NUM_DATES - 1)
choices = st.lists(st.integers(0, 1 << 20), min_size=6, max_size=6)

MONTH_STARTS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAY_STARTS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def century(year):
    return int(year) if len(year) == 4 else int(year) + (1900 if int(year) >= 50 else 2000)


def read(text):
    """Return the date that a string means by the stated rules: none of the writer's code."""
    words = re.findall(r"[a-z]+|\d+", re.sub(r"(?<=\d)(st|nd|rd|th)\b", "", text.lower()))
    words = [word for word in words if word not in ("the", "of")]
    weekday = None
    if words[0][:3] in DAY_STARTS:
        weekday = DAY_STARTS.index(words.pop(0)[:3])
    months = [MONTH_STARTS.index(word[:3]) + 1 for word in words if word.isalpha()]
    numbers = [word for word in words if word.isdigit()]
    if months:  # the month is a name: two numbers are left
        (month,) = months
        first, second = numbers
        year, day = (first, second) if len(first) == 4 else (second, first)
    elif len(numbers[0]) == 4:
        year, month, day = numbers
    else:
        day, month, year = numbers
    meant = datetime.date(century(year), int(month), int(day))
    assert weekday in (None, meant.weekday()), "the weekday is not that of the date"
    return meant


@given(days, st.integers(0, len(FORMS) - 1), choices)
def test_a_string_is_read_as_the_date_it_was_written_for(index, form, picks):
    # A function from string to date that undoes every writing: so no string has two dates.
    assert read(write(date(index), form, picks)) == date(index)


def test_no_string_is_written_for_two_dates():
    # All dates in several spellings each, drawn as training draws them.
    rng = np.random.default_rng(1)
    meaning = {}
    for _ in range(3):
        for index, text in enumerate(write_all(np.arange(NUM_DATES), rng)):
            assert meaning.setdefault(text, index) == index, text
    assert len(meaning) > 2.5 * NUM_DATES


def test_every_form_and_spelling_is_read_back():
    picks = [range(12), range(2), range(2), range(6), range(3), range(2, 4)]
    day = datetime.date(2006, 9, 1)
    for form in range(len(FORMS)):
        for pick in itertools.product(*picks):
            text = write(day, form, pick)
            assert read(text) == day
            assert set(text) <= set(CHARACTERS)
            assert 6 <= len(text) <= 64
            assert text == text.strip()
            assert "  " not in text


def test_the_range_is_a_century_in_which_two_digits_are_enough():
    assert date(0) == FIRST
    assert date(NUM_DATES - 1) == LAST
    years = {date(i).year for i in range(NUM_DATES)}
    assert len({year % 100 for year in years}) == len(years) == 100


@pytest.mark.parametrize(
    ("form", "picks", "text"),
    [
        ("{w}the {th} of {month}, {y}", [0, 0, 0, 0, 0, 0], "the 3rd of March, 1987"),
        ("{w}{d} {month} {y}", [6, 1, 1, 1, 1, 0], "Tue 03 Mar 87"),
        ("{w}{d}/{m}/{yy}", [0, 0, 0, 0, 0, 0], "3/3/1987"),
        ("{w}{d}/{m}/{yy}", [0, 1, 0, 0, 1, 0], "03/03/87"),
        ("{w}{month} {th}, {y}", [3, 0, 1, 0, 2, 2], "tuesday, mar. 3rd, '87"),
        ("{w}{d}-{mon}-{yy}", [0, 0, 1, 0, 1, 3], "3-MAR-87"),
        ("{w}{year}-{m}-{d}", [11, 1, 0, 0, 0, 0], "Tues, 1987-03-03"),
    ],
)
def test_examples(form, picks, text):
    assert write(datetime.date(1987, 3, 3), FORMS.index(form), picks) == text


def test_september_has_two_abbreviations():
    texts = {write(datetime.date(1999, 9, 9), 5, [0, 0, 1, dot, 0, 0]) for dot in range(6)}
    assert texts == {"9 Sep 1999", "9 Sept 1999", "9 Sep. 1999", "9 Sept. 1999"}


def test_ordinals():
    assert [ordinal(day) for day in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 31)] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "31st"]
    )


def test_the_same_generator_state_writes_the_same():
    days = np.arange(100)
    first, again, other = (write_all(days, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other
