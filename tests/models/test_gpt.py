"""GPT: size, causality, padding, positions, and batches that cannot be read."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.models import LENGTH, OPTIONS, VOCAB, build, trained
from support.passes import assert_close, assert_equal

from npformer.models import GPT, GPTConfig

every_position = pytest.mark.parametrize("position", OPTIONS)


def ids(seed=0, batch=2, length=LENGTH):
    return np.random.default_rng(seed).integers(0, VOCAB, (batch, length))


def test_the_size_of_nanogpt_s_small_character_model():
    """V D + T D + L (12 D^2 + 2 D) + D, with V = 65, T = 64, D = 128, L = 4."""
    model = GPT(GPTConfig(65, 64, 128, 4, 4, bias=False))
    assert sum(p.value.size for p in model.parameters()) == 804_096


def test_the_defaults_are_gpt_2_s():
    model = GPT(GPTConfig(5, 6, 4, 2, 1))
    assert {name: p.shape for name, p in model.named_parameters()} == {
        "inputs.token.weight": (5, 4),
        "inputs.position.weight": (6, 4),
        **{
            f"decoder.layers.0.self_attention.{name}_proj.{kind}": shape
            for name in ("q", "k", "v", "out")
            for kind, shape in (("weight", (4, 4)), ("bias", (4,)))
        },
        "decoder.layers.0.self_attention_norm.weight": (4,),
        "decoder.layers.0.self_attention_norm.bias": (4,),
        "decoder.layers.0.feed_forward.up.weight": (16, 4),
        "decoder.layers.0.feed_forward.up.bias": (16,),
        "decoder.layers.0.feed_forward.down.weight": (4, 16),
        "decoder.layers.0.feed_forward.down.bias": (4,),
        "decoder.layers.0.feed_forward_norm.weight": (4,),
        "decoder.layers.0.feed_forward_norm.bias": (4,),
        "decoder.norm.weight": (4,),
        "decoder.norm.bias": (4,),
    }


@every_position
@pytest.mark.parametrize("t", [0, 2, 3])
def test_causality_is_exact(position, t):
    """Later tokens change no earlier logit, and no gradient of one reaches their embeddings."""
    model, tokens = trained(GPT, position, tie_embeddings=False), ids()
    other = tokens.copy()
    other[:, t + 1 :] = (tokens[:, t + 1 :] + 1) % VOCAB
    y, changed = model(tokens), model(other)
    assert_equal(y[:, : t + 1], changed[:, : t + 1])
    assert not np.array_equal(y[:, t + 1 :], changed[:, t + 1 :])
    tokens = np.array([[0] * (t + 1) + [1] * (LENGTH - t - 1)])  # 1 stands only after t
    y, saved = model.forward(tokens)
    dy = np.zeros_like(y)
    dy[:, t] = np.random.default_rng(1).standard_normal(VOCAB)
    model.backward(dy, saved)
    table = dict(model.named_parameters())["inputs.token.weight"].grad
    assert table[0].all()
    assert_equal(table[1:], 0)


@every_position
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing_for_real_tokens(position, side):
    model, tokens = trained(GPT, position), ids(batch=1)
    padding, is_padding = np.array([[5, 5]]), np.zeros((1, 2), bool)
    real = np.ones((1, LENGTH), bool)
    padded, mask = (
        np.concatenate(parts if side == "left" else parts[::-1], axis=1)
        for parts in ([padding, tokens], [is_padding, real])
    )
    assert_close(model(padded, mask)[mask], model(tokens)[0])
    other = np.where(mask, padded, 6)
    assert_equal(model(other, mask)[mask], model(padded, mask)[mask])
    targets = np.where(mask, padded[:, ::-1], -100)
    assert model.loss(padded, targets, mask)[0] == model.loss(other, targets, mask)[0]
    if side == "left":
        assert not np.allclose(model(padded)[mask], model(tokens)[0])


@every_position
@given(st.lists(st.booleans(), min_size=LENGTH, max_size=LENGTH).filter(any))
def test_the_positions_of_a_row_do_not_depend_on_its_neighbours(position, real):
    """Also where padding is inside a row, or on both of its sides."""
    model, tokens = trained(GPT, position), ids(batch=3)
    mask = np.array([[True] * LENGTH, real, [False] * (LENGTH - 1) + [True]])
    together = model(tokens, mask)[1]
    alone = model(tokens[1:2], mask[1:2])[0]
    assert_close(together[mask[1]], alone[mask[1]])


@every_position
def test_positions_are_counted_from_the_first_real_token_or_given(position):
    model, tokens = trained(GPT, position), ids()
    arange = np.arange(LENGTH)
    mask = np.array([[True] * LENGTH, [False, False, True, True, True]])
    at = np.array([[0, 1, 2, 3, 4], [0, 0, 0, 1, 2]])
    assert_close(model(tokens), model(tokens, positions=arange))
    assert_close(model(tokens), model(tokens, positions=arange[None]))
    assert_close(model(tokens, mask)[mask], model(tokens, mask, at)[mask])
    assert not np.allclose(model(tokens), model(tokens, positions=np.array([0, 2, 1, 3, 4])))
    if position in ("rotary", "alibi"):
        assert_close(model(tokens), model(tokens, positions=arange + 100), atol=1e-11)
    if position == "sinusoidal":
        assert not np.allclose(model(tokens), model(tokens, positions=arange + 100))


def test_alibi_lowers_scores_by_the_distance_of_the_given_positions():
    model, tokens = trained(GPT, "alibi"), ids(batch=1)
    twice_as_far = model(tokens, positions=2 * np.arange(LENGTH))
    apart = np.zeros((1, 2 * LENGTH - 1), int)
    apart[:, ::2] = tokens
    real = np.zeros_like(apart, bool)
    real[:, ::2] = True
    assert_close(twice_as_far[0], model(apart, real)[real])


@pytest.mark.parametrize("position", ["sinusoidal", "rotary", "alibi"])
def test_only_learned_positions_have_an_end(position):
    assert build(GPT, position)(ids(length=20)).shape == (2, 20, VOCAB)
    with pytest.raises(ValueError, match=r"run from 0 to 19 but only 0 to 7 were made .*larger"):
        build(GPT)(ids(length=20))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_ids_may_be_of_any_integer_dtype(dtype):
    model = trained(GPT)
    assert_equal(model(ids().astype(dtype)), model(ids()))
    assert model(np.array([[1]])).shape == (1, 1, VOCAB)


TOKENS = np.array([[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (([[1, 2]],), TypeError, "GPT: ids is a list; expected a NumPy array of integers"),
        ((TOKENS + 0.5,), TypeError, "GPT: ids is float64 (2, 2); expected a NumPy array of int"),
        ((TOKENS > 1,), TypeError, "GPT: ids is bool (2, 2); expected a NumPy array of integers"),
        ((TOKENS[0],), ValueError, "GPT: ids is (2,); expected (batch, length), at least one of "
                                   "each; put a single sequence in a batch with ids[None]"),
        ((TOKENS[:0],), ValueError, "GPT: ids is (0, 2); expected (batch, length), at least one"),
        ((TOKENS[:, :0],), ValueError, "GPT: ids is (2, 0); expected (batch, length), at least"),
        ((TOKENS + 4,), ValueError, "ids[1, 0] is 7; expected 0 to 6 (a table of 7)"),
        ((TOKENS - 2,), ValueError, "ids[0, 0] is -1; expected 0 to 6 (a table of 7)"),
        ((TOKENS, np.ones((2, 2))), TypeError, "GPT: mask is float64 (2, 2); expected a bool arr"),
        ((TOKENS, [[True] * 2] * 2), TypeError, "GPT: mask is a list; expected a bool array"),
        ((TOKENS, np.ones(2, bool)), ValueError, "GPT: mask is (2,); expected (2, 2), True for"),
        ((TOKENS, np.ones((2, 3), bool)), ValueError, "GPT: mask is (2, 3); expected (2, 2)"),
        ((TOKENS, None, [0, 1]), TypeError, "GPT: positions is a list; expected a NumPy array"),
        ((TOKENS, None, np.arange(3)), ValueError, "GPT: positions are (3,); expected (2, 2), or "
                                                   "(2,) for the same in all sequences"),
        ((TOKENS, None, np.array(1)), ValueError, "GPT: positions are (); expected (2, 2)"),
        ((TOKENS, None, np.array([0, 8])), ValueError, "positions run from 0 to 8 but only 0 to 7"),
    ],
)  # fmt: skip
def test_a_batch_that_cannot_be_read_is_refused(arguments, error, said):
    with pytest.raises(error, match=re.escape(said)):
        build(GPT)(*arguments)


@pytest.mark.parametrize(
    ("targets", "error", "said"),
    [
        (TOKENS[:, :1], ValueError, "GPT: targets are (2, 1) and ids is (2, 2); expected the same"),
        (TOKENS[0], ValueError, "GPT: targets are (2,) and ids is (2, 2); expected the same shape"),
        (TOKENS + 0.0, TypeError, "GPT: targets is float64 (2, 2); expected a NumPy array of int"),
        (TOKENS + 3, ValueError, "targets[1, 1] is 7; expected 0 to 6"),
        (TOKENS - 2, ValueError, "targets[0, 0] is -1; expected 0 to 6"),
    ],
)
def test_targets_that_are_no_answers_are_refused(targets, error, said):
    with pytest.raises(error, match=re.escape(said)):
        build(GPT).loss(TOKENS, targets)
