"""What a deliberately wrong gradient is, and how one is made from a right one."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from npformer import Layer, catalogue, gradcheck
from npformer.catalogue import Example


class Case(NamedTuple):
    """A right target, its wrong twin, and the diagnoses that would be right."""

    example: Callable[[int, Any], Example]  # by seed and dtype
    spoil: Callable[[Example], Any]  # the wrong target
    families: frozenset


def check(case, seed=0, *, wrong, dtype=np.float64, **how):
    """A report on the wrong twin, or on the right one."""
    example = case.example(seed, dtype)
    target = case.spoil(example) if wrong else example.target
    return gradcheck(
        target, *example.inputs, options=example.options, run=example.run(), seed=seed, **how
    )


@functools.cache
def of_catalogue(name):
    """The catalogue's example of that name."""

    def example(seed, dtype=np.float64):
        return next(e for e in catalogue.examples(seed, dtype) if e.name == name)

    return example


@functools.cache
def of_pair(forward, right, *shapes):
    """An example of a pair of functions with standard normal inputs of these shapes."""

    def example(seed, dtype=np.float64):
        rng = np.random.default_rng(seed)
        inputs = tuple(rng.standard_normal(shape).astype(dtype) for shape in shapes)
        return Example("pair", "", (forward, right), inputs)

    return example


def backward(f):
    """Spoil a pair by giving it the backward ``f(dy, saved)``."""
    return lambda example: (example.target[0], f)


def given_right(f):
    """Spoil a pair by giving it the backward ``f(right backward, dy, saved)``."""

    def spoil(example):
        forward, right = example.target
        return forward, lambda dy, saved: f(right, dy, saved)

    return spoil


def keeping_inputs(f):
    """As `given_right`, with ``f(right backward, dy, saved, inputs of forward)``."""

    def spoil(example):
        forward, right = example.target

        def keeps(*inputs):
            y, saved = forward(*inputs)
            return y, (saved, inputs)

        return keeps, lambda dy, both: f(right, dy, *both)

    return spoil


def change(**changes):
    """Spoil a pair by changing gradients, by their place: ``change(d0=np.negative)``."""

    def changed(right, dy, saved):
        grads = right(dy, saved)
        several = isinstance(grads, tuple)
        grads = list(grads) if several else [grads]
        for place, f in changes.items():
            grads[int(place[1:])] = f(grads[int(place[1:])])
        return tuple(grads) if several else grads[0]

    return given_right(changed)


def entry(index, factor):
    """One entry, or one slice, times a factor."""

    def f(g):
        g = g.copy()
        g[index] *= factor
        return g

    return f


def method(f, part="", ours=False):
    """Spoil a layer, or its part of that dotted name, by the method ``f(self, dy, saved)``.

    `f` finds the right method as ``super(type(self), self).backward``; see `right`.
    """

    def spoil(example):
        layer = example.target
        spoil_layer(dict(layer.named_layers())[part], f, ours)
        return layer

    return spoil


def spoil_layer(layer: Layer, f, ours=False):
    """Give one object another backward, by a class of its own."""
    kind = type(layer)
    contents = {
        "backward": lambda self, dy, saved, run=None: f(self, dy, saved),
        "__module__": kind.__module__ if ours else __name__,
    }
    layer.__class__ = type(kind.__name__, (kind,), contents)


def right(layer, dy, saved):
    """What the layer's own class would return."""
    return super(type(layer), layer).backward(dy, saved)


def parameter(name, f, part=""):
    """Spoil a layer by changing what a pass adds to one of its parameters' gradients."""

    def changed(layer, dy, saved):
        p = dict(layer.named_parameters())[name]
        before = p.grad.copy()
        dx = right(layer, dy, saved)
        p.grad[...] = before + f(p.grad - before)
        return dx

    return method(changed, part)
