"""Parameter: an identity with a value and a gradient that is only ever added to."""

import copy
import pickle

import numpy as np
import pytest

from npformer import Parameter


def parameter(*shape, **options):
    return Parameter(np.arange(1.0, 1 + np.prod(shape)).reshape(shape), "w", **options)


def test_the_value_is_used_as_it_is():
    value = np.ones((2, 3), np.float32)
    p = Parameter(value)
    assert p.value is value
    assert p.shape == (2, 3)


def test_the_gradient_is_zero_from_the_start():
    p = Parameter(np.ones((2, 3), np.float32))
    assert p.grad.dtype == np.float32
    np.testing.assert_array_equal(p.grad, np.zeros((2, 3)))


def test_equality_is_identity():
    a, b = parameter(2), parameter(2)
    assert a != b
    assert len({a, b, a}) == 2


def test_gradients_are_added_and_zeroed_in_place():
    p = parameter(2)
    grad = p.grad
    p.add_grad(np.array([1.0, 2.0]))
    p.add_grad(np.array([10.0, 20.0]))
    np.testing.assert_array_equal(grad, [11, 22])
    p.zero_grad()
    assert p.grad is grad
    np.testing.assert_array_equal(grad, [0, 0])


def test_a_fresh_gradient_takes_the_place_of_a_zero_one_that_nobody_holds():
    p, fresh = parameter(2, 3), np.full((2, 3), 5.0)
    p.zero_grad()
    p.add_grad(fresh, fresh=True)
    assert p.grad is fresh
    p.add_grad(np.ones((2, 3)), fresh=True)
    np.testing.assert_array_equal(p.grad, np.full((2, 3), 6.0))


@pytest.mark.parametrize(
    ("like", "fresh"), [("as it is", True), ("as it is", False), ("float32", True), ("F", True)]
)
def test_a_gradient_that_may_not_take_the_place_is_copied(like, fresh):
    """Somebody holds the old array; or the new one is the caller's, single, or in columns."""
    p, given = parameter(2, 3), np.arange(6.0).reshape(2, 3)
    want = given.copy()
    given = {"float32": given.astype(np.float32), "F": np.asfortranarray(given)}.get(like, given)
    held = p.grad if like == "as it is" and fresh else None
    p.zero_grad()
    p.add_grad(given, fresh=fresh)
    assert held is None or p.grad is held
    assert not np.shares_memory(p.grad, given)
    assert p.grad.dtype == np.float64
    assert p.grad.flags.c_contiguous
    np.testing.assert_array_equal(p.grad, want)
    np.testing.assert_array_equal(given, want)


def test_a_gradient_that_is_given_is_not_kept():
    p, g = parameter(2), np.array([1.0, 2.0])
    p.add_grad(g)
    p.add_grad(g)
    np.testing.assert_array_equal(g, [1, 2])
    assert not np.shares_memory(p.grad, g)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (
            None,
            TypeError,
            r"grad was assigned a NoneType; expected a float64 ndarray, .* zero_grad\(\)$",
        ),
        ([0.0, 0.0], TypeError, r"grad was assigned a list; expected .* zero_grad\(\)$"),
        (0.0, TypeError, r"grad was assigned a float; expected .* zero_grad\(\)$"),
        (
            np.zeros(2, complex),
            TypeError,
            r"assigned complex128 \(2,\); expected a float64 ndarray",
        ),
        (
            np.zeros(3),
            ValueError,
            r"has shape \(2,\) and its grad was assigned \(3,\); .*zero_grad",
        ),
        (np.zeros((1, 2)), ValueError, r"its grad was assigned \(1, 2\); expected the parameter's"),
    ],
)
def test_only_an_array_of_its_shape_becomes_the_gradient(given, error, said):
    p = parameter(2)
    p.grad += 1.0
    grad = p.grad
    with pytest.raises(error, match=f"^Parameter 'w'.* {said}"):
        p.grad = given
    assert p.grad is grad
    np.testing.assert_array_equal(grad, [1, 1])
    p.grad = np.array([3.0, 4.0])
    p.grad *= 2.0
    np.testing.assert_array_equal(p.grad, [6, 8])


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 1), (2, 3, 1), ()])
def test_a_gradient_of_another_shape_is_refused_though_it_would_broadcast(shape):
    p = parameter(2, 3)
    said = r"^Parameter 'w' has shape \(2, 3\) and was given a gradient of \(.*broadcast$"
    with pytest.raises(ValueError, match=said):
        p.add_grad(np.ones(shape))
    assert not p.grad.any()


def test_a_frozen_parameter_keeps_a_zero_gradient():
    p = parameter(2, trainable=False)
    p.add_grad(np.ones(2))
    assert not p.grad.any()
    with pytest.raises(ValueError, match="gradient of"):
        p.add_grad(np.ones(3))


@pytest.mark.parametrize(
    "value", [np.ones(2, int), np.ones(2, np.float16), np.ones(2, complex), [1.0], 1.0, None]
)
def test_only_float32_and_float64_arrays_become_parameters(value):
    with pytest.raises(TypeError, match=r"Parameter 'w' got .*; expected a float32 or float64"):
        Parameter(value, "w")


def test_the_value_may_be_rebound_but_keeps_its_shape():
    p = parameter(2)
    lifted = p.value + 1e-30j
    p.value = lifted
    assert p.value is lifted
    with pytest.raises(ValueError, match=r"'w' has shape \(2,\) and was assigned \(1,\)"):
        p.value = np.ones(1)
    with pytest.raises(
        TypeError, match=r"'w' was assigned a list; expected an ndarray.*\[\.\.\.\]"
    ):
        p.value = [1.0, 2.0]
    assert p.value is lifted


def test_augmented_assignment_writes_in_place():
    p = parameter(2)
    value = p.value
    p.value *= 3.0
    assert p.value is value
    np.testing.assert_array_equal(value, [3, 6])


def test_a_replica_reads_through_and_collects_for_itself():
    p = parameter(2)
    twin = p.replica()
    second = twin.replica()
    p.value += 1
    assert twin.value is second.value is p.value
    rebound = p.value + 1e-30j
    p.value = rebound
    assert twin.value is second.value is rebound
    twin.add_grad(np.ones(2))
    assert not p.grad.any()
    assert not second.grad.any()
    np.testing.assert_array_equal(twin.grad, [1, 1])


def test_a_replica_is_frozen_where_its_original_is():
    twin = parameter(2, trainable=False).replica()
    assert (twin.name, twin.trainable) == ("w", False)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_a_copy_is_a_parameter_of_its_own(clone):
    p = parameter(2)
    other = clone(p)
    other.value += 1
    other.add_grad(np.ones(2))
    np.testing.assert_array_equal(p.value, [1, 2])
    assert not p.grad.any()


def test_repr():
    assert repr(parameter(2, 3)) == "Parameter('w', float64 (2, 3))"
    frozen = Parameter(np.ones(1, np.float32), trainable=False)
    assert repr(frozen) == "Parameter('', float32 (1,), frozen)"


def test_a_replica_is_frozen_and_freed_with_its_original():
    parameter = Parameter(np.ones(2))
    twin = parameter.replica()
    parameter.trainable = False
    twin.add_grad(np.ones(2))
    assert not twin.grad.any()
    parameter.trainable = True
    twin.add_grad(np.ones(2))
    assert twin.grad.all()
