"""The number of BLAS threads, with threadpoolctl and NumPy's own BLAS."""

import os
import subprocess
import sys

import numpy as np
import pytest
import threadpoolctl

import npformer
import npformer.functional as F
from npformer import masks
from npformer.core import threads
from npformer.core.threads import blas_threads


def counts():
    np.ones((2, 2)) @ np.ones((2, 2))
    libraries = threadpoolctl.threadpool_info()
    return [library["num_threads"] for library in libraries if library["user_api"] == "blas"]


@pytest.fixture
def two(monkeypatch):
    """Two threads, over a BLAS that had two of its own."""
    monkeypatch.setattr(threads._switch, "count", 2)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        assert set(counts()) == {2}
        yield


def test_blas_runs_on_one_thread_inside_and_as_before_outside():
    before = counts()
    assert before
    with blas_threads(1) as done:
        assert done
        assert set(counts()) == {1}
    assert counts() == before


def test_blas_runs_on_one_thread_while_work_is_spread(two):
    found = threads.each(lambda _: counts(), range(4))
    assert {count for each in found for count in each} == {1}
    assert set(counts()) == {2}


def test_blas_is_as_before_after_an_error(two):
    def fail(i):
        assert set(counts()) == {1}
        if i == 1:
            raise LookupError(i)

    with pytest.raises(LookupError):
        threads.each(fail, range(4))
    assert set(counts()) == {2}


def test_attention_on_two_threads(two):
    """Long enough to be spread by itself, with the real tiles; by one thread the same bits."""
    rng = np.random.default_rng(0)
    q, k, v, dy = rng.standard_normal((4, 4, 400, 8))
    seen = []

    class Watch(masks.Mask):
        def holds(self, lead, rows, columns):
            seen.append(counts())
            return columns.numbers <= rows.numbers[:, None]

        def check(self, shape):
            pass

        def leaves(self):
            yield self

    results = []
    for count in (2, 1):
        threads._switch.count = count
        y, saved = F.attention(q, k, v, mask=Watch())
        results.append([y, *F.attention_backward(dy, saved)[:3]])
        if count == 2:
            assert {c for found in seen for c in found} == {1}
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
    assert set(counts()) == {2}


def test_a_forked_child_can_spread_work():
    script = (
        "import os, npformer\n"
        "from npformer.core.threads import each\n"
        "import numpy as np\n"
        "npformer.set_num_threads(2)\n"
        "work = lambda i: float((np.ones((50, 50)) @ np.ones((50, 50)))[i, i])\n"
        "assert each(work, range(4)) == [50.0] * 4\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(int(each(work, range(4)) != [50.0] * 4))\n"
        "raise SystemExit(os.waitpid(child, 0)[1])\n"
    )
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    command = [sys.executable, "-W", "ignore", "-c", script]
    assert subprocess.run(command, timeout=120, check=False).returncode == 0
    assert npformer.num_threads() >= 1
