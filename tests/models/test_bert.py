"""BERT: what each token sees, types, padding, its head and pooler, and what cannot be read."""

import re

import numpy as np
import pytest
from support.models import LENGTH, OPTIONS, VOCAB, batch, build, trained
from support.passes import assert_close, assert_equal, assert_gradient_of_the_loss, moved

import npformer.functional as F
from npformer import gradcheck
from npformer.generation import generate
from npformer.models import BERT, GPT, BERTConfig
from npformer.training import AdamW, Trainer
from npformer.training.checkpoint import load_model

every_position = pytest.mark.parametrize("position", OPTIONS)


def ids(seed=0, size=2, length=LENGTH):
    return np.random.default_rng(seed).integers(0, VOCAB, (size, length))


def test_the_defaults_are_the_paper_s():
    """V D + T D + 2 D + 2 D; L (12 D^2 + 13 D); D^2 + D + 2 D + V."""
    model = BERT(BERTConfig(11, 6, 8, 2, 3))
    total = (11 + 6 + 2 + 2) * 8 + 3 * (12 * 64 + 13 * 8) + 64 + 24 + 11
    assert sum(p.value.size for p in model.parameters()) == total
    config = model.config
    assert (config.norm_position, config.activation) == ("post", "gelu")
    assert (config.norm_eps, config.dropout, config.num_token_types) == (1e-12, 0.1, 2)


def test_types_and_the_norm_of_the_sum_by_hand():
    model = trained(BERT)
    tokens, types = ids(), ids(1) % 2
    table, places, kinds = (
        layer.weight.value
        for layer in (model.inputs.token, model.inputs.position, model.inputs.token_type)
    )
    total = table[tokens] + places[:LENGTH] + kinds[types]
    norm = model.inputs.norm
    want, _ = F.layer_norm(total, norm.weight.value, norm.bias.value, norm.eps)
    assert_close(model.inputs(tokens, None, types), want)


def test_without_types_all_are_of_type_0():
    model = trained(BERT)
    assert_equal(model(ids()), model(ids(), np.zeros((2, LENGTH), int)))
    assert np.abs(model(ids()) - model(ids(), np.ones((2, LENGTH), int))).max() > 0.01


@every_position
def test_every_token_sees_every_other(position):
    model = trained(BERT, position)
    tokens = ids(size=1)
    before = model(tokens)
    for t in range(LENGTH):
        changed = tokens.copy()
        changed[0, t] = (changed[0, t] + 1) % VOCAB
        assert (np.abs(model(changed) - before).max(axis=-1) > 1e-6).all()


@every_position
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing_for_the_real_tokens(position, side):
    model = trained(BERT, position)
    tokens, types = ids(length=4), ids(1, length=4) % 2
    at = slice(3, None) if side == "left" else slice(0, 4)
    padded, padded_types, mask = ids(5, length=7), ids(6, length=7) % 2, np.zeros((2, 7), bool)
    padded[:, at], padded_types[:, at], mask[:, at] = tokens, types, True
    assert_close(model(padded, padded_types, mask)[:, at], model(tokens, types), atol=1e-11)


def test_the_loss_is_that_of_all_logits():
    model, (tokens, targets, mask, types) = trained(BERT), batch(BERT)
    loss, _ = model.loss(tokens, targets, mask, types)
    every = model.logits(model(tokens, types, mask))
    assert every.shape == (*tokens.shape, VOCAB)
    want, _ = F.cross_entropy(every, targets)
    assert loss == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("options", ["learned", "sinusoidal", "rotary"])
def test_gradients_through_the_head_by_either_way_are_the_same(options):
    """Of the counted alone, in one with the loss; and of all logits, as a layer."""
    model, (tokens, targets, mask, types) = trained(BERT, options), batch(BERT)
    _, saved = model.loss(tokens, targets, mask, types)
    model.loss_backward(saved, 2.0)
    want = {name: p.grad.copy() for name, p in model.named_parameters()}
    model.zero_grad()
    hidden, undo = model.forward(tokens, types, mask)
    every, undo_head = model.head.forward(hidden)
    _, undo_loss = F.cross_entropy(every, targets)
    dlogits = F.cross_entropy_backward(2.0, undo_loss)
    model.backward(model.head.backward(dlogits, undo_head), undo)
    assert_close({name: p.grad for name, p in model.named_parameters()}, want, atol=1e-12)


@pytest.mark.parametrize("part", ["pooler", "head"])
@pytest.mark.parametrize("options", ["learned", "sinusoidal"])
def test_the_gradients_of_the_pooler_and_of_the_head(part, options):
    model = trained(BERT, options, pooler=True)
    hidden = np.random.default_rng(1).standard_normal((2, 3, 8))
    gradcheck(getattr(model, part), hidden).assert_ok()


def test_the_gradient_of_the_loss_in_every_parameter():
    model, inputs = trained(BERT, num_layers=1), batch(BERT)
    assert_gradient_of_the_loss(model, *inputs)


def test_the_pooler_by_hand():
    model = trained(BERT, pooler=True)
    hidden = model(ids())
    dense = model.pooler.dense
    want = np.tanh(hidden[:, 0] @ dense.weight.value.T + dense.bias.value)
    assert_close(model.pooled(hidden), want)


def test_a_base_model_has_hidden_states_and_no_loss():
    model = moved(build(BERT, head=False))
    assert not any(name.startswith("head") for name in model.state_dict())
    whole = trained(BERT)
    whole.load_state_dict(whole.state_dict() | model.state_dict())
    assert_equal(model(ids()), whole(ids()))
    for call in (lambda: model.loss(ids(), ids()), lambda: model.logits(model(ids()))):
        with pytest.raises(ValueError, match=re.escape("BERTConfig(head=True)") + "$"):
            call()
    with pytest.raises(ValueError, match=re.escape("BERTConfig(pooler=True)")):
        model.pooled(model(ids()))


def test_a_base_gpt_ends_with_its_hidden_states():
    whole, base = trained(GPT), build(GPT, head=False)
    base.load_state_dict(whole.state_dict())
    h = base(ids())
    assert_close(h @ base.inputs.token.weight.value.T, whole(ids()))
    cache = base.new_cache(2, LENGTH)
    assert_close(base(ids(), cache=cache), h)
    with pytest.raises(ValueError, match=re.escape("GPTConfig(head=True)") + "$"):
        base.loss(ids(), ids())
    with pytest.raises(ValueError, match="this GPT is a base model, without a head"):
        generate(base, ids(), 1)


@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_a_checkpoint_of_each_layer_changes_nothing(position):
    inputs, results = batch(BERT), []
    for checkpoint in (False, True):
        model = trained(BERT, position, checkpoint=checkpoint)
        loss, saved = model.loss(*inputs)
        model.loss_backward(saved)
        results.append({"loss": loss, **{n: p.grad for n, p in model.named_parameters()}})
    assert_close(*results, rtol=0, atol=0)


def test_a_trainer_shards_saves_and_goes_on(tmp_path):
    def trainer(workers=1):
        model = build(BERT, dtype=np.float32, dropout=0.1, pooler=True)
        rng = np.random.default_rng(4)
        return Trainer(model, AdamW(model.parameters()), workers=workers, rng=rng)

    first, second, inputs = trainer(2), trainer(2), batch(BERT)
    first.step(*inputs)
    first.save(tmp_path / "bert.npz")
    want = [first.step(*inputs) for _ in range(2)]
    second.load(tmp_path / "bert.npz")
    assert [second.step(*inputs) for _ in range(2)] == want
    model, _ = load_model(tmp_path / "bert.npz")
    assert isinstance(model, BERT)
    assert model.config == first.model.config


BAD_INPUTS = [
    ((ids()[0],), ValueError, "ids is (5,); expected (batch, length)"),
    ((ids(), ids()[:1] % 2), ValueError, "token_type_ids are (1, 5) and ids are (2, 5)"),
    ((ids(), np.full((2, 5), 2)), ValueError, "token_type_ids[0, 0] is 2; expected 0 to 1"),
    ((ids(), np.ones((2, 5))), TypeError, "token_type_ids is float64 (2, 5); expected"),
    ((ids(), None, np.ones((2, 5), int)), TypeError, "mask is int64 (2, 5); expected a bool"),
    ((ids(), None, np.ones((2, 4), bool)), ValueError, "mask is (2, 4); expected (2, 5)"),
    ((ids(length=9),), ValueError, "positions run from 0 to 8 but only 0 to 7 were made"),
]


@pytest.mark.parametrize(("inputs", "error", "said"), BAD_INPUTS)
def test_what_cannot_be_read_is_refused(inputs, error, said):
    with pytest.raises(error, match=re.escape(said)):
        build(BERT)(*inputs)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"num_token_types": 0}, ValueError, "num_token_types is 0; expected a positive int"),
        ({"head": 1}, TypeError, "head is 1; expected True or False"),
        ({"pooler": None}, TypeError, "pooler is None; expected True or False"),
    ],
)
def test_a_configuration_of_its_own_that_cannot_be_built(options, error, said):
    with pytest.raises(error, match=f"BERTConfig: {said}"):
        build(BERT, **options)


def test_a_target_for_each_token():
    with pytest.raises(ValueError, match=re.escape("targets are (2, 4) and ids is (2, 5)")):
        build(BERT).loss(ids(), ids(length=4))
