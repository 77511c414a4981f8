"""What every operation, layer and model promises, held against all examples of the catalogue."""

import copy
import functools
import inspect
import re
import typing

import numpy as np
import pytest

import npformer.functional as F
from npformer import Layer, catalogue, layers, models
from npformer.core.arrays import Array, describe
from npformer.survey import survey

EXAMPLES = catalogue.examples()
NAMES = [example.name for example in EXAMPLES]
LAYERS = [example.name for example in EXAMPLES if isinstance(example.target, Layer)]
BY_ENTRY = [e.name for e in EXAMPLES if e.subject not in models.__all__]
WITH_FLOATS = [e.name for e in EXAMPLES if any(np.asarray(x).dtype.kind == "f" for x in e.inputs)]


@functools.lru_cache
def drawn(seed, dtype):
    return {example.name: example for example in catalogue.examples(seed, dtype)}


def fresh(name, seed=0, dtype=np.float64):
    """The example anew, with weights and biases away from their initial values."""
    example = copy.deepcopy(drawn(seed, dtype)[name])
    rng = np.random.default_rng(seed + 1)
    if isinstance(example.target, Layer):
        for parameter in example.target.parameters():
            parameter.value += rng.normal(0, 0.3, parameter.shape).astype(dtype)
    return example


def cotangent(y, seed=5):
    y = np.asarray(y)
    dy = np.random.default_rng(seed).standard_normal(y.shape).astype(y.dtype)
    return dy if y.ndim else float(dy)


def arrays_in(item):
    """Every array that a saved tuple holds, however deep."""
    if isinstance(item, np.ndarray):
        yield item
    elif isinstance(item, tuple | list):
        for child in item:
            yield from arrays_in(child)


def not_as_declared(saved):
    """The fields of a saved tuple, however deep, that are declared as arrays and are none."""
    hints = typing.get_type_hints(type(saved))
    for name, item in zip(getattr(saved, "_fields", [""] * len(saved)), saved, strict=True):
        allowed = {Array: np.ndarray, Array | None: np.ndarray | None}
        if not isinstance(item, allowed.get(hints.get(name), object)):
            yield f"{type(saved).__name__}.{name} is {describe(item)}"
        elif isinstance(item, tuple | list):
            yield from not_as_declared(item)


def parameters(example):
    return example.target.parameters() if isinstance(example.target, Layer) else []


def gradients(example, *inputs, dy=None):
    """dx of a whole pass, and the parameters' gradients that it leaves."""
    for parameter in parameters(example):
        parameter.zero_grad()
    y, saved = example.forward(*inputs)
    dx = example.backward(cotangent(y) if dy is None else dy, saved)
    return [*dx, *(p.grad.copy() for p in parameters(example))]


def assert_same(got, want, **tolerance):
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        if tolerance:
            np.testing.assert_allclose(a, b, **tolerance)
        else:
            np.testing.assert_array_equal(a, b)


def test_everything_has_an_example():
    ops = {name for name in F.__all__ if f"{name}_backward" in F.__all__}
    built = {name for name in layers.__all__ if issubclass(getattr(layers, name), Layer)}
    concrete = {
        name
        for name in models.__all__
        if issubclass(getattr(models, name), Layer)
        and not inspect.isabstract(getattr(models, name))
    }
    assert {example.subject for example in EXAMPLES} == ops | built | concrete


def test_every_public_function_is_an_operation_with_a_backward():
    assert [
        n for n in F.__all__ if not n.endswith("_backward") and f"{n}_backward" not in F.__all__
    ] == ["attention_weights"]


def test_names_are_unique():
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", BY_ENTRY)
def test_gradient(name):
    """What `npformer check` does, at another seed.

    It checks the models as well, every entry; the next test does along one direction, and
    tests/models along one of each parameter, for that is a hundred times less.
    """
    (row,) = survey([fresh(name, seed=1)], seed=1)
    assert row.verdict == "pass", row.error or str(row.report)
    for entry in row.report.entries:
        if entry.verdict != "zero":
            assert entry.worst_error <= 1e-9
        if entry.complex_step:
            assert entry.complex_step.error <= 1e-12


@pytest.mark.parametrize("name", LAYERS)
def test_gradient_of_a_layer_along_a_direction(name):
    """In all its parameters and inputs at once, by the complex step; of models as well."""
    example, h = fresh(name, seed=1), 1e-30
    rng = np.random.default_rng(2)
    y, saved = example.forward()
    dy = cotangent(y)
    for parameter in (learned := [p for p in parameters(example) if p.trainable]):
        parameter.zero_grad()
    terms, inputs = [], [*example.inputs]
    floats = [i for i, x in enumerate(inputs) if x.dtype.kind == "f"]
    for i, dx in zip(floats, example.backward(dy, saved), strict=True):
        assert dx.shape == inputs[i].shape
        v = rng.standard_normal(dx.shape)
        terms.append(np.sum(dx * v))
        inputs[i] = inputs[i] + 1j * h * v
    for parameter in learned:
        v = rng.standard_normal(parameter.shape)
        terms.append(np.sum(parameter.grad * v))
        parameter.value = np.asarray(parameter.value + 1j * h * v)
    z, _ = example.forward(*inputs)
    atol = 1e-11 * np.abs(terms).max()
    np.testing.assert_allclose(sum(terms), np.sum(dy * z.imag) / h, rtol=1e-10, atol=atol)


@pytest.mark.parametrize("name", WITH_FLOATS)
def test_complex128_passes_through(name):
    example = fresh(name)
    y, _ = example.forward()
    lifted = [x.astype(np.complex128) if x.dtype.kind == "f" else x for x in example.inputs]
    z, _ = example.forward(*lifted)
    assert z.dtype == np.complex128
    np.testing.assert_allclose(z.real, y, rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(z.imag, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_dtype_is_kept(name, dtype):
    example = fresh(name, dtype=dtype)
    y, saved = example.forward()
    assert y.dtype == dtype
    assert all(g.dtype == dtype for g in example.backward(cotangent(y), saved))
    assert all(p.grad.dtype == dtype and p.value.dtype == dtype for p in parameters(example))


@pytest.mark.parametrize("name", NAMES)
def test_float32_is_near_float64(name):
    single, double = fresh(name, dtype=np.float32), fresh(name, dtype=np.float64)
    inputs = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in single.inputs]
    for p, q in zip(parameters(single), parameters(double), strict=True):
        q.value[...] = p.value
    dy = cotangent(single.forward()[0])
    want = gradients(double, *inputs, dy=np.float64(dy))
    assert_same(gradients(single, dy=dy), want, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_written_to_but_gradients(name):
    example = fresh(name)
    dy = cotangent(example.forward()[0])
    want = gradients(example, dy=dy)
    values = [p.value for p in parameters(example)]
    read_only = [*(x for x in example.inputs if isinstance(x, np.ndarray)), *values]
    for array in (*read_only, *([dy] if isinstance(dy, np.ndarray) else [])):
        array.flags.writeable = False
    for p in parameters(example):
        p.zero_grad()
    _, saved = example.forward()
    for array in arrays_in(saved):
        array.flags.writeable = False
    first, again = example.backward(dy, saved), example.backward(dy, saved)
    assert_same(first, again)
    # Added, both times; a tied weight's parts are added in another order.
    twice = [p.grad / 2 for p in parameters(example)]
    assert_same([*first, *twice], want, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_arrays_of_their_own(name):
    example = fresh(name)
    y, saved = example.forward()
    dy = cotangent(y)
    dx = example.backward(dy, saved)
    others = [dy, *example.inputs, *arrays_in(saved), *(p.grad for p in parameters(example))]
    others = [a for a in others if isinstance(a, np.ndarray)]
    for i, g in enumerate(dx):
        assert not any(np.shares_memory(g, other) for other in (*others, *dx[:i]))


@pytest.mark.parametrize("name", NAMES)
def test_saved_arrays_are_arrays(name):
    """NumPy makes a scalar of what has no axes; the tests above would look past it."""
    _, saved = fresh(name).forward()
    assert not [*not_as_declared(saved)]


@pytest.mark.parametrize("name", NAMES)
def test_passes_may_interleave(name):
    example, other = fresh(name), fresh(name, seed=7)
    second = [-x if x.dtype.kind == "f" else x for x in other.inputs]
    want_first, want_second = gradients(example), gradients(example, *second)
    y1, saved1 = example.forward()
    y2, saved2 = example.forward(*second)
    for p in parameters(example):
        p.zero_grad()
    first = example.backward(cotangent(y1), saved1)
    both = example.backward(cotangent(y2), saved2)
    assert_same(first, want_first[: len(first)])
    assert_same(both, want_second[: len(both)])
    sums = [a + b for a, b in zip(want_first, want_second, strict=True)][len(first) :]
    assert_same([p.grad for p in parameters(example)], sums, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_memory_layout_does_not_matter(name):
    example = fresh(name)
    dy = cotangent(example.forward()[0])
    want = gradients(example, dy=dy)

    def strided(x):
        """The same values, with a gap after each and the axes in Fortran's order."""
        if not isinstance(x, np.ndarray) or not x.ndim:
            return x
        wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype, order="F")
        wide[..., ::2] = x
        return wide[..., ::2]

    got = gradients(example, *map(strided, example.inputs), dy=strided(dy))
    assert_same(got, want, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_keeps_nothing(name):
    example = fresh(name)

    def contents():
        return [
            (key, id(value))
            for _, layer in example.target.named_layers()
            for key, value in vars(layer).items()
        ]

    before = contents()
    gradients(example)
    assert contents() == before


@pytest.mark.parametrize("name", LAYERS)
def test_a_replica_shares_values_and_collects_its_own_gradients(name):
    example = fresh(name)
    want = gradients(example)
    names = [n for n, _ in example.target.named_parameters()]
    twin = example.target.replica()
    assert [n for n, _ in twin.named_parameters()] == names
    example.target.zero_grad()
    y, saved = twin.forward(*example.inputs, **example.options, run=example.run())
    twin.backward(cotangent(y), saved)
    assert_same([p.grad for p in twin.parameters()], want[len(want) - len(names) :])
    assert all(not p.grad.any() for p in example.target.parameters())
    for p, q in zip(example.target.parameters(), twin.parameters(), strict=True):
        p.value += 1
        assert p.value is q.value


@pytest.mark.parametrize("name", NAMES)
def test_an_upstream_gradient_that_does_not_fit_is_refused(name):
    example = fresh(name)
    y, saved = example.forward()
    by = r"[\w.]+" if isinstance(example.target, Layer) else f"{example.subject}_backward"
    if np.ndim(y) == 0:
        with pytest.raises(ValueError, match=f"^{by}: dy is .*the output is a scalar"):
            example.backward(np.ones(3), saved)
        return
    longer = [(*y.shape[:axis], n + 1, *y.shape[axis + 1 :]) for axis, n in enumerate(y.shape)]
    for shape in ((1, *y.shape), *longer):
        said = re.escape(f"dy is {shape} but the output was {y.shape}")
        with pytest.raises(ValueError, match=f"^{by}: {said}"):
            example.backward(np.ones(shape), saved)
    with pytest.raises(TypeError, match=f"^{by}: saved is float64 but dy is float32"):
        example.backward(cotangent(y).astype(np.float32), saved)


@pytest.mark.parametrize("name", WITH_FLOATS)
def test_other_dtypes_are_refused(name):
    example = fresh(name)
    first = next(i for i, x in enumerate(example.inputs) if x.dtype.kind == "f")

    def replaced(x):
        return [*example.inputs[:first], x, *example.inputs[first + 1 :]]

    x = example.inputs[first]
    for bad in (x.astype(np.int64), x.astype(np.float16), x > 0, x.astype(object)):
        with pytest.raises(TypeError, match=r"expected float32 or float64"):
            example.forward(*replaced(bad))
    with pytest.raises(TypeError, match=r"is a list; expected a NumPy array"):
        example.forward(*replaced(x.tolist()))
    several = sum(np.asarray(i).dtype.kind == "f" for i in example.inputs) > 1
    if several or parameters(example):
        with pytest.raises(TypeError, match="silently lift float32"):
            example.forward(*replaced(x.astype(np.float32)))
