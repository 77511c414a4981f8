"""Threads: how many, what `each` promises, and BLAS, which has one setting for all of them."""

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
import types
import warnings

import numpy as np
import pytest

import npformer
from npformer.core import threads

LINUX = sys.platform == "linux"


class Controller:
    """What threadpoolctl would be: it keeps which limits hold, the outermost first."""

    made = 0
    held: tuple = ()

    def __init__(self):
        Controller.made += 1

    @contextlib.contextmanager
    def limit(self, *, limits, user_api):
        before = Controller.held
        Controller.held = (*before, (limits, user_api))
        try:
            yield
        finally:
            Controller.held = before


@pytest.fixture(autouse=True)
def stub(monkeypatch):
    """threadpoolctl is there, and nothing else in the process is touched."""
    module = types.SimpleNamespace(ThreadpoolController=Controller)
    monkeypatch.setitem(sys.modules, "threadpoolctl", module)
    monkeypatch.setattr(threads, "_switch", threads._Switch())
    Controller.made, Controller.held = 0, ()
    threads._controller.cache_clear()
    threads._pool.cache_clear()
    yield
    threads._controller.cache_clear()
    threads._pool.cache_clear()


@pytest.fixture
def missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)


# How many


def test_the_number_is_set_for_the_process():
    for count in (3, 1, 2):
        npformer.set_num_threads(count)
        assert npformer.num_threads() == count


@pytest.mark.parametrize(
    ("count", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (2.0, TypeError),
        ("2", TypeError),
        (None, TypeError),
        (True, TypeError),
    ],
)
def test_a_number_that_is_none_is_refused_and_changes_nothing(count, error):
    npformer.set_num_threads(3)
    with pytest.raises(error, match=r"set_num_threads: count is .*; expected a positive int"):
        npformer.set_num_threads(count)
    assert npformer.num_threads() == 3


def count_in_a_new_process(text):
    """What `num_threads` says there, or the last line of its complaint."""
    environment = {k: v for k, v in os.environ.items() if k != "NPFORMER_NUM_THREADS"}
    environment |= {} if text is None else {"NPFORMER_NUM_THREADS": text}
    command = [sys.executable, "-c", "import npformer; print(npformer.num_threads())"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr.splitlines()[-1]).strip()


def test_the_environment_gives_the_number_at_the_start():
    assert count_in_a_new_process("5") == "5"
    cores = len(os.sched_getaffinity(0)) if LINUX else os.cpu_count()
    assert count_in_a_new_process(None) == str(cores)
    said = "ValueError: NPFORMER_NUM_THREADS is '0'; expected a number of threads, 1 or more"
    assert count_in_a_new_process("0") == said


@pytest.mark.parametrize("text", ["0", "", "-1", "two", "1.5", " 2"])
def test_an_environment_that_says_no_number_is_refused(monkeypatch, text):
    monkeypatch.setenv("NPFORMER_NUM_THREADS", text)
    said = re.escape(f"NPFORMER_NUM_THREADS is {text!r}; expected a number of threads, 1 or more")
    with pytest.raises(ValueError, match=said):
        npformer.num_threads()


def test_the_environment_is_read_once_and_what_is_set_has_the_last_word(monkeypatch):
    monkeypatch.setenv("NPFORMER_NUM_THREADS", "4")
    assert npformer.num_threads() == 4
    monkeypatch.setenv("NPFORMER_NUM_THREADS", "6")
    assert npformer.num_threads() == 4
    npformer.set_num_threads(2)
    assert npformer.num_threads() == 2


def test_where_affinity_is_unknown_all_cores_count(monkeypatch):
    monkeypatch.delenv("NPFORMER_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for cores, count in ((7, 7), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        monkeypatch.setattr(threads._switch, "count", None)
        assert npformer.num_threads() == count


# Pieces of work


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_the_order_of_the_items(count):
    npformer.set_num_threads(count)

    def late(i):  # the first is done last
        time.sleep(0.002 * (5 - i))
        return i * i

    assert threads.each(late, iter(range(5))) == [0, 1, 4, 9, 16]
    assert threads.each(late, []) == []
    assert threads.each(late, [4]) == [16]


def test_as_many_work_at_once_as_are_set_and_no_more():
    npformer.set_num_threads(3)
    together = threading.Barrier(3)  # broken, and an error, if fewer than three ever meet

    def meet(_):
        together.wait(30)
        return threading.current_thread().name

    names = threads.each(meet, range(6))
    assert len(set(names)) == 3
    assert all(name.startswith("npformer") for name in names)
    npformer.set_num_threads(2)
    working, most, lock = [], [], threading.Lock()

    def count(i):
        with lock:
            working.append(i)
            most.append(len(working))
        time.sleep(0.002)
        with lock:
            working.remove(i)

    threads.each(count, range(8))
    assert max(most) <= 2


def test_one_thread_or_one_item_stays_on_the_thread_that_asks():
    def where(_):
        return threading.current_thread(), Controller.held

    npformer.set_num_threads(4)
    assert threads.each(where, [0]) == [(threading.current_thread(), ())]
    assert Controller.made == 0
    npformer.set_num_threads(1)  # then BLAS is to have one thread as well
    assert threads.each(where, range(3)) == [(threading.current_thread(), ((1, "blas"),))] * 3
    assert Controller.held == ()


@pytest.mark.parametrize("count", [1, 3])
def test_the_first_item_s_error_is_raised_as_it_is(count):
    npformer.set_num_threads(count)
    errors = [None, LookupError("one"), ValueError("two"), None]

    def fail(i):
        time.sleep(0.004 if i == 1 else 0)  # the second error is there before the first
        if errors[i]:
            raise errors[i]

    with pytest.raises(LookupError, match="one") as raised:
        threads.each(fail, range(4))
    assert raised.value is errors[1]
    names = [entry.name for entry in raised.traceback]
    assert "fail" in names  # with the place where it happened
    assert threads._switch.holders == 0
    assert Controller.held == ()
    assert threads.each(str, range(2)) == ["0", "1"]


def test_after_an_error_nothing_is_begun_and_what_was_begun_has_ended():
    npformer.set_num_threads(2)
    begun, ended, meet = [], [], threading.Barrier(2)

    def work(i):
        begun.append(i)
        if i < 2:
            meet.wait(30)
        if i == 0:
            raise LookupError
        time.sleep(0.05)
        ended.append(i)

    with pytest.raises(LookupError):
        threads.each(work, range(20))
    assert len(begun) < 10
    assert sorted(begun) == [0, *sorted(ended)]


def test_the_caller_s_errstate_holds_in_every_thread():
    npformer.set_num_threads(2)

    def divide(_):
        return np.ones(3) / np.zeros(3)

    with np.errstate(divide="ignore"):
        assert np.isinf(threads.each(divide, range(4))).all()
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        threads.each(divide, range(4))

    def change(_):
        np.seterr(all="ignore")

    before = np.geterr()
    threads.each(change, range(4))
    assert np.geterr() == before
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        threads.each(divide, range(4))  # no thread keeps what another piece set


def test_work_inside_of_spread_work_is_not_spread_again():
    npformer.set_num_threads(2)

    def outer(_):
        own = threading.current_thread()
        inner = threads.each(lambda _: threading.current_thread(), range(5))
        return npformer.num_threads(), set(inner) == {own}

    assert threads.each(outer, range(2)) == [(1, True)] * 2
    assert npformer.num_threads() == 2
    assert threads.each(lambda _: npformer.num_threads(), [0]) == [2]  # one item is not spread


def test_another_number_takes_another_pool():
    for count in (2, 3, 2):
        npformer.set_num_threads(count)
        names = threads.each(lambda _: threading.current_thread().name, range(12))
        assert len(set(names)) <= count
        assert threads._pool(count)._max_workers == count


# BLAS


def test_without_threadpoolctl_nothing_is_changed(missing):
    with threads.blas_threads(1) as done:
        assert done is False


def test_the_limit_holds_inside_and_is_lifted_outside():
    for count in (1, 3):
        with threads.blas_threads(count) as done:
            assert done is True
            assert Controller.held == ((count, "blas"),)
        assert Controller.held == ()
    with pytest.raises(LookupError), threads.blas_threads(1):
        raise LookupError
    assert Controller.held == ()
    assert Controller.made == 1  # the search for libraries is done once


def test_blas_has_one_thread_while_work_is_spread():
    npformer.set_num_threads(2)
    assert threads.each(lambda _: Controller.held, range(3)) == [((1, "blas"),)] * 3
    assert Controller.held == ()
    with threads.blas_threads(2):
        threads.each(lambda _: None, range(3))
        assert Controller.held == ((2, "blas"),)


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_who_overlap_the_last_lifts_the_limit(first):
    """Whoever ends first, BLAS stays at one thread for the other, and is then as it was before."""
    npformer.set_num_threads(2)
    both, ends = threading.Barrier(3), [threading.Event(), threading.Event()]
    held, errors = [], []

    def work(me, i):
        if i == 0:
            both.wait(30)
            ends[me].wait(30)
        held.append(Controller.held)

    def caller(me):
        try:
            threads.each(lambda i: work(me, i), range(2))
        except BaseException as error:
            errors.append(error)

    threads._pool(2)  # one pool for both, whose two threads are each one's first piece
    callers = [threading.Thread(target=caller, args=(me,)) for me in range(2)]
    callers[0].start()
    callers[1].start()
    both.wait(30)
    assert threads._switch.holders == 2
    assert Controller.held == ((1, "blas"),)
    ends[first].set()
    callers[first].join(30)
    assert threads._switch.holders == 1
    assert Controller.held == ((1, "blas"),)
    ends[1 - first].set()
    callers[1 - first].join(30)
    assert not errors
    assert set(held) == {((1, "blas"),)}
    assert threads._switch.holders == 0
    assert threads._switch.lift is None
    assert Controller.held == ()


def test_a_limit_that_cannot_be_set_leaves_nothing_behind(monkeypatch):
    npformer.set_num_threads(2)

    def broken(self, **_):
        raise OSError("no such library")

    with monkeypatch.context() as patch:
        patch.setattr(Controller, "limit", broken)
        with pytest.raises(OSError, match="no such library"):
            threads.each(str, range(2))
    assert (threads._switch.holders, threads._switch.lift) == (0, None)
    assert threads.each(str, range(2)) == ["0", "1"]


def test_without_threadpoolctl_nothing_is_spread_and_that_is_said_once(missing):
    npformer.set_num_threads(2)
    own = threading.current_thread()
    with pytest.warns(RuntimeWarning, match=r"one thread: .*pip install 'npformer\[fast\]'"):
        assert threads.each(lambda _: threading.current_thread(), range(3)) == [own] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert threads.each(lambda _: threading.current_thread(), range(3)) == [own] * 3
    assert (threads._switch.holders, threads._switch.lift) == (0, None)


def test_who_wants_one_thread_is_told_nothing(missing):
    npformer.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        threads.each(str, range(3))


# Forks

FORK = """
import os, sys, threading, time, types
import contextlib

class Controller:
    def limit(self, **_):
        return contextlib.nullcontext()

sys.modules["threadpoolctl"] = types.SimpleNamespace(ThreadpoolController=Controller)
import npformer
from npformer.core import threads

npformer.set_num_threads(2)
assert threads.each(abs, [-1, -2, -3]) == [1, 2, 3]

def in_a_child(when):
    child = os.fork()
    if child == 0:
        ok = threads.each(abs, [-4, -5, -6]) == [4, 5, 6]
        ok = ok and (threads._switch.holders, threads._switch.lift) == (0, None)
        os._exit(0 if ok else 1)
    for _ in range(2000):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert status == 0, when
            return
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise SystemExit(f"the child hangs: {when}")

in_a_child("when idle")
started, go = threading.Barrier(3), threading.Event()

def wait(_):
    started.wait()
    go.wait()

busy = threading.Thread(target=threads.each, args=(wait, [1, 2]))
busy.start()
started.wait()
in_a_child("while others work")
threads._switch.lock.acquire()
in_a_child("while another holds the lock")
threads._switch.lock.release()
go.set()
busy.join()
assert threads.each(abs, [-1, -2, -3]) == [1, 2, 3]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_a_pool_of_its_own():
    """Of its parent's threads there are none in a child: to wait for them would be for ever."""
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
