"""Configurations as JSON and back: every kind of field, and what is refused."""

import json
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from npformer.training.configs import build_config, config_fields


@dataclass(frozen=True)
class Inner:
    width: int
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    inner: Inner
    other: Inner | None
    sizes: tuple[int, ...]
    pair: tuple[int, str]
    kind: Literal["a", "b", 1]
    either: int | str
    free: Any
    flag: bool


WHOLE = Outer(Inner(3), None, (1, 2), (1, "x"), "b", "e", [1], True)


def fields(**changes):
    return {**json.loads(json.dumps(config_fields(WHOLE))), **changes}


def test_it_comes_back_as_it_was():
    assert build_config(Outer, fields()) == WHOLE
    other = build_config(Outer, fields(other={"width": 1, "rate": 2}, either=4, kind=1, sizes=[]))
    assert (other.other, other.either, other.kind, other.sizes) == (Inner(1, 2), 4, 1, ())


def test_what_is_no_dataclass_has_no_fields():
    assert config_fields(None) is config_fields(Inner) is config_fields({"a": 1}) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inner": 3}, "config.inner is 3; expected an object with the fields of it"),
        ({"inner": {"width": 1}}, r"config.inner does not fit Inner: missing fields \['rate'\]"),
        ({"inner": {"width": True, "rate": 1}}, "config.inner.width is True; expected int"),
        ({"inner": {"width": 1, "rate": False}}, "config.inner.rate is False; expected float"),
        ({"other": {"width": 1, "rate": "x"}}, "config.other is {.*}; expected .*Inner"),
        ({"sizes": [1, "x"]}, r"config.sizes\[1\] is 'x'; expected int"),
        ({"sizes": 1}, "config.sizes is 1; expected tuple"),
        ({"pair": [1]}, r"config.pair is \[1\]; expected tuple"),
        ({"kind": "c"}, "config.kind is 'c'; expected .*Literal"),
        ({"kind": True}, "config.kind is True; expected"),
        ({"either": 1.5}, r"config.either is 1.5; expected int \| str"),
        ({"either": ["long"] * 50}, "config.either is a list; expected"),
        ({"flag": 1}, "config.flag is 1; expected bool"),
        ({"flag": None}, "config.flag is None; expected bool"),
        ({"more": 1}, r"missing fields \[\], unknown fields \['more'\]"),
    ],
)
def test_what_does_not_fit_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        build_config(Outer, fields(**changes))
