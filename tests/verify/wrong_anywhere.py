"""Errors that any gradient can have, in every example of the catalogue in turn."""

import numpy as np
from verify.cases import Case, of_catalogue, right, spoil_layer

from npformer import Layer, catalogue, models


def _off_by_a_millionth(g):
    return g * (1 + 1e-6)


def _largest_entry_off(g):
    g = g.copy()
    g.flat[np.argmax(np.abs(g))] *= 1.001
    return g


def _random_entry_off(g):
    """One of the entries that are not tiny; the same one at every call, for it is a function."""
    g = g.copy()
    due = np.flatnonzero(np.abs(g) > 1e-3 * np.max(np.abs(g), initial=0.0))
    g.flat[due[len(due) // 3]] *= 1.01
    return g


VALUES = {
    "sign": (np.negative, "sign"),
    "doubled": (lambda g: g * 2, "factor"),
    "off by 1e-6": (_off_by_a_millionth, "factor"),
    "one entry off by 0.1 %": (_largest_entry_off, "one index", "factor"),  # if there is one
    "another entry off by 1 %": (_random_entry_off, "one index", "factor"),
    "zero": (np.zeros_like, "zero"),
}
CONDUCT = {
    "writes to dy": ("mutated",),
    "writes to saved": ("mutated",),
    "overwrites": ("not accumulated",),
}
ERRORS = [*VALUES, *CONDUCT]
NAMES = [e.name for e in catalogue.examples() if e.subject not in models.__all__]


def anywhere(name, seed):
    """One wrong twin of an example; which error it has depends on the seed."""
    error = ERRORS[(NAMES.index(name) + seed) % len(ERRORS)]
    families = VALUES[error][1:] if error in VALUES else CONDUCT[error]

    def spoil(example):
        return _spoilt(example, error, np.random.default_rng(seed))

    if error == "overwrites" and not _has_parameters(name):
        error, families = "sign", ("sign",)
    if error == "writes to dy" and np.ndim(of_catalogue(name)(seed).forward()[0]) == 0:
        error, families = "writes to saved", ("mutated",)  # a scalar's dy is no array
    if error == "writes to saved" and not any(True for _ in _floats(_saved(name))):
        error, families = "writes to dy", ("mutated",)  # shapes and masks alone are kept
    return Case(of_catalogue(name), spoil, frozenset(families))


def _saved(name):
    return of_catalogue(name)(0).forward()[1]


def _has_parameters(name):
    target = of_catalogue(name)(0).target
    return isinstance(target, Layer) and bool(target.parameters())


def _spoilt(example, error, rng):
    """The target of `example` with that error in one of its gradients that are not zero."""
    y, saved = example.forward()
    dy = rng.uniform(0.5, 1.5, np.shape(y)).astype(np.asarray(y).dtype)
    grads = example.target[1](dy, saved) if isinstance(example.target, tuple) else None
    if isinstance(example.target, Layer):
        return _spoilt_layer(example, error, dy, saved, rng)
    which = _choose(_as_list(grads), rng)
    forward, backward = example.target

    def wrong(dy, saved):
        result = backward(dy, saved)
        if error in VALUES:
            result = _with(result, which, VALUES[error][0])
        _damage(error, dy, saved)
        return result

    return forward, wrong


def _spoilt_layer(example, error, dy, saved, rng):
    layer = example.target
    inputs = _as_list(layer.backward(dy, saved))
    parameters = layer.parameters()
    which = _choose([*inputs, *(p.grad for p in parameters)], rng)
    layer.zero_grad()

    def wrong(layer, dy, saved):
        if error == "overwrites":
            layer.zero_grad()
        before = [p.grad.copy() for p in parameters]
        result = right(layer, dy, saved)
        if error in VALUES and which < len(inputs):
            result = _with(result, which, VALUES[error][0])
        elif error in VALUES:
            p, grad = parameters[which - len(inputs)], before[which - len(inputs)]
            p.grad[...] = grad + VALUES[error][0](p.grad - grad)
        _damage(error, dy, saved)
        return result

    spoil_layer(layer, wrong)
    return layer


def _as_list(result):
    return list(result) if isinstance(result, tuple) else [result]


def _choose(gradients, rng):
    """The place of one of the gradients that are not zero but for rounding."""
    sizes = [0.0 if g is None else float(np.max(np.abs(g), initial=0.0)) for g in gradients]
    return int(rng.choice([i for i, size in enumerate(sizes) if size > 1e-6 * max(sizes)]))


def _with(result, which, change):
    grads = _as_list(result)
    grads[which] = change(grads[which])
    return tuple(grads) if isinstance(result, tuple) else grads[0]


def _damage(error, dy, saved):
    if error == "writes to dy":
        dy *= 2
    elif error == "writes to saved":
        next(_floats(saved))[...] += 1


def _floats(item):
    if isinstance(item, np.ndarray) and item.dtype.kind == "f" and item.flags.writeable:
        yield item
    elif isinstance(item, tuple):
        for child in item:
            yield from _floats(child)
