"""What is true of every layer: linear in dy, one row at a time, deterministic under a seed."""

import numpy as np
import pytest
from support.passes import assert_close, gradients, moved
from support.strategies import normal

from npformer import Layer, Run, catalogue

NAMES = [e.name for e in catalogue.examples() if isinstance(e.target, Layer)]
# Layers whose inputs all have a batch axis, and whose options say nothing of the batch.
BATCHED = [
    e.name
    for e in catalogue.examples()
    if e.name in NAMES
    and not e.options
    and e.subject not in ("GPT", "Transformer", "CTC")
    and all(x.ndim == (2 if e.subject == "Embedding" else 3) for x in e.inputs)
]


def fresh(name):
    example = next(e for e in catalogue.examples() if e.name == name)
    moved(example.target)
    return example


def combined(a, b, x, y):
    """a x + b y, for what `gradients` returns."""
    (dx, dp), (dy, dq) = x, y
    inputs = [None if u is None else a * u + b * v for u, v in zip(dx, dy, strict=True)]
    return inputs, {name: a * dp[name] + b * dq[name] for name in dp}


def assert_same(got, want):
    for a, b in zip(got[0], want[0], strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            assert_close(a, b)
    assert_close(got[1], want[1])


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_linear_in_dy(name):
    example = fresh(name)
    shape = example.forward()[0].shape
    u, v = normal(1, *shape), normal(2, *shape)

    def back(dy):
        return gradients(example.target, dy, *example.inputs, **example.options, run=example.run())

    assert_same(back(2.0 * u - 3.0 * v), combined(2.0, -3.0, back(u), back(v)))


@pytest.mark.parametrize("name", BATCHED)
def test_a_batch_is_the_sum_of_its_rows(name):
    example = fresh(name)
    layer, inputs = example.target, example.inputs
    y = layer(*inputs)
    dy = normal(1, *y.shape)
    dx, dp = gradients(layer, dy, *inputs)
    sums = dict.fromkeys(dp, 0.0)
    for b in range(len(y)):
        row = [x[b : b + 1] for x in inputs]
        assert_close(layer(*row), y[b : b + 1])
        dx_row, dp_row = gradients(layer, dy[b : b + 1], *row)
        for whole, part in zip(dx, dx_row, strict=True):
            assert (whole is None) == (part is None)
            if whole is not None:
                assert_close(part, whole[b : b + 1])
        sums = {name: sums[name] + dp_row[name] for name in sums}
    assert_close(sums, dp)


@pytest.mark.parametrize("name", BATCHED)
def test_leading_axes_are_any_or_none(name):
    example = fresh(name)
    layer, inputs = example.target, example.inputs
    y = layer(*inputs)
    assert_close(layer(*(x[0] for x in inputs)), y[0])
    assert_close(layer(*(x[:, None, None] for x in inputs)), y[:, None, None])


@pytest.mark.parametrize("name", NAMES)
def test_randomness_is_the_run_s_alone(name):
    example = fresh(name)

    def y(run):
        return example.target(*example.inputs, **example.options, run=run)

    def seeded(seed):
        return y(Run(rng=np.random.default_rng(seed)))

    np.testing.assert_array_equal(seeded(1), seeded(1))
    np.testing.assert_array_equal(y(None), y(Run()))
    drops = example.seed is not None or example.subject == "Dropout"
    assert np.array_equal(y(None), seeded(1)) != drops
    assert np.array_equal(seeded(2), seeded(1)) != drops
