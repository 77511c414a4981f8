"""Generation with a cache, and without one: the same tokens."""

import numpy as np
import pytest
from generation.small_models import MAX_LEN, POSITIONS, Table, made, models, padded, start_of
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import seeds

from npformer.generation import beam_search, generate
from npformer.models import GPT, Transformer


def both(model, *arguments, **options):
    """What is written with a cache, having seen that the same is written without."""
    writes = [
        generate(model, *arguments, **options, use_cache=use_cache, rng=np.random.default_rng(1))
        for use_cache in (True, False)
    ]
    np.testing.assert_array_equal(*writes)
    return writes[0]


@given(
    models,
    seeds,
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 7),
    st.sampled_from([0, 1.0]),
    st.sampled_from([1.0, 1.3]),
)
def test_tokens_are_the_same(model, seed, batch, length, new, temperature, repetition_penalty):
    ids, mask = padded(np.random.default_rng(seed), batch, length)
    options = {"temperature": temperature, "repetition_penalty": repetition_penalty}
    both(model, ids, new, mask=mask, stop=[2, 5], **options, **start_of(model))


@given(models, seeds, st.integers(1, 4), st.booleans())
def test_padding_on_the_left_changes_nothing(model, seed, length, use_cache):
    ids, mask = padded(np.random.default_rng(seed), 3, length)
    options = {"temperature": 0, "use_cache": use_cache, **start_of(model)}
    together = generate(model, ids, 5, mask=mask, **options)[:, -5:]
    for row, real, got in zip(ids, mask, together, strict=True):
        alone = generate(model, row[real][None], 5, **options)[0, -5:]
        np.testing.assert_array_equal(got, alone)


@given(st.sampled_from(POSITIONS), seeds, st.integers(1, 6), st.integers(1, 10), st.integers(1, 6))
def test_a_window_slides_the_same_with_and_without(position, seed, length, new, context):
    model = made(GPT, position, seed % 100)
    ids, mask = padded(np.random.default_rng(seed), 2, length)
    together = both(model, ids, new, mask=mask, context=context, temperature=0)
    for row, real, got in zip(ids, mask, together, strict=True):
        alone = generate(model, row[real][None], new, context=context, temperature=0)[0]
        np.testing.assert_array_equal(got[real.argmax() :], alone)
    last = together[mask.all(axis=1)][0]  # the row without padding
    assert last[-1] == np.argmax(model(last[None, -1 - context : -1])[0, -1])


class Watched(GPT):
    """Remembers how many tokens it was shown at a time."""

    shown = None

    def forward(self, ids, *arguments, **options):
        type(self).shown.append(ids.shape[1])
        return super().forward(ids, *arguments, **options)


class WatchedTransformer(Transformer):
    shown = None
    encoded = 0

    def encode(self, *arguments, **options):
        type(self).encoded += 1
        return super().encode(*arguments, **options)

    def decode(self, ids, *arguments, **options):
        type(self).shown.append(ids.shape[1])
        return super().decode(ids, *arguments, **options)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, [3, 1, 1, 1, 1]),
        ({"use_cache": False}, [3, 4, 5, 6, 7]),
        ({"context": 4}, [3, 1, 4, 4, 4]),
        ({"context": 2}, [2, 2, 2, 2, 2]),
    ],
)
def test_a_decoder_sees_each_token_once(options, shown):
    Watched.shown = []
    model = Watched(made(GPT).config)
    generate(model, np.array([[1, 2, 3]]), 5, temperature=0, **options)
    assert Watched.shown == shown


def test_an_encoder_decoder_reads_its_source_once_and_each_target_token_once():
    WatchedTransformer.shown, WatchedTransformer.encoded = [], 0
    model = WatchedTransformer(made(Transformer).config)
    generate(model, np.array([[1, 2, 3]]), 4, start=0, temperature=0)
    assert (WatchedTransformer.encoded, WatchedTransformer.shown) == (1, [1, 1, 1, 1])


def test_all_positions_that_a_model_has_can_be_used():
    assert both(made(GPT), np.array([[1, 2]]), MAX_LEN - 1, temperature=0).shape == (1, 13)
    answer = both(made(Transformer), np.array([[1]]), MAX_LEN, start=0, temperature=0)
    assert answer.shape == (1, MAX_LEN)


def test_a_model_without_a_cache_is_run_without_one():
    model = Table.drawn(0, 4)
    out = generate(model, np.array([[1, 2]]), 4, temperature=0)
    assert out.shape == (1, 6)
    np.testing.assert_array_equal(
        out, beam_search(Table.drawn(0, 4), np.array([[1, 2]]), 4, num_beams=1).best
    )


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("kind", [GPT, Transformer])
def test_the_context_that_is_left_over_is_of_no_concern_to_other_rows(kind, position):
    """Each row of a batch writes what it writes alone, also when it is the last to end."""
    model = made(kind, position)
    ids = np.random.default_rng(0).integers(0, 7, (4, 3))
    options = {"temperature": 0, "stop": [1, 4], **start_of(model)}
    together = generate(model, ids, 8, **options)
    for row, got in zip(ids, together, strict=True):
        alone = generate(model, row[None], 8, **options)[0]
        np.testing.assert_array_equal(got[: len(alone)], alone)
        assert np.all(got[len(alone) :] == alone[-1])
