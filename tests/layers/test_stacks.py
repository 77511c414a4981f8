"""Encoder and Decoder: layers after one another, and one memory for all of them."""

import numpy as np
import pytest
from support.passes import assert_close, assert_equal, gradients, moved
from support.strategies import normal

from npformer import masks
from npformer.layers import Decoder, Encoder, LayerNorm, RMSNorm

D = 8


def stack(kind, num_layers=3, **options):
    options = {"activation": "gelu", "num_kv_heads": 1} | options
    return moved(kind(num_layers, D, 2, 12, **options, dtype=np.float64))


@pytest.mark.parametrize("kind", [Encoder, Decoder])
@pytest.mark.parametrize(("norm", "type_"), [("layer", LayerNorm), ("rms", RMSNorm)])
def test_pre_norm_stacks_end_with_a_norm_and_post_norm_stacks_do_not_unless_told(kind, norm, type_):
    for where, by_itself in (("pre", True), ("post", False)):
        for told, ends in ((None, by_itself), (True, True), (False, False)):
            one = kind(2, D, 2, norm=norm, norm_position=where, final_norm=told)
            assert type(one.norm) is (type_ if ends else type(None))
            assert any(name.startswith("norm.") for name, _ in one.named_parameters()) == ends


@pytest.mark.parametrize("where", ["pre", "post"])
def test_a_stack_is_its_layers_one_after_another(where):
    x, z = normal(0, 2, 4, D), normal(1, 2, 5, D)
    bias, mask = normal(2, 2, 4, 4), masks.padding(np.array([2, 4]))
    mask_of_five = masks.padding(np.array([3, 5]))
    encoder, decoder = (stack(kind, norm_position=where) for kind in (Encoder, Decoder))
    a = b = x
    for one, two in zip(encoder.layers, decoder.layers, strict=True):
        a = one(a, mask=mask, bias=bias)
        b = two(b, z, mask=mask, memory_mask=mask_of_five, bias=bias)
    if where == "pre":
        a, b = encoder.norm(a), decoder.norm(b)
    assert_close(encoder(x, mask=mask, bias=bias), a)
    assert_close(decoder(x, z, mask=mask, memory_mask=mask_of_five, bias=bias), b)


@pytest.mark.parametrize(("kind", "memory"), [(Encoder, ()), (Decoder, (normal(1, 2, 5, D),))])
def test_what_a_stack_of_another_depth_saved_is_refused(kind, memory):
    y, saved = stack(kind, 2).forward(normal(0, 2, 4, D), *memory)
    with pytest.raises(ValueError, match="zip"):
        stack(kind, 3).backward(y, saved)


def test_the_layers_of_a_stack_are_separate():
    encoder = stack(Encoder)
    assert len({id(p) for p in encoder.parameters()}) == 3 * 16 + 2
    assert not np.array_equal(*(layer.feed_forward.up.weight.value for layer in encoder.layers[:2]))


@pytest.mark.parametrize("where", ["pre", "post"])
def test_the_memory_of_a_decoder_receives_the_sum_over_its_layers(where):
    decoder = stack(Decoder, norm_position=where)
    x, z, dy = normal(0, 2, 4, D), normal(1, 2, 5, D), normal(2, 2, 4, D)
    (dx, dz), _ = gradients(decoder, dy, x, z)
    saved = []
    for layer in decoder.layers:
        x, s = layer.forward(x, z)
        saved.append(s)
    want, d = 0, dy
    if where == "pre":
        d = decoder.norm.backward(dy, decoder.norm.forward(x)[1])
    for layer, s in zip(decoder.layers[::-1], saved[::-1], strict=True):
        d, part = layer.backward(d, s)
        want = want + part
    assert_close(dz, want)
    assert_close(dx, d)


@pytest.mark.parametrize("where", ["pre", "post"])
@pytest.mark.parametrize("options", [{}, {"norm": "rms", "rotary_base": 100.0}])
def test_causality_is_exact_through_a_stack(where, options):
    encoder, decoder = (stack(k, norm_position=where, **options) for k in (Encoder, Decoder))
    x, z = normal(0, 2, 6, D), normal(1, 2, 5, D)
    for layer, more, given in ((encoder, (), {"mask": masks.causal()}), (decoder, (z,), {})):
        for t in (0, 2, 4):
            other = x.copy()
            other[:, t + 1 :] = normal(2, 2, 5 - t, D)
            y, changed = (layer(a, *more, **given) for a in (x, other))
            assert_equal(y[:, : t + 1], changed[:, : t + 1])
            dy = np.zeros_like(y)
            dy[:, t] = normal(3, 2, D)
            dx = gradients(layer, dy, x, *more, **given)[0][0]
            assert_equal(dx[:, t + 1 :], 0)
            assert dx[:, : t + 1].all()


def test_padding_reaches_no_real_place_through_an_encoder():
    """Not even NaN: neither an output nor, where it is a number, any gradient."""
    encoder, x, dy = stack(Encoder), normal(0, 2, 5, D), normal(1, 2, 5, D)
    real = np.array([[True, True, False, False, True], [False, True, True, True, True]])
    dy[~real] = 0
    mask = real[:, None, None, :]
    y, (dx,), dp = encoder(x, mask=mask), *gradients(encoder, dy, x, mask=mask)
    for other in (1e3 * normal(2, 2, 5, D), np.full((2, 5, D), np.nan)):
        spoilt = np.where(real[..., None], x, other)
        assert_close(encoder(spoilt, mask=mask)[real], y[real])
    (dx_other,), dp_other = gradients(
        encoder, dy, np.where(real[..., None], x, normal(2, 2, 5, D)), mask=mask
    )
    assert_equal(dx[~real], 0)
    assert_close(dx_other, dx)
    assert_close(dp_other, dp)


def test_padding_of_the_memory_reaches_nothing_through_a_decoder():
    decoder = stack(Decoder)
    x, z, dy = normal(0, 2, 4, D), normal(1, 2, 5, D), normal(2, 2, 4, D)
    real = np.array([[True, True, False, False, True], [False, True, True, True, True]])
    mask = real[:, None, None, :]
    y, (dx, dz), dp = (
        decoder(x, z, memory_mask=mask),
        *gradients(decoder, dy, x, z, memory_mask=mask),
    )
    assert_equal(dz[~real], 0)
    for other in (1e3 * normal(2, 2, 5, D), np.full((2, 5, D), np.nan)):
        spoilt = np.where(real[..., None], z, other)
        assert_close(decoder(x, spoilt, memory_mask=mask), y)
        with np.errstate(invalid="ignore"):  # 0 times NaN in the gradients of the projections
            (dx_other, dz_other), dp_other = gradients(decoder, dy, x, spoilt, memory_mask=mask)
        assert_close(dx_other, dx)
        assert_close(dz_other, dz)
        if np.isfinite(other).all():
            assert_close(dp_other, dp)


@pytest.mark.parametrize("kind", [Encoder, Decoder])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_layers": 0}, "coder: num_layers is 0; expected a positive int"),
        ({"norm_position": "last"}, "norm_position is 'last'; expected one of pre, post"),
        ({"norm": "batch"}, "norm is 'batch'; expected one of layer, rms"),
    ],
)
def test_what_cannot_be_built_is_refused(kind, options, said):
    with pytest.raises(ValueError, match=said):
        kind(**{"num_layers": 1, "d_model": D, "num_heads": 2, **options})


def test_widths_that_differ_are_named():
    with pytest.raises(ValueError, match=r"memory is \(5, 7\); expected \(..., length, 8\)"):
        stack(Decoder)(normal(0, 4, D), normal(1, 5, 7))
