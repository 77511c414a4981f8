"""Where first values come from, and building without them."""

import threading
from pathlib import Path

import numpy as np
import pytest

from npformer.core import skeleton
from npformer.core.initialize import constant, draw_normal, normal
from npformer.layers import Encoder, Linear
from npformer.models import GPT, GPTConfig

STATM = Path("/proc/self/statm")  # sizes of this process, in pages


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal_has_the_deviation_that_it_says(dtype):
    p = normal((400, 100), 0.02, np.random.default_rng(0), dtype)
    assert p.value.dtype == dtype
    np.testing.assert_allclose(p.value.mean(), 0, atol=5 * 0.02 / 200)  # 200 = sqrt(40,000)
    np.testing.assert_allclose(p.value.std(), 0.02, rtol=5 / np.sqrt(2 * 40_000))


def test_the_same_seed_draws_the_same_weights_and_no_seed_fresh_ones():
    draws = [normal((5,), 1.0, rng, np.float32).value for rng in (None, None)]
    assert not np.array_equal(*draws)
    a, b, c = (Linear(3, 4, rng=np.random.default_rng(s)).weight.value for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_one_generator_is_drawn_from_on_and_on():
    encoder = Encoder(2, 4, 2, rng=np.random.default_rng(0))
    one, two = (layer.self_attention for layer in encoder.layers)
    assert not np.array_equal(one.q_proj.weight.value, two.q_proj.weight.value)
    assert not np.array_equal(one.q_proj.weight.value, one.k_proj.weight.value)


def test_constant():
    np.testing.assert_array_equal(constant((2,), 1.5, np.float32).value, [1.5, 1.5])


@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.complex128, "float128"])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(TypeError, match=r"expected float32 or float64|not understood"):
        Linear(2, 2, dtype=dtype)


def test_a_skeleton_draws_nothing():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    with skeleton():
        layer = Encoder(1, 4, 2, rng=rng)
        draw_normal(layer.layers[0].feed_forward.up.weight, 1.0, rng)
        model = GPT(GPTConfig(5, 4, 4, 2, 1), rng=rng)
    assert rng.bit_generator.state == before
    for name, p in (*layer.named_parameters(), *model.named_parameters()):
        is_scale = name.endswith("norm.weight")
        np.testing.assert_array_equal(p.value, np.full(p.shape, float(is_scale)), name)


def test_weights_are_drawn_again_after_a_skeleton_also_after_an_error():
    with pytest.raises(KeyError), skeleton():
        raise KeyError
    assert Linear(2, 2).weight.value.all()


def test_a_skeleton_has_a_limit_for_all_that_is_built_in_it():
    with skeleton(limit=12):
        Linear(2, 3)  # 9 elements
        with pytest.raises(ValueError, match=r"more elements are asked for .* weight of \(2, 2\)"):
            Linear(2, 2)
    with skeleton(limit=9):
        Linear(2, 3)


def test_a_skeleton_that_lies_takes_no_memory():
    with skeleton(limit=1000), pytest.raises(ValueError, match="more elements"):
        Linear(10**7, 10**7)  # 400 TB


@pytest.mark.skipif(not STATM.exists(), reason="the size of a process is read as Linux shows it")
def test_neither_weights_nor_gradients_of_a_skeleton_take_memory():
    def pages():
        return int(STATM.read_text().split()[1])

    before = pages()
    with skeleton():
        layer = Linear(2**13, 2**14, bias=False)  # 512 MiB, and as much for its gradient
    assert pages() - before < 2**15  # of 4 KiB: 128 MiB
    assert layer.weight.value[-1, -1] == layer.weight.grad[-1, -1] == 0.0


def test_an_inner_skeleton_does_not_lift_the_limit_of_the_outer():
    with skeleton(limit=10):
        with skeleton(), pytest.raises(ValueError, match="more elements"):
            Linear(10, 10)
        with pytest.raises(ValueError, match="more elements"):
            Linear(10, 10)


def test_a_skeleton_in_one_thread_is_none_in_another():
    built = []
    with skeleton():
        thread = threading.Thread(target=lambda: built.append(Linear(2, 2)))
        thread.start()
        thread.join()
    assert built[0].weight.value.all()
