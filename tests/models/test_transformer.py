"""Transformer: the paper's assembly, causality, padded sources, and what cannot be read."""

import re

import numpy as np
import pytest
from support.models import LENGTH, OPTIONS, SIZES, VOCAB, batch, build, trained
from support.passes import assert_close, assert_equal

import npformer.functional as F
from npformer.core import skeleton
from npformer.generation import beam_search, generate
from npformer.layers import MultiHeadAttention
from npformer.models import Transformer, TransformerConfig

every_position = pytest.mark.parametrize("position", OPTIONS)


def ids(seed=0, batch=2, length=LENGTH):
    return np.random.default_rng(seed).integers(0, VOCAB, (batch, length))


def test_the_size_of_the_paper_s_base_model():
    """37,000 tokens, one table for source, target and output; 65 million in its table 3."""
    with skeleton():  # nothing is drawn
        model = Transformer(TransformerConfig(100, 512, 512, 8, 6))
    rest = sum(p.value.size for p in model.parameters()) - 100 * 512
    attention, feed, norm = 4 * (512**2 + 512), 2 * 512 * 2048 + 512 + 2048, 2 * 512
    assert rest == 6 * (attention + feed + 2 * norm) + 6 * (2 * attention + feed + 3 * norm)
    assert 60e6 < rest + 37_000 * 512 < 65e6


def test_the_defaults_are_the_paper_s_and_so_is_the_formula():
    """sqrt(d_model) times one table plus sinusoids, on both sides; post-norm; a tied output."""
    model = trained_paper()
    table = dict(model.named_parameters())["source_inputs.token.weight"].value
    source, target = ids(length=4), ids(1, length=3)

    def embedded(tokens):
        x = np.sqrt(8) * table[tokens]
        return F.sinusoidal(x, np.arange(tokens.shape[1]))[0]

    memory = model.encoder(embedded(source))
    want = model.decoder(embedded(target), memory) @ table.T
    assert_close(model(source, target), want)
    assert model.encoder.norm is model.decoder.norm is None
    assert (model.config.dropout, model.config.label_smoothing) == (0.1, 0.1)


def trained_paper():
    config = TransformerConfig(**SIZES)
    model = Transformer(config, rng=np.random.default_rng(0), dtype=np.float64)
    for parameter in model.parameters():
        parameter.value *= 3
    return model


@every_position
def test_forward_is_decode_after_encode(position):
    model = trained(Transformer, position)
    source, target, _, mask = batch(Transformer)
    memory, _ = model.encode(source, mask)
    assert memory.shape == (3, LENGTH, 8)
    assert_equal(model.decode(target, memory, mask)[0], model(source, target, mask))


@every_position
@pytest.mark.parametrize("t", [0, 2, 3])
def test_the_target_is_read_causally_and_exactly_so(position, t):
    model = trained(Transformer, position, tie_embeddings=False)
    source, target = np.full((2, 3), 2), ids()
    other = target.copy()
    other[:, t + 1 :] = (target[:, t + 1 :] + 1) % VOCAB
    y, changed = model(source, target), model(source, other)
    assert_equal(y[:, : t + 1], changed[:, : t + 1])
    assert not np.array_equal(y[:, t + 1 :], changed[:, t + 1 :])
    target = np.array([[0] * (t + 1) + [1] * (LENGTH - t - 1)] * 2)  # 1 stands only after t
    y, saved = model.forward(source, target)
    dy = np.zeros_like(y)
    dy[:, t] = np.random.default_rng(1).standard_normal((2, VOCAB))
    model.backward(dy, saved)
    table = dict(model.named_parameters())["source_inputs.token.weight"].grad
    assert table[0].all()
    assert table[2].all()
    assert_equal(table[1], 0)


@every_position
def test_the_source_is_read_in_both_directions(position):
    model, source, target = trained(Transformer, position), ids(), ids(1)
    other = source.copy()
    other[:, -1] = (source[:, -1] + 1) % VOCAB
    assert not np.isclose(model(source, target)[:, 0], model(other, target)[:, 0]).any()


@every_position
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_source_changes_nothing(position, side):
    model, source, target = trained(Transformer, position), ids(batch=1), ids(1, batch=1)
    padding, is_padding = np.array([[5, 5]]), np.zeros((1, 2), bool)
    real = np.ones((1, LENGTH), bool)
    padded, mask = (
        np.concatenate(parts if side == "left" else parts[::-1], axis=1)
        for parts in ([padding, source], [is_padding, real])
    )
    want = model(source, target)
    assert_close(model(padded, target, mask), want, rtol=1e-11, atol=1e-12)
    assert_equal(model(np.where(mask, padded, 6), target, mask), model(padded, target, mask))
    assert not np.allclose(model(padded, target), want)


def test_label_smoothing_is_in_the_loss():
    source, target, targets, mask = batch(Transformer)
    for smoothing in (0.0, 0.3):
        model = trained(Transformer, label_smoothing=smoothing)
        logits = model(source, target, mask)
        want, _ = F.cross_entropy(logits, targets, label_smoothing=smoothing)
        assert_close(model.loss(source, target, targets, mask)[0], want)


@pytest.mark.parametrize("smoothing", [1.0, -0.1])
def test_a_label_smoothing_outside_of_0_to_1_is_refused(smoothing):
    with pytest.raises(ValueError, match=f"label_smoothing is {smoothing}; expected 0 <= it < 1"):
        build(Transformer, label_smoothing=smoothing)


A, B = np.array([[1, 2, 3]] * 2), np.array([[1, 2]] * 2)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((A[0], B), ValueError, "source is (3,); expected (batch, length), at least one of each; "
                                "put a single sequence in a batch with source[None]"),
        ((A, B[0]), ValueError, "put a single sequence in a batch with target_in[None]"),
        ((A.tolist(), B), TypeError, "source is a list; expected a NumPy array of integers"),
        ((A, B + 0.0), TypeError, "target_in is float64 (2, 2); expected a NumPy array of int"),
        ((A, B[:, :0]), ValueError, "target_in is (2, 0); expected (batch, length), at least one"),
        ((A, B[:1]), ValueError, "target_in has 1 sequences and the source 2; expected one target"),
        ((A + 4, B), ValueError, "ids[0, 2] is 7; expected 0 to 6 (a table of 7)"),
        ((A, B - 2), ValueError, "ids[0, 0] is -1; expected 0 to 6"),
        ((A, B, A), TypeError, "source_mask is int64 (2, 3); expected a bool array (batch"),
        ((A, B, B > 0), ValueError, "source_mask is (2, 2); expected (2, 3), True for each real"),
        ((A[:, [0] * 9], B), ValueError, "run from 0 to 8 but only 0 to 7 were made (max_len=8)"),
        ((A, B[:, [0] * 9]), ValueError, "run from 0 to 8 but only 0 to 7 were made (max_len=8)"),
    ],
)  # fmt: skip
def test_a_batch_that_cannot_be_read_is_refused(arguments, error, said):
    with pytest.raises(error, match=re.escape(said)):
        build(Transformer)(*arguments)


@pytest.mark.parametrize(
    ("targets", "error", "said"),
    [
        (A, ValueError, "targets are (2, 3) and target_in is (2, 2); expected the same shape"),
        (B[0], ValueError, "targets are (2,) and target_in is (2, 2); expected the same shape"),
        (B + 0.0, TypeError, "targets is float64 (2, 2); expected a NumPy array of integers"),
        (B + 5, ValueError, "targets[0, 1] is 7; expected 0 to 6"),
    ],
)
def test_targets_that_are_no_answers_are_refused(targets, error, said):
    with pytest.raises(error, match=re.escape(said)):
        build(Transformer).loss(A, B, targets)


def test_backward_is_refused_after_decoding_with_a_cache():
    model = trained_paper()
    logits, saved = model.forward(ids(length=4), ids(1, length=3))
    with pytest.raises(ValueError, match=r"Transformer\.backward: saved is None"):
        model.backward(logits, saved._replace(decode=None))


MARIAN = {
    "num_decoder_layers": 1,
    "sinusoid_layout": "halves",
    "scale_embeddings": False,
    "logits_bias": True,
    "activation": "silu",
    "tie_embeddings": True,
    "bias": True,
    "start_token": 3,
}


def test_as_marian_by_hand():
    """Sines first, embeddings as they are, fewer layers to write than to read, a fixed bias."""
    model = trained(Transformer, "sinusoidal", **MARIAN)
    table, constant = model.source_inputs.token.weight.value, model.head.bias.value
    source, target = ids(length=4), ids(1, length=3)

    def embedded(tokens):
        return F.sinusoidal(table[tokens], np.arange(tokens.shape[1]), "halves")[0]

    memory = model.encoder(embedded(source))
    want = model.decoder(embedded(target), memory) @ table.T + constant
    assert_close(model(source, target), want)
    assert (len(model.encoder.layers), len(model.decoder.layers)) == (2, 1)


@pytest.mark.parametrize("position", ["learned", "sinusoidal"])
def test_embeddings_are_scaled_where_it_is_asked_for(position):
    models = [trained(Transformer, position, scale_embeddings=s) for s in (True, False)]
    scaled, plain = (model.source_inputs(ids()) for model in models)
    table = models[0].source_inputs.token.weight.value
    assert_close(scaled - plain, (np.sqrt(8) - 1) * table[ids()], atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_bias_of_the_logits_is_in_the_loss_and_is_not_trained(smoothing):
    model = trained(Transformer, "sinusoidal", **MARIAN, label_smoothing=smoothing)
    source, target_in, targets, mask = batch(Transformer)
    loss, saved = model.loss(source, target_in, targets, mask)
    model.loss_backward(saved, 2.0)
    got = {name: p.grad.copy() for name, p in model.named_parameters()}
    assert not got["head.bias"].any()
    model.zero_grad()
    logits, undo = model.forward(source, target_in, mask)
    want, undo_loss = F.cross_entropy(logits, targets, label_smoothing=smoothing)
    model.backward(F.cross_entropy_backward(2.0, undo_loss), undo)
    assert loss == pytest.approx(want, rel=1e-12)
    assert_close({name: p.grad for name, p in model.named_parameters()}, got, atol=1e-12)


def test_a_rate_of_dropout_for_attention_weights_alone():
    def rates(**options):
        layers = [layer for _, layer in build(Transformer, dropout=0.3, **options).named_layers()]
        return {x.dropout for x in layers if type(x) is MultiHeadAttention}

    assert rates() == {0.3}
    assert rates(attention_dropout=0.1) == {0.1}
    assert rates(attention_dropout=0.0) == {0.0}


def test_each_stack_starts_small_by_its_own_depth():
    sizes = {"d_model": 64, "d_ff": 64, "num_layers": 1, "num_decoder_layers": 9}
    model = build(Transformer, **sizes)
    for stack, depth in ((model.encoder, 1), (model.decoder, 9)):
        std = stack.layers[0].feed_forward.down.weight.value.std()
        np.testing.assert_allclose(std, 0.02 / np.sqrt(2 * depth), rtol=0.1)


def test_a_target_starts_as_the_configuration_says():
    model = trained(Transformer, "sinusoidal", **MARIAN)
    for write in (generate, lambda *a, **o: beam_search(*a, num_beams=2, **o).best):
        options = {"temperature": 0} if write is generate else {}
        want = write(model, ids(), 4, start=3, **options)
        assert_equal(write(model, ids(), 4, **options), want)
        assert want.shape == (2, 4)
    assert (write(model, ids(), 4, start=5) != want).any()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"num_decoder_layers": 0}, ValueError, "num_decoder_layers is 0; expected a positive"),
        ({"attention_dropout": 1.0}, ValueError, "attention_dropout is 1.0; expected 0 <="),
        ({"sinusoid_layout": "thirds"}, ValueError, "sinusoid_layout is 'thirds'; expected one"),
        ({"scale_embeddings": 2}, TypeError, "scale_embeddings is 2; expected True or False or"),
        ({"logits_bias": None}, TypeError, "logits_bias is None; expected True or False"),
        ({"start_token": VOCAB}, ValueError, "start_token is 7; expected 0 to 6"),
        ({"start_token": -1}, ValueError, "start_token is -1; expected an int, 0 or more"),
    ],
)
def test_a_configuration_of_its_own_that_cannot_be_built(options, error, said):
    with pytest.raises(error, match=f"TransformerConfig: {said}"):
        TransformerConfig(**SIZES | options)
