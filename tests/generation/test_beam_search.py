"""Beam search against exhaustive enumeration, and against beam search in a few plain lines."""

import itertools

import numpy as np
import pytest
from generation.small_models import POSITIONS, Table, made, models, padded, start_of
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import seeds

from npformer.generation import beam_search, generate
from npformer.models import GPT, Transformer

ALPHAS = (-1.0, 0.0, 0.6, 2.0)
alphas = st.sampled_from(ALPHAS)


def log_softmax(x):
    return x - np.max(x) - np.log(np.sum(np.exp(x - np.max(x))))


def log_probs(model, prompt, written):
    """Log-probabilities of each written token, by a single pass without a cache."""
    if isinstance(model, Transformer):
        logits = model(np.array([prompt]), np.array([(0, *written[:-1])]))[0]
    else:
        logits = model(np.array([(*prompt, *written[:-1])]))[0, len(prompt) - 1 :]
    return [log_softmax(row)[v] for row, v in zip(logits, written, strict=True)]


def score(total, length, alpha):
    return total / ((5 + length) / 6) ** alpha


def every_text(vocab, length, stops):
    """All texts that may be written: they end with a stop token, or are as long as allowed."""
    for n in range(1, length + 1):
        for text in itertools.product(range(vocab), repeat=n):
            if not stops.intersection(text[:-1]) and (n == length or text[-1] in stops):
                yield text


def check_all(model, prompt, vocab, length, stops, alpha):
    """All texts are found, in their order."""
    found = beam_search(
        model,
        np.array([prompt]),
        length,
        num_beams=vocab**length,
        length_penalty=alpha,
        stop=sorted(stops) or None,
        **start_of(model),
    )
    ranked = []
    for text in every_text(vocab, length, stops):
        total = sum(log_probs(model, prompt, text))
        ranked.append((score(total, len(text), alpha), total, text))
    ranked.sort(key=lambda entry: -entry[0])
    count = len(ranked)
    np.testing.assert_allclose(found.scores[0, :count], [r[0] for r in ranked], rtol=1e-11)
    np.testing.assert_allclose(found.log_probs[0, :count], [r[1] for r in ranked], rtol=1e-11)
    assert np.all(found.scores[0, count:] == -np.inf)
    totals = {text: total for _, total, text in ranked}
    before = 0 if isinstance(model, Transformer) else len(prompt)
    for written, total in zip(found.ids[0, :count].tolist(), found.log_probs[0], strict=False):
        assert written[:before] == prompt[:before]
        text = ended(written[before:], stops)
        # By their scores, as texts of a table may tie: they may hold the same pairs of tokens.
        assert totals.pop(text) == pytest.approx(total, rel=1e-11)
        assert set(written[before + len(text) :]) <= {text[-1]}


def ended(written, stops):
    """What is written up to its stop token."""
    for n, token in enumerate(written, start=1):
        if token in stops:
            return tuple(written[:n])
    return tuple(written)


@pytest.mark.parametrize("kind", [GPT, Transformer])
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("stops", [set(), {1}, {0, 2}])
@pytest.mark.parametrize("sizes", [(3, 4), (5, 2), (4, 1)])
def test_with_beams_for_all_texts_the_best_is_found(kind, alpha, stops, sizes):
    vocab, length = sizes
    model = made(kind, "alibi", seed=len(stops), vocab=vocab)
    check_all(model, [2, 0], vocab, length, stops, alpha)


@given(seeds, alphas, st.sets(st.integers(0, 2)), st.sampled_from([0.3, 3.0, 20.0]))
def test_with_beams_for_all_texts_the_best_of_a_table_is_found(seed, alpha, stops, size):
    check_all(Table.drawn(seed, 3, size), [1], 3, 4, stops, alpha)


def plainly(model, prompt, length, num_beams, alpha, stops):
    """Beam search without a batch, a cache, or an early end."""
    live, finished = [((), 0.0)], []
    for t in range(1, length + 1):
        longer = [
            ((*text, v), total + float(p))
            for text, total in live
            for v, p in enumerate(log_softmax(model(np.array([[*prompt, *text]]))[0, -1]))
        ]
        longer.sort(key=lambda entry: -entry[1])
        live = []
        for text, total in longer[:num_beams]:
            ends = text[-1] in stops or t == length
            (finished if ends else live).append((text, total))
    finished.sort(key=lambda entry: -score(entry[1], len(entry[0]), alpha))
    return finished[:num_beams]


@given(
    seeds,
    st.integers(2, 4),
    st.integers(1, 5),
    st.integers(1, 5),
    alphas,
    st.sets(st.integers(0, 3), max_size=2),
    st.sampled_from([0.5, 2.0]),
)
def test_ending_early_changes_nothing(seed, vocab, length, num_beams, alpha, stops, size):
    model = Table.drawn(seed, vocab, size)
    found = beam_search(
        model,
        np.array([[0, 1]]),
        length,
        num_beams=num_beams,
        length_penalty=alpha,
        stop=sorted(stops),
    )
    wanted = plainly(model, [0, 1], length, num_beams, alpha, stops)
    for i in range(num_beams):
        text, total = wanted[min(i, len(wanted) - 1)]
        written = found.ids[0, i, 2:]
        np.testing.assert_array_equal(written[: len(text)], text)
        assert np.all(written[len(text) :] == text[-1])
        if i < len(wanted):
            assert found.log_probs[0, i] == pytest.approx(total, rel=1e-12)
            assert found.scores[0, i] == pytest.approx(score(total, len(text), alpha), rel=1e-12)
        else:
            assert found.scores[0, i] == found.log_probs[0, i] == -np.inf
    assert found.ids.shape[2] == 2 + max(len(text) for text, _ in wanted)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("alpha", [-5.0, -1.0, 1.0])
def test_the_bound_holds_for_all_lengths_that_are_left(alpha, seed):
    model = Table.drawn(seed, 3, 3.0)
    found = beam_search(model, np.array([[0]]), 60, num_beams=3, length_penalty=alpha, stop=1)
    wanted = plainly(model, [0], 60, 3, alpha, {1})
    np.testing.assert_allclose(found.log_probs[0], [total for _, total in wanted], rtol=1e-12)


def test_the_search_ends_when_nothing_can_win_any_more():
    logits = np.zeros((3, 3, 3))
    logits[..., 1:] = [8.0, 7.0]  # the stop token, and one that is nearly as good
    model = Table(logits)
    beam_search(model, np.array([[0]]), 50, num_beams=2, length_penalty=0.0, stop=1)
    assert model.calls == 2
    # What a text may gain by being long is worth waiting for.
    model.calls = 0
    beam_search(model, np.array([[0]]), 50, num_beams=2, length_penalty=2.0, stop=1)
    assert model.calls == 50


@given(models, seeds, st.integers(1, 4), st.integers(1, 5), alphas)
def test_one_beam_is_greedy(model, seed, length, new, alpha):
    ids, mask = padded(np.random.default_rng(seed), 3, length)
    options = {"mask": mask, "stop": [1, 3], **start_of(model)}
    beams = beam_search(model, ids, new, num_beams=1, length_penalty=alpha, **options)
    np.testing.assert_array_equal(beams.best, generate(model, ids, new, temperature=0, **options))
    assert beams.ids.shape == (3, 1, beams.best.shape[1])


@given(models, seeds, st.integers(1, 4), st.integers(1, 4), alphas, st.booleans())
def test_each_row_is_as_alone_and_padding_changes_nothing(
    model, seed, length, num_beams, alpha, use_cache
):
    ids, mask = padded(np.random.default_rng(seed), 3, length)
    options = {"num_beams": num_beams, "length_penalty": alpha, "stop": [1, 3], **start_of(model)}
    together = beam_search(model, ids, 5, mask=mask, use_cache=use_cache, **options)
    before = 0 if isinstance(model, Transformer) else length
    new = together.ids[..., before:]
    for b, (row, real) in enumerate(zip(ids, mask, strict=True)):
        alone = beam_search(model, row[real][None], 5, **options)
        np.testing.assert_allclose(together.scores[b], alone.scores[0], rtol=1e-11)
        np.testing.assert_allclose(together.log_probs[b], alone.log_probs[0], rtol=1e-11)
        texts = alone.ids[0, :, real.sum() if before else 0 :]
        np.testing.assert_array_equal(new[b, :, : texts.shape[1]], texts)
        assert np.all(new[b, :, texts.shape[1] :] == texts[:, -1:])
    if before:
        np.testing.assert_array_equal(
            together.ids[:, :, :before], np.tile(ids[:, None], (num_beams, 1))
        )


@pytest.mark.parametrize("position", POSITIONS)
def test_scores_are_those_of_a_single_pass(position):
    model = made(GPT, position)
    found = beam_search(model, np.array([[3, 1]]), 6, num_beams=3, length_penalty=0.6)
    for ids, total in zip(found.ids[0].tolist(), found.log_probs[0], strict=True):
        assert sum(log_probs(model, ids[:2], ids[2:])) == pytest.approx(total, rel=1e-12)
    assert np.all(np.diff(found.scores[0]) <= 0)


def test_equal_texts_are_told_apart_by_their_token_ids():
    found = beam_search(Table(np.zeros((3, 3, 3))), np.array([[2]]), 2, num_beams=4)
    np.testing.assert_array_equal(found.ids[0, :, 1:], [[0, 0], [0, 1], [0, 2], [1, 0]])


def test_tokens_that_cannot_come_are_no_texts():
    logits = np.zeros((3, 3, 3))
    logits[..., 1] = -np.inf
    found = beam_search(Table(logits), np.array([[0]]), 1, num_beams=3)
    np.testing.assert_array_equal(found.ids[0, :, 1:], [[0], [2], [2]])
    np.testing.assert_allclose(found.log_probs[0], [np.log(0.5)] * 2 + [-np.inf])


def test_logits_without_a_choice_are_refused():
    with pytest.raises(ValueError, match=r"logits of row 0 hold NaN or \+inf"):
        beam_search(Table(np.full((2, 2, 2), np.nan)), np.array([[0]]), 1)


def test_a_function_may_say_where_texts_end():
    def stop(written):
        return np.count_nonzero(written == 1, axis=1) >= 2

    model = Table.drawn(3, 3)
    found = beam_search(model, np.array([[0]]), 6, num_beams=3, stop=stop, length_penalty=0.0)
    for text in found.ids[0, :, 1:]:
        at = np.flatnonzero(np.cumsum(text == 1) >= 2)
        if at.size:
            assert np.all(text[at[0] :] == 1)


def test_float32_models_are_scored_in_float64():
    model = made(GPT)
    half = GPT(model.config, rng=np.random.default_rng(0))
    found = beam_search(half, np.array([[1]]), 3)
    assert found.scores.dtype == found.log_probs.dtype == np.float64
    assert found.ids.dtype == np.int64


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"num_beams": 0}, ValueError, "num_beams is 0; expected a positive int"),
        ({"num_beams": True}, TypeError, "num_beams is True"),
        ({"num_beams": 2.0}, TypeError, "num_beams is 2.0"),
        ({"length_penalty": np.nan}, ValueError, "length_penalty is nan; expected a number"),
        ({"length_penalty": np.inf}, ValueError, "length_penalty is inf"),
        ({"length_penalty": "1"}, TypeError, "length_penalty is '1'"),
        ({"length_penalty": 1000}, ValueError, "length_penalty is 1000"),
        ({"stop": 1.5}, TypeError, "beam_search: stop is 1.5"),
        ({"stop": 999}, ValueError, "beam_search: stop is 999; expected 0 to 6"),
        ({"stop": [[1, 2]]}, ValueError, "beam_search: stop is .*for a run of tokens pass a func"),
        ({"start": 1}, ValueError, "beam_search: GPT has no encoder"),
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens is 0"),
        ({"max_new_tokens": 12}, ValueError, "shorten the prompt$"),
        ({"use_cache": 1}, TypeError, "use_cache is 1; expected True or False"),
        ({"mask": np.array([[True, False]])}, ValueError, "pad prompts on the left"),
    ],
)
def test_bad_options_are_refused(options, error, said):
    arguments = {"ids": np.array([[1, 2]]), "max_new_tokens": 3, **options}
    with pytest.raises(error, match=said):
        beam_search(made(GPT), **arguments)
