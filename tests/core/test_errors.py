"""The errors that are npformer's own."""

import sys

import pytest

from npformer.core import CheckpointError, GradientError, MissingExtraError, NonFiniteError
from npformer.core.errors import optional


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (GradientError, AssertionError),
        (NonFiniteError, FloatingPointError),
        (CheckpointError, ValueError),
        (MissingExtraError, ImportError),
    ],
)
def test_they_can_be_caught_as_what_they_are(error, base):
    assert issubclass(error, base)


def test_an_optional_package_that_is_there_is_returned():
    assert optional("json.decoder", extra="cli", purpose="read") is sys.modules["json.decoder"]


def test_an_optional_package_that_is_missing_says_what_for_and_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError) as caught:
        optional("matplotlib.pyplot", extra="cli", purpose="draw pictures")
    assert str(caught.value) == (
        "matplotlib is needed to draw pictures; install it with: pip install 'npformer[cli]'"
    )
    assert isinstance(caught.value.__cause__, ImportError)
