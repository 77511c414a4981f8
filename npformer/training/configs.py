"""A model's configuration as JSON and back, field by field, believing nothing of what is read."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_SCALARS = (bool, int, str, type(None))


def config_fields(config: Any) -> dict[str, Any] | None:
    """Return a configuration's fields, nested ones as dicts; None for what is no dataclass."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return dataclasses.asdict(config)
    return None


def build_config(config_type: type, fields: Any, where: str = "config") -> Any:
    """Build a configuration from what a header says.

    Parameters
    ----------
    config_type : type
        A dataclass.
    fields : object
        From JSON: to be a dict with exactly the dataclass's fields, each of its annotated type.
    where : str, optional
        What to call it in messages.

    Returns
    -------
    instance of `config_type`

    Raises
    ------
    ValueError, TypeError
        If fields are missing, unknown or of another type, or the configuration refuses them.
    """
    if not isinstance(fields, Mapping):
        raise ValueError(f"{where} is {_kind(fields)}; expected an object with the fields of it")
    known = [field.name for field in dataclasses.fields(config_type) if field.init]
    unknown = sorted(set(fields) - set(known))
    missing = [name for name in known if name not in fields]
    if unknown or missing:
        raise ValueError(
            f"{where} does not fit {config_type.__name__}: missing fields {missing}, unknown "
            f"fields {unknown}"
        )
    hints = get_type_hints(config_type)
    return config_type(
        **{name: _value(fields[name], hints[name], f"{where}.{name}") for name in known}
    )


def _value(value: Any, hint: Any, where: str) -> Any:
    """Return `value` as `hint` wants it: lists as tuples, objects as dataclasses."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if hint in _SCALARS:
        if type(value) is hint:
            return value
    elif hint is float:
        if type(value) in (int, float):
            return value
    elif origin in (Union, types.UnionType):
        for option in arguments:
            try:
                return _value(value, option, where)
            except ValueError:
                continue
    elif origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build_config(hint, value, where)
    elif origin is tuple and isinstance(value, list):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            arguments = (arguments[0],) * len(value)
        if len(arguments) == len(value):
            pairs = enumerate(zip(value, arguments, strict=True))
            return tuple(_value(item, wanted, f"{where}[{i}]") for i, (item, wanted) in pairs)
    raise ValueError(f"{where} is {_kind(value)}; expected {getattr(hint, '__name__', hint)}")


def _kind(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"
