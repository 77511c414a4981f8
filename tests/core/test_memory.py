"""Freed memory is kept where the C library can be told so, and nothing breaks where it cannot."""

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from npformer.core import keep_freed_memory

ON_GLIBC = platform.libc_ver()[0] == "glibc"

FAULTS = """
import resource
import numpy as np
import npformer.core

def step():
    return sum(float(np.ones(5_000_000)[0]) for _ in range(3))  # 40 MB each

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def printed(code, keep):
    environment = os.environ | {"NPFORMER_KEEP_MEMORY": keep}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(("keep", "expected"), [("1", ON_GLIBC), ("", ON_GLIBC), ("0", False)])
def test_the_settings_are_taken_unless_opted_out(keep, expected):
    code = "from npformer.core import keep_freed_memory; print(keep_freed_memory())"
    assert printed(code, keep) == str(expected)


def test_large_arrays_come_from_memory_that_is_already_there():
    if ON_GLIBC:
        kept, given_back = (int(printed(FAULTS, keep)) for keep in "10")
        assert kept <= given_back / 4


class Libc:
    """A C library with or without glibc's marks, which notes what it is told."""

    def __init__(self, *, glibc=True, answers=(1, 1, 1)):
        self.told = []
        answers = iter(answers)

        def mallopt(which, value):
            self.told.append((which, value))
            return next(answers)

        self.mallopt = mallopt
        if glibc:
            self.gnu_get_libc_version = None


@pytest.mark.parametrize(
    ("libc", "expected"),
    [
        (Libc(), True),
        (Libc(answers=(0, 1, 1)), False),
        (Libc(answers=(1, 1, 0)), False),
    ],
)
def test_all_three_settings_are_made_even_if_one_fails(libc, expected, monkeypatch):
    monkeypatch.delenv("NPFORMER_KEEP_MEMORY", raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    assert keep_freed_memory() is expected
    assert libc.told == [(-1, -1), (-4, 0), (-8, 1)]  # trim never, mmap never, one arena


def raising(error):
    def load(name):
        raise error

    return load


@pytest.mark.parametrize(
    "load",
    [
        raising(TypeError("bad argument type for built-in operation")),  # Windows
        raising(OSError("no library")),
        lambda name: Libc(glibc=False),
        lambda name: type("Musl", (), {"gnu_get_libc_version": None})(),
    ],
)
def test_other_c_libraries_are_left_alone(load, monkeypatch):
    monkeypatch.delenv("NPFORMER_KEEP_MEMORY", raising=False)
    monkeypatch.setattr(ctypes, "CDLL", load)
    assert keep_freed_memory() is False


@pytest.mark.parametrize("wish", ["0", "false", "No", "OFF", " off "])
def test_opting_out_does_not_even_look(wish, monkeypatch):
    monkeypatch.setenv("NPFORMER_KEEP_MEMORY", wish)
    monkeypatch.setattr(ctypes, "CDLL", raising(AssertionError))
    assert keep_freed_memory() is False


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("wish", ["1", "True", "YES", "on", ""])
def test_asking_for_what_is_done_anyway_is_understood(wish, monkeypatch):
    monkeypatch.setenv("NPFORMER_KEEP_MEMORY", wish)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Libc())
    assert keep_freed_memory() is True


def test_what_is_neither_yes_nor_no_is_warned_of(monkeypatch):
    monkeypatch.setenv("NPFORMER_KEEP_MEMORY", "nope")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Libc())
    with pytest.warns(RuntimeWarning, match="NPFORMER_KEEP_MEMORY is 'nope'; expected one of 0"):
        assert keep_freed_memory() is True


def test_not_even_where_warnings_are_errors_does_an_import_fail():
    environment = os.environ | {"NPFORMER_KEEP_MEMORY": "nope"}
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", "import npformer.core"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr.startswith("npformer: the environment variable NPFORMER_KEEP_MEMORY is")
