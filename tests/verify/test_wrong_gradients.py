"""Every wrong gradient is refused with the right diagnosis, and its correct twin is accepted.

All of them by the default way, but of stacks of layers one each, along directions; by the other
ways one of each subject. benchmarks/gradcheck_reliability.py has everything by every way.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from verify.wrong_gradients import NAMES, OPERATIONS, WRONG, anywhere, check, subjects

from npformer import catalogue, models

SEEDS = range(2)  # of operations; layers take their time
STACKS = ("Encoder:", "Decoder:", "Checkpoint")  # so much that some ways are left out
QUICK = [name for name in WRONG if not name.startswith(STACKS)]
TWINS = list({case.example: name for name, case in WRONG.items()}.values())


def seeds_of(name):
    return SEEDS if name[0].islower() else SEEDS[:1]


def test_every_operation_and_every_layer_has_a_wrong_gradient():
    assert len(WRONG) >= 60
    due = {e.subject for e in catalogue.examples() if e.subject not in models.__all__}
    assert due <= subjects()


DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_family_is_explained():
    page = (DOCS / "checking-your-own.md").read_text(encoding="utf-8")
    section = page.partition("## What a diagnosis says")[2].partition("Families of conduct")
    rows = re.findall(r"^\| ([^|]*) \|", section[0], re.M)
    table = {family for row in rows for family in row.split(", ")}
    conduct = set(re.findall(r"\*([a-z ]+)\*", section[2].partition("## ")[0]))
    assert set.union(*(set(case.families) for case in WRONG.values())) <= table | conduct


def test_how_many_have_no_diagnosis_is_what_the_page_says():
    page = (DOCS / "gradient-checking.md").read_text(encoding="utf-8")
    without = sum("unrelated" in case.families for case in WRONG.values())
    assert f", {without} in {len(WRONG)}." in " ".join(page.split())
    assert all(
        case.families == {"unrelated"} for case in WRONG.values() if "unrelated" in case.families
    )


@pytest.mark.parametrize("name", [name for name in TWINS if name not in QUICK])
def test_wrong_is_refused_in_stacks_of_layers(name):
    assert check(WRONG[name], 0, wrong=True, mode="fast").verdict == "fail"


@pytest.mark.parametrize("name", QUICK)
def test_wrong_is_refused_with_the_right_diagnosis(name):
    case = WRONG[name]
    for seed in seeds_of(name):
        report = check(case, seed, wrong=True)
        assert report.verdict == "fail", report
        assert report.families & case.families, f"{report}\nfamilies: {report.families}"


@pytest.mark.parametrize("name", [name for name in NAMES if name[0].islower()])
def test_any_gradient_that_is_wrong_is_refused_with_the_right_diagnosis(name):
    case = anywhere(name, 2)
    report = check(case, 2, wrong=True)
    assert report.verdict == "fail", report
    assert report.families & case.families, f"{report}\nfamilies: {report.families}"


@pytest.mark.parametrize("name", [name for name in QUICK if name in TWINS])
def test_wrong_is_refused_along_random_directions_with_the_right_diagnosis(name):
    report = check(WRONG[name], 3, wrong=True, mode="fast")
    assert report.verdict == "fail", report
    assert report.families & WRONG[name].families, f"{report}\nfamilies: {report.families}"


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name in TWINS])
def test_wrong_is_refused_by_central_differences(name):
    report = check(WRONG[name], 0, wrong=True, method="central")
    assert report.verdict == "fail", report


@pytest.mark.parametrize("name", TWINS)
def test_the_correct_twin_is_accepted(name):
    case = WRONG[name]
    ways = {"mode": "fast"}, {"method": "central", "mode": "fast"}
    for seed, how in zip(seeds_of(name), ways, strict=False):
        report = check(case, seed, wrong=False, **how)
        assert report.ok, report
        assert not report.families


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name in TWINS])
def test_the_correct_twin_is_accepted_in_float32(name):
    assert check(WRONG[name], 1, wrong=False, dtype=np.float32).ok
