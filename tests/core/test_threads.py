"""The number of BLAS threads: set where threadpoolctl is there, left alone where it is not."""

import sys
import types

import pytest

from npformer.core import threads


@pytest.fixture(autouse=True)
def forget():
    threads._controller.cache_clear()
    yield
    threads._controller.cache_clear()


def test_without_threadpoolctl_nothing_is_changed(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with threads.blas_threads(1) as done:
        assert done is False


def test_the_limit_holds_inside_and_is_lifted_outside(monkeypatch):
    class Controller:
        made = 0
        limits: tuple = ()

        def __init__(self):
            Controller.made += 1

        def limit(self, *, limits, user_api):
            Controller.limits = (limits, user_api)
            return self

        def __enter__(self):
            return self

        def __exit__(self, *_):
            Controller.limits = ()

    module = types.SimpleNamespace(ThreadpoolController=Controller)
    monkeypatch.setitem(sys.modules, "threadpoolctl", module)
    for _ in range(2):
        with threads.blas_threads(1) as done:
            assert done is True
            assert Controller.limits == (1, "blas")
        assert Controller.limits == ()
    assert Controller.made == 1  # the search for libraries is done once
