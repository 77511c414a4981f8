"""The dates recipe: its split, its batches, its answers."""

import numpy as np
import pytest

import npformer.functional as F
from npformer.recipes import Dates, dates
from npformer.recipes._settings import InputError
from npformer.recipes._written_dates import NUM_DATES, date
from npformer.recipes.dates import ANSWER, END, PAD, START, DatesSettings, encode, vocabulary


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.setattr(dates, "NUM_DATES", NUM_DATES)
    return Dates(DatesSettings(batch=64, d_model=8, heads=2, layers=1))


def test_every_date_is_trained_on_or_held_out_and_none_is_both(recipe):
    together = np.concatenate([recipe.train, recipe.held_out])
    assert np.array_equal(np.sort(together), np.arange(NUM_DATES))
    assert len(recipe.held_out) == NUM_DATES // 10


def test_the_split_follows_from_the_seed(recipe):
    again, other = (Dates(DatesSettings(seed=seed)) for seed in (0, 1))
    assert np.array_equal(recipe.held_out, again.held_out)
    assert recipe.questions == again.questions
    assert not np.array_equal(recipe.held_out, other.held_out)


def test_no_batch_holds_a_held_out_date(recipe):
    held_out = {date(i).isoformat() for i in recipe.held_out.tolist()}
    words = recipe.vocabulary
    for step in range(100):
        _, _, targets, _ = recipe.batch(step)
        answers = {words.decode(row[:ANSWER].tolist()) for row in targets}
        assert not answers & held_out


def test_a_batch_is_written_dates_and_their_iso_forms(recipe):
    source, target_in, targets, mask = recipe.examples(np.array([0, 59]), ["1/1/50", "1 Mar 1950"])
    words = recipe.vocabulary
    assert words.decode(source[1].tolist()) == "1 Mar 1950"
    assert words.decode(source[0].tolist()) == "1/1/50" + 4 * PAD
    assert words.decode(target_in[1].tolist()) == START + "1950-03-01"
    assert words.decode(targets[1].tolist()) == "1950-03-01" + END
    assert mask.tolist() == [[True] * 6 + [False] * 4, [True] * 10]


def test_what_is_measured_is_the_share_of_right_answers(recipe, monkeypatch):
    answers = [date(i).isoformat() for i in recipe.held_out[:8].tolist()]
    monkeypatch.setattr(dates, "translate", lambda *_: ["1950-01-01", *answers[1:]])
    model = recipe.build(np.random.default_rng(0))
    measures = recipe.look(model)
    assert measures["exact match"] == 7 / 8
    batch = recipe.examples(recipe.held_out[:8], recipe.questions[:8])
    assert measures["loss"] == pytest.approx(float(model.loss(*batch)[0]), rel=1e-6)


def test_wrong_answers_are_shown_as_wrong(recipe, monkeypatch):
    recipe.held_out, recipe.questions = np.array([3, 4]), ["4 Jan 1950", "5.1.50"]
    monkeypatch.setattr(dates, "translate", lambda *_: ["1950-01-04", "1950-01-06"])
    measures, shown = recipe.judge(recipe.build(np.random.default_rng(0)))
    assert measures["exact match"] == 0.5
    assert "4 Jan 1950  ->  1950-01-04\n" in shown
    assert "1 of 2 are wrong, such as\n" in shown
    assert shown.endswith(" 5.1.50  ->  1950-01-06, but it is 1950-01-05")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is 0 characters; expected 1 to 64"),
        ("1" * 65, "is 65 characters; expected 1 to 64"),
        ("3 März 1987", "contains 'ä'"),
    ],
)
def test_texts_that_no_date_is_written_as(text, said):
    with pytest.raises(InputError, match=said):
        encode(vocabulary(), ["1/1/50", text])


def test_the_attention_of_a_model_that_writes_no_date_is_shown_all_the_same(recipe):
    model = recipe.build(np.random.default_rng(0))
    for _, parameter in model.named_parameters():
        parameter.value[...] = 0  # all logits equal: it writes the first token, <pad>
    attention = Dates.attend(model, recipe.vocabulary, "3/4/87")
    assert attention.queries == [PAD] * (ANSWER + 1)
    assert attention.weights.shape == (ANSWER + 1, 6)
    np.testing.assert_allclose(attention.weights.sum(axis=1), 1, rtol=1e-6)


def test_each_attention_is_shown_with_what_it_looks_at(recipe):
    model = recipe.build(np.random.default_rng(0))
    text = "3/4/87"
    shown = {kind: Dates.attend(model, recipe.vocabulary, text, kind=kind) for kind in
             (None, *Dates.attentions)}  # fmt: skip
    answer = shown["cross"].queries
    np.testing.assert_array_equal(shown[None].weights, shown["cross"].weights)
    assert shown["cross"].keys == shown["encoder"].keys == shown["encoder"].queries == list(text)
    assert shown["self"].queries == answer
    assert shown["self"].keys == [START, *answer[:-1]]
    for one in shown.values():
        assert one.weights.shape == (len(one.queries), len(one.keys))
        np.testing.assert_allclose(one.weights.sum(axis=1), 1, rtol=1e-6)
    assert not np.triu(shown["self"].weights, 1).any()  # the decoder looks back alone
    with pytest.raises(InputError, match="--kind is any; a model of dates has cross, self, enc"):
        Dates.attend(model, recipe.vocabulary, text, kind="any")


def test_the_lowest_loss_is_that_of_the_smoothed_target_itself(recipe):
    size, e = len(recipe.vocabulary), recipe.settings.label_smoothing
    target = np.full(size, e / size)
    target[0] += 1 - e
    loss, _ = F.cross_entropy(np.log(target)[None], np.array([0]), label_smoothing=e)
    assert recipe.lowest_loss() == pytest.approx(float(loss), rel=1e-12)
    assert Dates(DatesSettings(label_smoothing=0.0)).lowest_loss() == 0
