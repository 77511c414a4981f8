"""Dates as people write them, and the one ISO date that each means.

The task has exactly one answer for every string, since these rules hold throughout:

- Numbers alone are day first: 3/4/1987 is the 3rd of April. Only where the first number is a
  year in four digits do month and day follow it: 1987/4/3.
- Where the month is a name, a year comes last, or first in four digits: "14 Feb 06" is in 2006.
- A year in two digits lies in 1950-2049: 87 is 1987, 06 is 2006.
- A weekday is always the right one, so it adds nothing.
"""

import datetime
import string
from collections.abc import Iterable

import numpy as np

from ..core.arrays import Array

FIRST, LAST = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)
NUM_DATES = (LAST - FIRST).days + 1  # 36,525

# d: day, 3 or 03          th: day as an ordinal, 3rd      w: weekday, or nothing
# m: month, 4 or 04        month: name, Sept or Sep. too   mon: name, without a dot
# year: four digits        yy: four or two digits          y: four, two, or two behind a '
FORMS = (
    "{w}{d}/{m}/{yy}",
    "{w}{d}.{m}.{yy}",
    "{w}{d}-{m}-{yy}",
    "{w}{year}-{m}-{d}",
    "{w}{year}/{m}/{d}",
    "{w}{d} {month} {y}",
    "{w}{d} {month}, {y}",
    "{w}{d}. {month} {y}",
    "{w}{d}-{mon}-{yy}",
    "{w}{th} {month} {y}",
    "{w}{th} {month}, {y}",
    "{w}{th} of {month} {y}",
    "{w}{th} of {month}, {y}",
    "{w}the {th} of {month} {y}",
    "{w}the {th} of {month}, {y}",
    "{w}{month} {d} {y}",
    "{w}{month} {d}, {y}",
    "{w}{month} {th} {y}",
    "{w}{month} {th}, {y}",
    "{w}{month} the {th}, {y}",
    "{w}{year} {month} {d}",
)
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SHORT_WEEKDAYS = ("Mon", "Tues", "Wed", "Thurs", "Fri", "Sat", "Sun")  # and in three letters
CHARACTERS = " ',-./" + string.digits + string.ascii_letters

_CHOICES = 6  # what is drawn for each date, besides its form


def date(index: int) -> datetime.date:
    """Return a date by its number, from 0 for 1950-01-01 to `NUM_DATES` - 1."""
    return FIRST + datetime.timedelta(days=index)


def ordinal(day: int) -> str:
    """Return 1st, 2nd, 3rd, 4th, ..., 11th, 12th, 13th, ..., 21st, ...

    Examples
    --------
    >>> [ordinal(day) for day in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30)]
    ['1st', '2nd', '3rd', '4th', '11th', '12th', '13th', '21st', '22nd', '23rd', '30th']
    """
    ending = "th" if day in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"


def write(day: datetime.date, form: int, choices: Iterable[int]) -> str:
    """Write a date in one of many ways.

    Parameters
    ----------
    day : datetime.date
    form : int
        Index into `FORMS`.
    choices : iterable of int
        Six integers, each of which picks among the spellings there are: weekday, padding,
        month, its dot, year, capitals.

    Returns
    -------
    str

    Examples
    --------
    >>> write(datetime.date(2006, 2, 14), 5, [6, 1, 1, 1, 1, 0])
    'Tue 14 Feb 06'
    """
    weekday, padding, month, dot, year, case = choices
    name, weekday_name = MONTHS[day.month - 1], WEEKDAYS[day.weekday()]
    # Half of all dates have no weekday.
    weekdays = (weekday_name, weekday_name[:3], SHORT_WEEKDAYS[day.weekday()])
    w = weekdays[weekday // 4 % 3] + ", " * (weekday % 2) + " " * (1 - weekday % 2)
    short = "Sept" if day.month == 9 and dot % 2 else name[:3]
    mon = (name, short)[month % 2]
    full, two = f"{day.year}", f"{day.year % 100:02}"
    pad = "02" if padding % 2 else ""
    text = FORMS[form].format(
        w=w if weekday % 4 >= 2 else "",
        d=format(day.day, pad),
        th=ordinal(day.day),
        m=format(day.month, pad),
        month=mon + "." * (mon != name and dot % 3 == 0),
        mon=mon,
        year=full,
        yy=(full, two)[year % 2],
        y=(full, two, "'" + two)[year % 3],
    )
    return (text, text, text.lower(), text.upper())[case % 4]


def write_all(indices: Array, rng: np.random.Generator) -> list[str]:
    """Write each of the dates with these numbers in a way of its own, drawn from `rng`."""
    forms = rng.integers(len(FORMS), size=len(indices)).tolist()
    choices = rng.integers(1 << 20, size=(len(indices), _CHOICES)).tolist()
    return [
        write(date(i), form, draw)
        for i, form, draw in zip(indices.tolist(), forms, choices, strict=True)
    ]
