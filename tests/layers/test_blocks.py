"""EncoderLayer and DecoderLayer: the formulas of pre- and post-norm, and what reaches what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.passes import assert_close, assert_equal, gradients, moved
from support.strategies import normal, seeds

from npformer import Run, masks
from npformer.layers import DecoderLayer, EncoderLayer

D = 8
NORMS = [(norm, position) for norm in ("layer", "rms") for position in ("pre", "post")]
BLOCKS = [EncoderLayer, DecoderLayer]


def block(kind, norm="layer", norm_position="pre", **options):
    options = {"norm": norm, "norm_position": norm_position, "activation": "gelu"} | options
    return moved(kind(D, 2, 12, **options, dtype=np.float64))


def inputs(layer, batch=2):
    """x, and a memory of another length where there is one."""
    return normal(0, batch, 4, D), *([normal(1, batch, 5, D)] * isinstance(layer, DecoderLayer))


def stream(x, norm, branch, norm_position):
    return x + branch(norm(x)) if norm_position == "pre" else norm(x + branch(x))


@pytest.mark.parametrize(("norm", "where"), NORMS)
def test_the_formula_of_an_encoder_layer(norm, where):
    layer, x = block(EncoderLayer, norm, where), normal(0, 2, 4, D)
    h = stream(x, layer.self_attention_norm, layer.self_attention, where)
    assert_close(layer(x), stream(h, layer.feed_forward_norm, layer.feed_forward, where))


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("where", ["pre", "post"])
def test_the_gradient_where_nothing_is_dropped(kind, where):
    """The catalogue's blocks of post-norm all have dropout, which undoes the sum by another way."""
    layer, h = block(kind, norm_position=where), 1e-30
    given, dy = inputs(layer), normal(2, 2, 4, D)
    directions = [normal(3 + i, *x.shape) for i, x in enumerate(given)]
    dx, _ = gradients(layer, dy, *given)
    got = sum(np.sum(d * v) for d, v in zip(dx, directions, strict=True))
    z = layer(*(x + 1j * h * v for x, v in zip(given, directions, strict=True)))
    assert got == pytest.approx(np.sum(dy * z.imag) / h, rel=1e-11)


@pytest.mark.parametrize(("norm", "where"), NORMS)
def test_the_formula_of_a_decoder_layer(norm, where):
    layer, x, z = block(DecoderLayer, norm, where), normal(0, 2, 4, D), normal(1, 2, 5, D)
    padding = masks.padding(np.array([2, 5]))

    def attend(a):
        return layer.self_attention(a, mask=masks.causal())

    def look(a):
        return layer.cross_attention(a, z, mask=padding)

    h = stream(x, layer.self_attention_norm, attend, where)
    u = stream(h, layer.cross_attention_norm, look, where)
    want = stream(u, layer.feed_forward_norm, layer.feed_forward, where)
    assert_close(layer(x, z, memory_mask=padding), want)


@given(seeds, st.permutations(range(4)))
def test_an_encoder_layer_does_not_know_the_order(seed, order):
    layer, x, dy = block(EncoderLayer, num_kv_heads=1), normal(seed, 4, D), normal(seed + 1, 4, D)
    order = np.array(order)
    assert_close(layer(x[order]), layer(x)[order])
    (dx,), dp = gradients(layer, dy, x)
    (dx_permuted,), dp_permuted = gradients(layer, dy[order], x[order])
    assert_close(dx_permuted, dx[order])
    assert_close(dp_permuted, dp)


@given(st.permutations(range(5)))
def test_a_decoder_layer_does_not_know_the_order_of_the_memory(order):
    layer, x, z, dy = block(DecoderLayer), normal(0, 4, D), normal(1, 5, D), normal(2, 4, D)
    order = np.array(order)
    assert_close(layer(x, z[order]), layer(x, z))
    (dx, dz), dp = gradients(layer, dy, x, z)
    (dx_permuted, dz_permuted), dp_permuted = gradients(layer, dy, x, z[order])
    assert_close(dx_permuted, dx)
    assert_close(dz_permuted, dz[order])
    assert_close(dp_permuted, dp)


@pytest.mark.parametrize("where", ["pre", "post"])
def test_a_decoder_layer_is_causal_also_beside_a_mask_of_its_own(where):
    layer = block(DecoderLayer, norm_position=where)
    x, z = inputs(layer)
    far = x.copy()
    far[:, 2:] = 9.0
    mask = np.array([True, False, True, True])
    for options in ({}, {"mask": mask}):
        assert_equal(layer(x, z, **options)[:, :2], layer(far, z, **options)[:, :2])
    second = x.copy()
    second[:, 1] = 9.0
    y, changed = layer(x, z, mask=mask), layer(second, z, mask=mask)
    assert_equal(np.delete(y, 1, 1), np.delete(changed, 1, 1))
    assert not np.allclose(layer(x, z), layer(second, z))


@pytest.mark.parametrize("where", ["pre", "post"])
def test_one_memory_for_a_batch_and_one_start_for_many_memories(where):
    layer = block(DecoderLayer, norm_position=where)
    x, z = inputs(layer)
    dy = normal(2, 2, 4, D)
    for few, many in (
        ((x, z[0]), (x, np.stack([z[0]] * 2))),
        ((x[0], z), (np.stack([x[0]] * 2), z)),
    ):
        assert_close(layer(*few), layer(*many))
        got, dp = gradients(layer, dy, *few)
        want, dp_many = gradients(layer, dy, *many)
        for g, w, shape in zip(got, want, (a.shape for a in few), strict=True):
            assert_close(g, w if w.shape == shape else w.sum(0))
        assert_close(dp, dp_many)


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("where", ["pre", "post"])
def test_dropout_is_on_the_branches_never_on_the_stream(kind, where):
    """With branches that give nothing, dropout changes nothing."""
    layer = block(kind, norm_position=where, dropout=0.5)
    x = inputs(layer)
    quiet = layer(*x)
    for name, p in layer.named_parameters():
        if "out_proj" in name or "down" in name:
            p.value[...] = 0
    run = Run(np.random.default_rng(0))
    assert_equal(layer(*x, run=run), layer(*x))
    assert not np.allclose(layer(*x), quiet)


@pytest.mark.parametrize("kind", BLOCKS)
def test_dropout_acts_on_the_output_of_each_branch(kind):
    layer = block(kind, dropout=0.5)
    x = inputs(layer)
    for branch, last in (("self_attention", "out_proj"), ("cross_attention", "out_proj"),
                         ("feed_forward", "down")):  # fmt: skip
        if not hasattr(layer, branch):
            continue
        for name, p in layer.named_parameters():
            if name.endswith(("out_proj.weight", "down.weight", "out_proj.bias", "down.bias")):
                p.value[...] = 0
        getattr(getattr(layer, branch), last).bias.value[...] = 1  # the branch gives all ones
        added = layer(*x, run=Run(np.random.default_rng(0))) - x[0]
        np.testing.assert_allclose(np.unique(added.round(12)), [0, 2])


@pytest.mark.parametrize("kind", BLOCKS)
def test_without_biases_there_are_none(kind):
    names = [name for name, _ in kind(D, 2, bias=False).named_parameters()]
    assert names
    assert not any("bias" in name for name in names)


@pytest.mark.parametrize("kind", BLOCKS)
def test_the_inner_width_is_four_times_the_outer_unless_given(kind):
    assert kind(D, 2).feed_forward.up.weight.shape == (4 * D, D)
    assert kind(D, 2, 5).feed_forward.up.weight.shape == (5, D)


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"norm_position": "middle"}, "norm_position is 'middle'; expected one of pre, post"),
        ({"norm": "batch"}, "norm is 'batch'; expected one of layer, rms"),
        ({"norm_eps": 0}, "LayerNorm: eps is 0; expected a positive number"),
        ({"norm_eps": -1.0, "norm": "rms"}, "RMSNorm: eps is -1.0; expected a positive number"),
        ({"num_heads": 3}, "d_model 8 is not divisible by num_heads 3"),
        ({"activation": "swish"}, "activation is 'swish'; expected one of"),
        ({"dropout": 1.0}, "dropout is 1.0; expected 0 <= dropout < 1"),
    ],
)
def test_what_cannot_be_built_is_refused(kind, options, said):
    with pytest.raises(ValueError, match=said):
        kind(**{"d_model": D, "num_heads": 2, **options})
