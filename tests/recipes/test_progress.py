"""Progress: plain lines, a bar on a terminal, and no tqdm."""

import io

import pytest
from support.recipes import Terminal, make_progress

from npformer.recipes import _progress
from npformer.recipes._progress import duration


@pytest.fixture
def no_tqdm(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tqdm", None)  # import tqdm: ImportError


@pytest.fixture
def slow_clock(monkeypatch):
    """Every look at the clock finds it three seconds on."""
    now = iter(range(0, 10_000, 3))
    monkeypatch.setattr(_progress.time, "monotonic", lambda: next(now))


def test_plain_lines_every_five_seconds_and_at_the_end(slow_clock):
    assert make_progress(io.StringIO()).splitlines() == [
        "step 2/4  loss 3.000  0.3 steps/s  0:06 left",
        "half way",
        "step 4/4  loss 1.000  0.3 steps/s  0:00 left",
    ]


def test_a_resumed_run_counts_on_and_its_speed_is_that_of_the_new_steps(slow_clock):
    assert (
        make_progress(io.StringIO(), done=2)
        .splitlines()[-1]
        .startswith("step 4/4  loss 1.000  0.3 steps")
    )


def test_a_quick_run_has_one_line():
    lines = make_progress(io.StringIO()).splitlines()
    assert lines[0] == "half way"
    assert len(lines) == 2


def test_a_terminal_without_tqdm_gets_plain_lines(no_tqdm):
    assert "step 4/4  loss 1.000" in make_progress(Terminal())


def test_duration():
    assert [duration(s) for s in (0, 59.4, 59.6, 83, 3599, 3600, 3725)] == (
        ["0:00", "0:59", "1:00", "1:23", "59:59", "1:00:00", "1:02:05"]
    )
