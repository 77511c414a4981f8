"""The translate recipe, with tokenizers and sacrebleu: pairs, training, BLEU, translating."""

import itertools
import json

import numpy as np
import pytest
import sacrebleu
from support.recipes import said

from npformer.cli import main
from npformer.recipes import Translate, translate
from npformer.recipes._byte_pairs import from_record, learn
from npformer.recipes._run import CHECKPOINT
from npformer.recipes._settings import InputError
from npformer.recipes.translate import END, PAD, START, TranslateSettings
from npformer.training import AdamW, Trainer, load_model

# Words of a sentence such as "a red cat sees tea", which is "un gato rojo ve té".
COLOURS = {"red": "rojo", "white": "blanco", "black": "negro", "green": "verde"}
ANIMALS = {"cat": "gato", "dog": "perro", "wolf": "lobo", "duck": "pato", "ox": "buey"}
DEEDS = {"sees": "ve", "eats": "come", "wants": "quiere", "has": "tiene"}
THINGS = {"tea": "té", "bread": "pan", "salt": "sal", "water": "agua", "milk": "leche"}
SIZES = ["--d-model", "16", "--heads", "2", "--layers", "1", "--batch", "8", "--vocabulary", "420"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(translate, "_LOOK", 8)
    monkeypatch.setattr(translate, "_ROWS", 7)
    monkeypatch.setattr(translate, "_HELD_OUT", 20)
    monkeypatch.setattr(translate, "_POOL", 20)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A table of sentences and their translations, some of which come again."""
    path = tmp_path_factory.mktemp("pairs") / "sentences.tsv"
    words = itertools.product(*(part.items() for part in (COLOURS, ANIMALS, DEEDS, THINGS)))
    rows = [f"a {c} {a} {d} {t}\tun {b} {e} {f} {u}" for (c, e), (a, b), (d, f), (t, u) in words]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:300]]
    rows += rows[:40]
    path.write_text("\n".join(rows))
    return str(path)


@pytest.fixture(scope="module")
def run(pairs, tmp_path_factory):
    """A run that is long enough to have learned them."""
    out = tmp_path_factory.mktemp("run") / "translate"
    more = ["--steps", "400", "--lr", "0.005", "--batch", "16", "--eval-every", "400"]
    more += ["--d-model", "32", "--label-smoothing", "0"]
    assert main(["train", "translate", "--data", pairs, *SIZES, *more, "--out", str(out)]) == 0
    return out


def recipe(pairs, **settings):
    sizes = {"d_model": 16, "heads": 2, "layers": 1, "batch": 8, "vocabulary": 420}
    return Translate(TranslateSettings(data=pairs, **{**sizes, **settings}))


def test_what_is_held_out_is_not_trained_on_in_either_language(pairs):
    one = recipe(pairs)
    assert len(one.held_out) == 20
    for texts in (one.sources, one.targets):
        held_out = {texts[i] for i in one.held_out}
        assert held_out
        assert not held_out & {texts[i] for i in one.train}
    assert len(one.train) < len(one.sources) - len(one.held_out)  # some come again
    said = one.describe()
    assert f"{len(one.train)} pairs to train on, 20 held out" in said
    assert f"{len(one.sources) - 20 - len(one.train)} of {len(one.sources)} are left out" in said


def test_an_epoch_has_every_pair_once_and_the_next_another_order(pairs):
    # With few tokens, words have several, and sentences many lengths.
    one, again = (recipe(pairs, vocabulary=300) for _ in range(2))
    steps = -(-len(one.train) // 8)
    epochs = [[one.batch(e * steps + i) for i in range(steps)] for e in range(2)]
    for batches in epochs:
        sources = [
            row[real].tolist() for b in batches for row, real in zip(b[0], b[3], strict=True)
        ]
        expected = [one.vocabulary.encode(one.sources[i]).tolist() for i in one.train]
        assert sorted(sources) == sorted(expected)
    assert not np.array_equal(epochs[0][0][0], epochs[1][0][0])
    for a, b in zip(epochs[1][3], again.batch(steps + 3), strict=True):
        np.testing.assert_array_equal(a, b)
    padding = np.mean([np.mean(~batch[3]) for batch in epochs[0]])
    lengths = one.lengths[0, np.random.default_rng(0).permutation(one.train)]
    mixed = [lengths[i : i + 8] for i in range(0, len(lengths), 8)]
    assert padding < 0.7 * np.mean([1 - part.mean() / part.max() for part in mixed])


def test_targets_are_the_translation_and_its_end(pairs):
    one = recipe(pairs)
    which = one.train[[0, 1, 2]]
    source, target_in, targets, mask = one.examples(which)
    tokens = one.vocabulary
    for i, number in enumerate(which):
        assert tokens.decode(source[i, mask[i]]).strip() == one.sources[number]
        real = targets[i][targets[i] != -100]
        assert tokens.decode(real[:-1]).strip() == one.targets[number]
        assert real[-1] == tokens.id_of(END)
        np.testing.assert_array_equal(target_in[i, : len(real)], [tokens.id_of(START), *real[:-1]])


def test_the_vocabulary_is_learned_again_the_same_and_knows_every_text(pairs):
    one = recipe(pairs).vocabulary
    assert one.to_json() == recipe(pairs).vocabulary.to_json()
    read = from_record(one.to_json())
    for text in ("té añ日🙂", f"a {END} b{PAD}"):
        ids = one.encode(text)
        assert ids.min() > one.id_of(END)  # the names are no part of a text
        assert read.encode(text).tolist() == ids.tolist()
        assert one.decode(ids) == " " + text
    assert one.pieces([one.id_of(PAD), *one.encode("gato")]) == [PAD, " gato"]


def test_reverse_exchanges_the_columns(pairs):
    one, other = recipe(pairs), recipe(pairs, reverse="yes")
    assert (one.sources, one.targets) == (other.targets, other.sources)


def test_bleu_is_sacrebleus(pairs):
    one = recipe(pairs)
    texts = ["un gato rojo come"] * len(one.held_out)
    people = [one.targets[i] for i in one.held_out]
    texts[:9] = people[:9]
    expected = sacrebleu.corpus_bleu(texts, [people]).score / 100
    assert 0 < expected < 1
    assert one.bleu(one.held_out, texts) == pytest.approx(expected, rel=1e-9)


def test_measures_are_of_all_held_out_pairs(pairs):
    one = recipe(pairs)
    model = one.build(np.random.default_rng(0))
    loss = float(model.loss(*one.examples(one.held_out))[0])
    assert one.judge(model)[0]["loss"] == pytest.approx(loss, rel=1e-5)


def test_a_run_learns_to_translate_what_it_has_not_seen(run, pairs, capsys):
    result = json.loads((run / "result.json").read_text())
    assert result["held_out"]["BLEU"] > 0.5
    assert result["looks"][0][1]["BLEU"] < 0.1
    model, metadata = load_model(run / CHECKPOINT)
    assert model.config.start_token == from_record(metadata["vocabulary"]).id_of(START)
    one = recipe(pairs)
    text, translation = (texts[one.train[0]] for texts in (one.sources, one.targets))
    words = ["sample", str(run), "--prompt", f" {text} ".replace(" ", " \t")]
    for more in ([], ["--temperature", "0"], ["--temperature", "9", "--top-k", "1"]):
        assert said(capsys, *words, *more) == f"{translation}\n"
    assert said(capsys, *words, "--tokens", "1") == "un\n"
    assert said(capsys, *words, "--temperature", "9") != f"{translation}\n"


def test_the_command_that_translates_takes_the_run(run, pairs, capsys):
    one = recipe(pairs)
    texts = [one.sources[i] for i in one.train[:3]]
    want = [said(capsys, "sample", str(run), "--prompt", text) for text in texts]
    words = ["translate", texts[0], " ", *texts[1:], "--model", str(run)]
    assert said(capsys, *words) == "".join([want[0], "\n", *want[1:]])
    assert said(capsys, *words, "--beams", "1", "--max-tokens", "1") == "un\n\nun\nun\n"


def test_a_run_leaves_its_pictures_and_draws_others(run, tmp_path, capsys):
    assert (run / "loss.png").exists()
    assert (run / "attention.png").exists()
    text = "a red cat eats salt"
    words = ["attention", str(run), "--input", text, "--out", str(tmp_path / "a.png")]
    for kind, layer in (("cross", "decoder"), ("self", "decoder"), ("encoder", "encoder")):
        assert f"{layer}.layers.0." in said(capsys, *words, "--kind", kind)
        assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    model, metadata = load_model(run / CHECKPOINT)
    shown = Translate.attend(model, from_record(metadata["vocabulary"]), text)
    assert "".join(shown.keys) == f" {text}"
    assert (shown.queries[0], shown.queries[-1]) == (" un", END)
    assert shown.weights.shape == (len(shown.queries), len(shown.keys))


def test_an_interrupted_run_goes_on_to_the_bit(pairs, tmp_path, monkeypatch):
    command = ["train", "translate", "--data", pairs, *SIZES, "--dropout", "0.1", "--steps", "4"]
    command += ["--save-every", "1", "--longest", "12"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert main([*command, "--out", str(whole)]) == 0
    batch = Translate.batch

    def failing(self, step):
        if step == 2:
            raise KeyboardInterrupt
        return batch(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(Translate, "batch", failing)
        assert main([*command, "--out", str(parts)]) == 130
    assert main(["train", "translate", "--resume", "--out", str(parts)]) == 0
    states = [load_model(out / CHECKPOINT)[0].state_dict() for out in (whole, parts)]
    for name, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][name], err_msg=name)


def test_other_pairs_are_refused_when_it_goes_on(run, tmp_path, capsys):
    other = tmp_path / "other.tsv"
    other.write_text("\n".join(f"number {i}\tel número {i}" for i in range(90)))
    words = ["train", "translate", "--out", str(run), "--resume", "--data", str(other)]
    assert "other.tsv has not the pairs that the run began with" in said(capsys, *words, status=2)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"vocabulary": 299}, "--vocabulary is 299; expected at least 300, of which 256 are"),
        ({"longest": 2}, "--longest is 2, and of 340 pairs 0 are shorter: too few"),
    ],
)
def test_sizes_that_leave_nothing_are_refused(settings, expected, pairs):
    with pytest.raises(InputError, match=expected):
        recipe(pairs, **settings)


def test_too_few_pairs_are_refused(tmp_path):
    path = tmp_path / "few.tsv"
    path.write_text("a\tb\n" * 19)
    with pytest.raises(InputError, match="has 19 pairs; a tenth is held out, and has to hold"):
        recipe(str(path))
    path.write_text("a\tb\n")
    with pytest.raises(InputError, match="has 1 pair; a tenth is held out"):
        recipe(str(path))
    path.write_text("a\tb\n" * 30)
    with pytest.raises(InputError, match="30 pairs, and each says the same as one of the tenth"):
        recipe(str(path))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--prompt is missing; give the text that is to be translated"),
        (["--prompt", " "], "--prompt is missing"),
        (["--prompt", "cat " * 40], "is 40 tokens; expected 1 to 39, which is as many as"),
        (["--prompt", "cat \udcff"], "'\\udcff' at 4 is no character"),
    ],
)
def test_prompts_that_cannot_be_translated(words, expected, run, capsys):
    assert expected in said(capsys, "sample", str(run), *words, status=2)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (["a", "b"], "its vocabulary is not one of byte pairs"),
        ("{", "its vocabulary is not one of byte pairs: "),
        (learn(["one"], 300, [PAD, START, END]).to_json(), "has 262 tokens, and its model 3"),
    ],
)
def test_a_checkpoint_with_another_vocabulary_is_refused(record, expected, run, tmp_path, capsys):
    model, metadata = load_model(run / CHECKPOINT)
    trainer = Trainer(model, AdamW(model.parameters()))
    trainer.save(tmp_path / "a.npz", **{**metadata, "vocabulary": record})
    message = said(capsys, "sample", str(tmp_path / "a.npz"), status=2)
    assert "a.npz was not saved by a recipe" in message
    assert expected in message
