"""Sampling and the generation loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import normal, seeds

from npformer.generation import (
    generate,
    next_token_probabilities,
    next_tokens,
    penalise_repeats,
)
from npformer.models import GPT, GPTConfig, Transformer, TransformerConfig

GPT_CONFIG = GPTConfig(vocab_size=7, max_len=12, d_model=8, num_heads=2, num_layers=1)
TRANSFORMER_CONFIG = TransformerConfig(
    vocab_size=7, max_len=12, d_model=8, num_heads=2, num_layers=1
)


def sharpened(model):
    """Weights large enough that a model prefers some tokens clearly."""
    for parameter in model.parameters():
        parameter.value *= 20
    return model


@pytest.fixture
def gpt():
    return sharpened(GPT(GPT_CONFIG, rng=np.random.default_rng(0), dtype=np.float64))


@pytest.fixture
def transformer():
    return sharpened(
        Transformer(TRANSFORMER_CONFIG, rng=np.random.default_rng(0), dtype=np.float64)
    )


@given(seeds, st.integers(1, 4), st.integers(1, 6), st.floats(0.05, 5), st.floats(0.01, 1))
def test_probabilities_are_a_distribution_over_the_best(seed, batch, vocab, temperature, top_p):
    logits = normal(seed, batch, vocab)
    p = next_token_probabilities(logits, temperature=temperature, top_p=top_p)
    np.testing.assert_allclose(np.sum(p, axis=-1), 1, rtol=1e-12)
    full = next_token_probabilities(logits, temperature=temperature)
    for row, whole in zip(p, full, strict=True):
        kept = row > 0
        assert np.sum(whole[kept]) >= top_p - 1e-12  # they hold the share ...
        smallest = np.min(whole[kept])
        assert np.sum(whole[kept]) - smallest < top_p  # ... and none can be spared
        assert np.all(whole[~kept] <= smallest)


@given(seeds, st.integers(1, 9))
def test_top_k_keeps_k(seed, k):
    p = next_token_probabilities(normal(seed, 3, 6), top_k=k)
    np.testing.assert_array_equal(np.count_nonzero(p, axis=-1), min(k, 6))


def test_equal_logits_are_told_apart_by_their_ids():
    p = next_token_probabilities(np.zeros((1, 4)), top_k=2)
    np.testing.assert_array_equal(p, [[0.5, 0.5, 0, 0]])
    assert next_tokens(np.zeros((1, 4)), np.random.default_rng(0), temperature=0) == 0


def test_draws_follow_the_probabilities():
    logits = np.tile(np.log([0.5, 0.3, 0.2, 1e-9]), (20000, 1))
    drawn = next_tokens(logits, np.random.default_rng(0))
    share = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(share, [0.5, 0.3, 0.2, 0], atol=0.015)


@pytest.mark.parametrize("temperature", [1e-300, 1e-30, 1e30])
def test_extreme_temperatures_give_no_nan(temperature):
    p = next_token_probabilities(np.array([[3.0, 1.0, -np.inf]]), temperature=temperature)
    np.testing.assert_allclose(p, [[1, 0, 0]] if temperature < 1 else [[0.5, 0.5, 0]])


def test_greedy_is_the_argmax_of_the_full_forward_at_each_step(gpt):
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    out = generate(gpt, ids, 5, temperature=0)
    assert out.shape == (2, 8)
    np.testing.assert_array_equal(out[:, :3], ids)
    for t in range(3, 8):
        np.testing.assert_array_equal(out[:, t], np.argmax(gpt(out[:, :t])[:, -1], axis=-1))


def test_encoder_decoder_returns_the_target_without_its_start(transformer):
    source = np.array([[1, 2, 3], [4, 5, 6]])
    out = generate(transformer, source, 4, start=0, temperature=0)
    assert out.shape == (2, 4)
    target_in = np.concatenate([np.zeros((2, 1), int), out[:, :-1]], axis=1)
    best = np.argmax(transformer(source, target_in), axis=-1)
    np.testing.assert_array_equal(out, best)


def test_padding_on_the_left_changes_nothing(gpt):
    alone = generate(gpt, np.array([[4, 5]]), 6, temperature=0)
    padded = np.array([[0, 0, 4, 5], [1, 2, 3, 4]])
    mask = np.array([[False, False, True, True], [True] * 4])
    together = generate(gpt, padded, 6, mask=mask, temperature=0)
    np.testing.assert_array_equal(together[0, 2:], alone[0])


def test_a_source_mask_hides_padding(transformer):
    alone = generate(transformer, np.array([[4, 5]]), 4, start=0, temperature=0)
    mask = np.array([[True, True, False]])
    padded = generate(transformer, np.array([[4, 5, 1]]), 4, start=0, mask=mask, temperature=0)
    np.testing.assert_array_equal(padded, alone)


def test_the_same_generator_gives_the_same_text(gpt):
    ids = np.array([[1], [2]])
    a, b, c = (
        generate(gpt, ids, 8, temperature=30, rng=np.random.default_rng(s)) for s in (5, 5, 6)
    )
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_rows_that_have_ended_repeat_their_stop_token(gpt):
    ids = np.array([[1], [2], [3]])
    free = generate(gpt, ids, 8, temperature=0)
    stop = [int(free[0, 2]), int(free[1, 3])]
    out = generate(gpt, ids, 8, temperature=0, stop=stop)
    for row, whole in zip(out, free, strict=True):
        hits = np.flatnonzero(np.isin(row[1:], stop)) + 1
        end = hits[0] if hits.size else len(row) - 1
        np.testing.assert_array_equal(row[: end + 1], whole[: end + 1])
        assert np.all(row[end:] == row[end])


def test_generation_stops_when_all_rows_have(gpt):
    first = int(generate(gpt, np.array([[1]]), 1, temperature=0)[0, 1])
    assert generate(gpt, np.array([[1]]), 8, temperature=0, stop=first).shape == (1, 2)


def test_context_writes_on_past_the_longest_sequence(gpt):
    out = generate(gpt, np.array([[1, 2]]), 20, temperature=0, context=4)
    assert out.shape == (1, 22)
    assert out[0, -1] == np.argmax(gpt(out[:, -5:-1])[0, -1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": np.nan}, "temperature is nan"),
        ({"temperature": 10**400}, "temperature is 1000"),
        ({"top_k": 0}, "top_k is 0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": 12}, r"shown 13 tokens and knows only 12.*context=12"),
        ({"context": 0}, "context is 0"),
        ({"start": 1}, "has no encoder"),
        ({"ids": np.zeros((1, 0), int)}, r"ids are \(1, 0\)"),
        ({"mask": np.array([[True, False]])}, "pad prompts on the left"),
    ],
)
def test_bad_options_are_refused(gpt, options, said):
    arguments = {"ids": np.array([[1, 2]]), "max_new_tokens": 3, **options}
    with pytest.raises(ValueError, match=said):
        generate(gpt, **arguments)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"temperature": None}, r"temperature is None; expected 0 \(the best token\) or a posit"),
        ({"temperature": "a"}, "temperature is 'a'; expected 0"),
        ({"temperature": True}, "temperature is True"),
        ({"temperature": np.ones(2)}, r"temperature is float64 \(2,\); expected 0"),
        ({"top_p": "a"}, "top_p is 'a'; expected 0 < top_p <= 1, or None for all tokens"),
        ({"top_p": True}, "top_p is True"),
        ({"top_k": 1.5}, "top_k is 1.5; expected a positive int"),
        ({"context": 2.0}, "context is 2.0; expected a positive int"),
        ({"max_new_tokens": True}, "max_new_tokens is True; expected a positive int"),
        ({"rng": "a"}, r"rng is 'a'; expected a numpy.random.Generator, .*default_rng\(0\), or No"),
        ({"rng": 3}, r"rng is 3; .*such as np.random.default_rng\(3\), or None for fresh entropy"),
        ({"model": None}, "model is a NoneType; expected a model, such as GPT or Transformer"),
        ({"model": 3}, "model is an int; expected a model"),
    ],
)
def test_options_of_another_kind_are_refused(gpt, options, said):
    arguments = {"model": gpt, "ids": np.array([[1, 2]]), "max_new_tokens": 3, **options}
    with pytest.raises(TypeError, match=f"generate: {said}"):
        generate(**arguments)


def test_numbers_of_numpy_are_numbers(gpt):
    def text(of):
        options = {"temperature": of(2), "top_k": 3, "top_p": np.float32(0.5)}
        return generate(gpt, np.array([[1, 2]]), 3, rng=np.random.default_rng(0), **options)

    for of in (np.float32, np.float64, np.int64, float):
        np.testing.assert_array_equal(text(of), text(int))


@pytest.mark.parametrize(
    ("stop", "error", "said"),
    [
        (
            [[7, 99]],
            ValueError,
            r"stop is \[\[7, 99\]\]; .*flat list; for a run of tokens pass a fun",
        ),
        (np.array([[1]]), ValueError, r"stop is array\(\[\[1\]\]\)"),
        ([[1], [2, 3]], TypeError, r"stop is \[\[1\], \[2, 3\]\]; .*for a run of tokens"),
        ([True], TypeError, r"stop is \[True\]"),
        ({1}, TypeError, r"stop is \{1\}"),
        (999, ValueError, r"stop is 999; expected 0 to 6 \(a vocabulary of 7\)"),
        (2**70, ValueError, f"stop is {2**70}; expected 0 to 6"),
        (-1, ValueError, "stop is -1; expected 0 to 6"),
        ([3, 7], ValueError, "stop holds 7; expected 0 to 6"),
    ],
)
def test_what_no_text_ends_with_is_refused(gpt, stop, error, said):
    with pytest.raises(error, match=f"generate: {said}"):
        generate(gpt, np.array([[1, 2]]), 3, stop=stop)


def test_a_model_without_a_vocabulary_stops_at_any_id_from_0():
    def model(ids, mask=None):
        return np.eye(3)[ids]  # the last token once more

    assert generate(model, np.array([[2]]), 5, temperature=0, stop=[2, 50]).shape == (1, 2)
    assert generate(model, np.array([[2]]), 5, temperature=0, stop=[]).shape == (1, 6)
    with pytest.raises(ValueError, match="stop is -1; expected 0 or more"):
        generate(model, np.array([[2]]), 5, stop=-1)


@pytest.mark.parametrize("rng", [None, 3, "a"])
def test_tokens_are_drawn_by_a_generator(rng):
    logits = np.zeros((1, 3))
    with pytest.raises(TypeError, match=f"next_tokens: rng is {rng!r}; .* np.random.default_rng"):
        next_tokens(logits, rng)
    if rng is None:  # nothing is drawn
        np.testing.assert_array_equal(next_tokens(logits, rng, temperature=0), [0])
    else:
        with pytest.raises(TypeError, match="or None at temperature 0"):
            next_tokens(logits, rng, temperature=0)


def test_complex_logits_are_refused():
    logits = np.zeros((1, 3), complex)
    rng = np.random.default_rng(0)
    for choose in (
        lambda: next_token_probabilities(logits),
        lambda: next_tokens(logits, rng),
        lambda: next_tokens(logits, rng, temperature=0),
        lambda: penalise_repeats(logits, np.zeros((1, 3), bool), 1.5),
    ):
        with pytest.raises(TypeError, match=r"logits is complex128 \(1, 3\); .*pass logits.real"):
            choose()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({}, ValueError, "give the token that its target starts"),
        ({"start": 7}, ValueError, r"start is 7; expected 0 to 6 \(a vocabulary of 7\)"),
        ({"start": 2**70}, ValueError, f"start is {2**70}; expected 0 to 6"),
        ({"start": -1}, ValueError, "start is -1; expected 0 to 6"),
        ({"start": [1, 2]}, TypeError, "expected one token id"),
        ({"start": 1.5}, TypeError, "start is 1.5; expected one token id, an int"),
        ({"start": True}, TypeError, "start is True; expected one token id, an int"),
        ({"start": 1, "context": 3}, ValueError, "context is for decoders alone"),
        ({"start": 1, "stop": 1.5}, TypeError, "stop is 1.5"),
    ],
)
def test_bad_options_of_an_encoder_decoder_are_refused(transformer, options, error, said):
    with pytest.raises(error, match=said):
        generate(transformer, np.array([[1, 2]]), 3, **options)


@pytest.mark.parametrize("row", [[np.nan, 0], [np.inf, 0], [-np.inf, -np.inf]])
def test_logits_without_a_choice_are_refused(row):
    with pytest.raises(ValueError, match="logits of row 1 hold NaN or"):
        next_tokens(np.array([[0.0, 1], row]), np.random.default_rng(0))


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("shape", [(3,), (2, 0), (1, 2, 3)])
def test_logits_of_another_shape_are_refused(shape, temperature):
    with pytest.raises(ValueError, match=r"expected \(batch, vocab\)"):
        next_tokens(np.zeros(shape), np.random.default_rng(0), temperature=temperature)


def test_temperature_0_leaves_one_token():
    p = next_token_probabilities(np.array([[1.0, 3.0, 3.0]]), temperature=0, top_p=0.5)
    np.testing.assert_array_equal(p, [[0, 1, 0]])


def test_a_cache_that_is_given_is_gone_on_with(gpt):
    prompt = np.array([[1, 2, 3, 4]])
    cache = gpt.new_cache(1, 16)
    first = generate(gpt, prompt, 3, temperature=0, cache=cache)
    assert cache.length == first.shape[1] - 1
    longer = np.concatenate([first, [[5, 6]]], axis=1)
    second = generate(gpt, longer, 3, temperature=0, cache=cache)
    np.testing.assert_array_equal(second, generate(gpt, longer, 3, temperature=0))
    assert cache.length == second.shape[1] - 1


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"cache": "mine"}, TypeError, "cache is a str; expected a KVCache"),
        ({"use_cache": False}, ValueError, "without context and with use_cache"),
        ({"context": 4}, ValueError, "without context and with use_cache"),
        ({"max_new_tokens": 9}, ValueError, r"has room for 8; .* needs room for 12"),
        ({"ids": np.array([[1, 2]] * 2)}, ValueError, "seen 0 tokens of a batch of 1"),
    ],
)
def test_caches_that_cannot_be_gone_on_with_are_refused(gpt, options, error, said):
    given = {"ids": np.array([[1, 2, 3, 4]]), "max_new_tokens": 2, "cache": gpt.new_cache(1, 8)}
    with pytest.raises(error, match=said):
        generate(gpt, **{**given, **options})
