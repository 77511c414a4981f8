"""Every wrong gradient is refused with the right diagnosis, and its correct twin is accepted."""

import numpy as np
import pytest
from verify.wrong_gradients import WRONG

from npformer import gradcheck

SEEDS = range(4)


def draw(case, seed):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in case.shapes]


@pytest.mark.parametrize("name", WRONG)
def test_wrong_is_refused_with_the_right_diagnosis(name):
    case = WRONG[name]
    for seed in SEEDS:
        report = gradcheck((case.forward, case.wrong), *draw(case, seed), seed=seed)
        assert report.verdict == "fail", report
        assert report.families & case.families, f"{report}\nfamilies: {report.families}"


@pytest.mark.parametrize("name", WRONG)
def test_wrong_is_refused_along_random_directions(name):
    case = WRONG[name]
    for seed in SEEDS:
        report = gradcheck((case.forward, case.wrong), *draw(case, seed), seed=seed, mode="fast")
        assert report.verdict == "fail", report


@pytest.mark.parametrize("name", WRONG)
def test_wrong_is_refused_by_central_differences(name):
    case = WRONG[name]
    report = gradcheck((case.forward, case.wrong), *draw(case, 0), method="central")
    assert report.verdict == "fail", report


@pytest.mark.parametrize("name", WRONG)
def test_the_correct_twin_is_accepted(name):
    case = WRONG[name]
    for seed in SEEDS:
        for how in ({}, {"mode": "fast"}, {"method": "central"}):
            report = gradcheck((case.forward, case.right), *draw(case, seed), seed=seed, **how)
            assert report.ok, report
            assert not report.families


@pytest.mark.parametrize("name", WRONG)
def test_the_correct_twin_is_accepted_in_float32(name):
    case = WRONG[name]
    inputs = [x.astype(np.float32) for x in draw(case, 1)]
    assert gradcheck((case.forward, case.right), *inputs).ok
