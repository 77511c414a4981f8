"""The number of BLAS threads, with threadpoolctl and NumPy's own BLAS."""

import numpy as np
import threadpoolctl

from npformer.core.threads import blas_threads


def counts():
    np.ones((2, 2)) @ np.ones((2, 2))
    libraries = threadpoolctl.threadpool_info()
    return [library["num_threads"] for library in libraries if library["user_api"] == "blas"]


def test_blas_runs_on_one_thread_inside_and_as_before_outside():
    before = counts()
    assert before
    with blas_threads(1) as done:
        assert done
        assert set(counts()) == {1}
    assert counts() == before
