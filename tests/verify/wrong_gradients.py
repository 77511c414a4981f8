"""Deliberately wrong gradients, each with the operation it belongs to and what is wrong with it.

`WRONG` maps a name to a `Case`. The forward pass is one for the wrong backward and its correct
twin; `families` are the diagnoses that would be right.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import npformer.functional as F


class Case(NamedTuple):
    forward: Callable
    right: Callable
    wrong: Callable
    shapes: tuple
    families: frozenset


WRONG = {}


def case(name, forward, right, wrong, shapes, *families):
    WRONG[name] = Case(forward, right, wrong, shapes, frozenset(families))


def change(backward, **changes):
    """A backward with some of its gradients changed, by their place: ``change(f, d0=...)``."""

    def wrong(dy, saved):
        grads = backward(dy, saved)
        several = isinstance(grads, tuple)
        grads = list(grads) if several else [grads]
        for place, f in changes.items():
            grads[int(place[1:])] = f(grads[int(place[1:])])
        return tuple(grads) if several else grads[0]

    return wrong


def entry(index, factor):
    def f(g):
        g = g.copy()
        g[index] *= factor
        return g

    return f


def backward_of(op):
    return getattr(F, f"{op}_backward")


# --- linear: x (4, 3), weight (5, 3), bias (5,)
LINEAR = (4, 3), (5, 3), (5,)


def linear(name, wrong, *families, shapes=LINEAR):
    case(f"linear: {name}", F.linear, F.linear_backward, wrong, shapes, *families)


linear("dx sign", change(F.linear_backward, d0=np.negative), "sign")
linear("dweight sign", change(F.linear_backward, d1=np.negative), "sign")
linear("dx doubled", change(F.linear_backward, d0=lambda g: 2 * g), "factor")
linear("dweight over the batch", change(F.linear_backward, d1=lambda g: g / 4), "factor")
linear("dbias a mean", change(F.linear_backward, d2=lambda g: g / 4), "factor")
linear("dweight by sqrt(d)", change(F.linear_backward, d1=lambda g: g / math.sqrt(3)), "factor")
linear("dbias zero", change(F.linear_backward, d2=np.zeros_like), "zero")
linear("dbias forgotten", change(F.linear_backward, d2=lambda g: None), "missing")
linear("dweight transposed", change(F.linear_backward, d1=lambda g: g.T.copy()), "shape")
linear("one entry off by 0.1 %", change(F.linear_backward, d1=entry((2, 1), 1.001)), "one index")
linear("one entry off by 1e-6", change(F.linear_backward, d1=entry((4, 0), 1 + 1e-6)), "one index")
linear("all off by 1e-6", change(F.linear_backward, d0=lambda g: g * (1 + 1e-6)), "factor")
linear("one row wrong", change(F.linear_backward, d0=entry(2, -1.0)), "one slice")
linear("one column wrong", change(F.linear_backward, d1=entry((slice(None), 1), 2.0)), "one slice")
linear("nan", change(F.linear_backward, d0=entry((0, 0), np.nan)), "not finite")
linear("dbias keeps its axis", change(F.linear_backward, d2=lambda g: g[None]), "shape")
linear(
    "dbias of the first vector",
    lambda dy, saved: (*F.linear_backward(dy, saved)[:2], dy[0].copy()),
    "missing term",
    "unrelated",
)
linear(
    "float32 inside",
    change(F.linear_backward, d0=lambda g: g.astype(np.float32).astype(np.float64)),
    "precision",
)
linear("float32 out", change(F.linear_backward, d1=lambda g: g.astype(np.float32)), "dtype")
SQUARE = (4, 4), (4, 4), (4,)
linear(
    "square dweight transposed",
    change(F.linear_backward, d1=lambda g: g.T.copy()),
    "transposed",
    shapes=SQUARE,
)


def _exchanged(dy, saved):
    dx, dweight, dbias = F.linear_backward(dy, saved)
    return dweight, dx, dbias


linear("arguments exchanged", _exchanged, "exchanged", shapes=SQUARE)
linear(
    "weight not transposed",
    lambda dy, saved: (dy @ saved.weight.T, *F.linear_backward(dy, saved)[1:]),
    "unrelated",
    "missing term",
    shapes=SQUARE,
)
linear(
    "dbias over the wrong axis",
    lambda dy, saved: (*F.linear_backward(dy, saved)[:2], np.sum(dy, axis=1)),
    "unrelated",
    "missing term",
    shapes=SQUARE,
)


# --- layer_norm: x (2, 3, 5), weight (5,), bias (5,)
NORM = (2, 3, 5), (5,), (5,)


def layer_norm_dx(ones=1, xhat=1, weight=1, r=1):
    """Layer normalisation's dx with each of its parts to be left out."""

    def wrong(dy, saved):
        dweight, dbias = F.layer_norm_backward(dy, saved)[1:]
        dxhat = dy * saved.weight if weight else dy * 1.0
        along_ones = np.mean(dxhat, axis=-1, keepdims=True)
        along_xhat = np.mean(dxhat * saved.xhat, axis=-1, keepdims=True)
        dx = dxhat - ones * along_ones - xhat * saved.xhat * along_xhat
        return (dx * saved.r if r else dx), dweight, dbias

    return wrong


def layer_norm(name, wrong, *families):
    case(f"layer_norm: {name}", F.layer_norm, F.layer_norm_backward, wrong, NORM, *families)


layer_norm("no projection onto ones", layer_norm_dx(ones=0), "missing term")
layer_norm("no projection onto xhat", layer_norm_dx(xhat=0), "missing term")
layer_norm("no projection at all", layer_norm_dx(ones=0, xhat=0), "missing term", "unrelated")
layer_norm("weight forgotten", layer_norm_dx(weight=0), "missing term", "unrelated")
layer_norm("no division by the deviation", layer_norm_dx(r=0), "missing term", "missing factor")
layer_norm("dweight without xhat", lambda dy, saved: _norm_dweight(dy, saved), "unrelated")
layer_norm(
    "dx times weight once more",
    lambda dy, saved: _times_weight(dy, saved),
    "missing factor",
)
layer_norm("dbias halved", change(F.layer_norm_backward, d2=lambda g: g / 2), "factor")
layer_norm("dweight over B T", change(F.layer_norm_backward, d1=lambda g: g / 6), "factor")


def _norm_dweight(dy, saved):
    dx, _, dbias = F.layer_norm_backward(dy, saved)
    return dx, dbias.copy(), dbias


def _times_weight(dy, saved):
    dx, dweight, dbias = F.layer_norm_backward(dy, saved)
    return dx * saved.weight, dweight, dbias


WRONG["layer_norm: dweight without xhat"] = WRONG["layer_norm: dweight without xhat"]._replace(
    families=frozenset({"exchanged", "unrelated"})
)


# --- softmax (3, 4)
def softmax(name, wrong, *families, shape=(3, 4)):
    case(f"softmax: {name}", F.softmax, F.softmax_backward, wrong, (shape,), *families)


softmax("sum dropped", lambda dy, saved: dy * saved.y, "missing term")
softmax(
    "sum over the wrong axis",
    lambda dy, saved: saved.y * (dy - np.sum(dy * saved.y, axis=0, keepdims=True)),
    "missing term",
    "unrelated",
)
softmax(
    "sum over everything",
    lambda dy, saved: saved.y * (dy - np.sum(dy * saved.y)),
    "missing term",
)
softmax(
    "as if element-wise",
    lambda dy, saved: dy * saved.y * (1 - saved.y),
    "missing term",
    "unrelated",
)
softmax(
    "sum not weighted",
    lambda dy, saved: saved.y * (dy - np.sum(dy, axis=-1, keepdims=True)),
    "missing term",
)
softmax("y forgotten", lambda dy, s: F.softmax_backward(dy, s) / s.y, "missing factor")
softmax("shifted by one", lambda dy, s: np.roll(F.softmax_backward(dy, s), 1, -1), "permuted")
softmax("reversed", lambda dy, s: F.softmax_backward(dy, s)[:, ::-1].copy(), "permuted")
softmax("only the first row", change(F.softmax_backward, d0=entry(slice(1, None), 0)), "one slice")


# --- gelu, tanh, residual, product: one argument or two of one shape
case(
    "tanh: derivative of the input",
    F.tanh,
    F.tanh_backward,
    lambda dy, saved: dy * (1 - np.arctanh(_only_array(saved)) ** 2),
    ((3, 4),),
    "unrelated",
    "missing term",
)
case(
    "tanh: square forgotten",
    F.tanh,
    F.tanh_backward,
    lambda dy, saved: dy * (1 - _only_array(saved)),
    ((3, 4),),
    "missing term",
    "unrelated",
)


def _only_array(saved):
    return saved if isinstance(saved, np.ndarray) else saved[0]


def residual(x):
    return x + np.tanh(x), np.tanh(x)


case(
    "residual: direct path dropped",
    residual,
    lambda dy, t: dy + dy * (1 - t * t),
    lambda dy, t: dy * (1 - t * t),
    ((2, 3),),
    "missing term",
)
case(
    "residual: direct path twice",
    residual,
    lambda dy, t: dy + dy * (1 - t * t),
    lambda dy, t: 2 * dy + dy * (1 - t * t),
    ((2, 3),),
    "missing term",
)


def product(a, b):
    return a * b, (a, b)


case(
    "product: exchanged",
    product,
    lambda dy, s: (dy * s[1], dy * s[0]),
    lambda dy, s: (dy * s[0], dy * s[1]),
    ((3, 4), (3, 4)),
    "exchanged",
)
case(
    "product: factor forgotten",
    product,
    lambda dy, s: (dy * s[1], dy * s[0]),
    lambda dy, s: (dy * s[1], dy * 1.0),
    ((3, 4), (3, 4)),
    "missing factor",
)


def mean_square(x):
    return np.mean(x * x), x


case(
    "mean square: division forgotten",
    mean_square,
    lambda dy, x: 2 * dy * x / x.size,
    lambda dy, x: 2 * dy * x,
    ((3, 4),),
    "factor",
)
case(
    "mean square: over the batch only",
    mean_square,
    lambda dy, x: 2 * dy * x / x.size,
    lambda dy, x: 2 * dy * x / x.shape[0],
    ((3, 4),),
    "factor",
)
case(
    "mean square: two forgotten",
    mean_square,
    lambda dy, x: 2 * dy * x / x.size,
    lambda dy, x: dy * x / x.size,
    ((3, 4),),
    "factor",
)
case(
    "mean square: upstream gradient ignored",
    mean_square,
    lambda dy, x: 2 * dy * x / x.size,
    lambda dy, x: 2 * x / x.size,
    ((3, 4),),
    "factor",
)


# --- attention: q (2, 3, 4), k (2, 5, 4), v (2, 5, 4)
def attention(q, k, v):
    scale = 1 / math.sqrt(q.shape[-1])
    p, _ = F.softmax(scale * q @ np.swapaxes(k, -1, -2))
    return p @ v, (q, k, v, p, scale)


def attention_backward(softmax_sum=1, again=1, swap=False, p_transposed=True):
    def backward(dy, saved):
        q, k, v, p, scale = saved
        dp = dy @ np.swapaxes(v, -1, -2)
        ds = p * (dp - softmax_sum * np.sum(dp * p, axis=-1, keepdims=True))
        ds = scale * ds if again else ds
        dq, dk = ds @ k, np.swapaxes(ds, -1, -2) @ q
        dv = np.swapaxes(p, -1, -2) @ dy if p_transposed else np.swapaxes(ds, -1, -2) @ dy
        return (dk, dq, dv) if swap else (dq, dk, dv)

    return backward


QKV = (2, 3, 4), (2, 5, 4), (2, 5, 4)
for _name, _wrong, _families, _shapes in [
    ("scale forgotten", attention_backward(again=0), ("factor",), QKV),
    ("softmax sum dropped", attention_backward(softmax_sum=0), ("missing term", "unrelated"), QKV),
    ("dq and dk exchanged", attention_backward(swap=True), ("exchanged",), ((2, 4, 4),) * 3),
    ("dv from ds", attention_backward(p_transposed=False), ("missing term", "unrelated"), QKV),
]:
    case(f"attention: {_name}", attention, attention_backward(), _wrong, _shapes, *_families)
