"""A Marian folder that translates: its tokens, its beams and its texts are transformers' own."""

import json

import numpy as np
import pytest
import torch
from interop.hugging_face import GPT2, config_of, drawn, saved, silently
from interop.marian import marian_folder
from support.recipes import said

from npformer.core.errors import CheckpointError
from npformer.formats import open_tokenizer
from npformer.generation import beam_search
from npformer.hub import Translator
from npformer.models import Transformer

TEXTS = ["the cat reads a book", "where is my dog?", "xyz 99 the river, and he was glad"]
MOST = 20


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder, and transformers' model and tokenizer of it."""
    folder = tmp_path_factory.mktemp("marian")
    return folder, *marian_folder(folder, size=0.25)


def batch(tokenizer):
    return silently(tokenizer, TEXTS, return_tensors="pt", padding=True)


def test_texts_become_the_same_ids_and_back(made):
    folder, _, theirs = made
    ours = open_tokenizer(folder)
    texts = [*TEXTS, "", "  two   spaces ", "¿Él?", ">>fra<< good day"]
    want = silently(theirs, texts)["input_ids"]
    assert [ours.encode(text).tolist() for text in texts] == want
    ids, mask, cut = ours.encode_batch(texts, longest=6)
    assert cut == [i for i, row in enumerate(want) if len(row) > 6]
    for row, real, whole in zip(ids, mask, want, strict=True):
        kept = whole if len(whole) <= 6 else [*whole[:5], 0]
        assert row[real].tolist() == kept
    for row in want:
        assert ours.decode(row) == silently(theirs.decode, row, skip_special_tokens=True)
    assert (
        ours.encode("the cat", special=False).tolist()
        == want[0][:0] + silently(theirs, "the cat", add_special_tokens=False)["input_ids"]
    )


def test_a_language_to_translate_to_is_one_token(tmp_path):
    _, theirs = marian_folder(tmp_path, languages=(">>fra<<", ">>spa<<"))
    translator = Translator.open(tmp_path)
    assert translator.languages == [">>fra<<", ">>spa<<"]
    text = ">>spa<< the cat"
    want = silently(theirs, text)["input_ids"]
    assert translator.tokenizer.encode(text).tolist() == want
    assert want[0] == 3
    with pytest.raises(Exception, match=r"begins with 'the cat'; expected .*>>fra<<, >>spa<<"):
        translator.translate(["the cat"])


@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize("seed", [0, 5, 7])
def test_beams_are_theirs_and_padding_is_never_written(seed, num_beams, tmp_path):
    """Without a penalty of length, of which there are several kinds."""
    model, theirs = marian_folder(tmp_path, seed, size=0.25)
    given = batch(theirs)
    want = model.generate(
        **given, num_beams=num_beams, max_new_tokens=MOST, length_penalty=0.0, do_sample=False
    ).numpy()[:, 1:]
    mine = Transformer.from_pretrained(tmp_path)
    pad = model.config.pad_token_id
    options = {
        "num_beams": num_beams,
        "length_penalty": 0.0,
        "mask": given["attention_mask"].numpy().astype(bool),
        "stop": 0,
    }
    source = given["input_ids"].numpy()
    got = beam_search(mine, source, MOST, forbid=pad, **options).best
    for ours, one in zip(got.tolist(), want.tolist(), strict=True):
        assert [i for i in ours if i != 0] == [i for i in one if i not in (0, pad)]
    free = beam_search(mine, source, MOST, **options).best
    assert not np.array_equal(free, got)  # else nothing was forbidden that it would have written


def test_a_text_is_translated_as_theirs(made, capsys):
    folder, model, theirs = made
    with torch.no_grad():
        rows = [
            model.generate(**silently(theirs, text, return_tensors="pt"), num_beams=1,
                           max_new_tokens=MOST, do_sample=False)[0]
            for text in TEXTS
        ]  # fmt: skip
    want = silently(theirs.batch_decode, rows, skip_special_tokens=True)
    words = ["--model", str(folder), "--beams", "1", "--max-tokens", str(MOST)]
    assert said(capsys, "translate", *TEXTS, *words) == "\n".join(want) + "\n"
    translator = Translator.open(folder)
    with pytest.warns(UserWarning, match=r"\d of 4 translations did not end where they had to"):
        found = translator.translate([TEXTS[0], " ", *TEXTS[1:]], num_beams=1, max_tokens=MOST)
    assert found == [want[0], "", *want[1:]]  # whatever stands beside it in a batch


def test_a_text_longer_than_the_model_reads(made):
    with pytest.raises(Exception, match=r"text 2 has \d+ tokens, and the model reads up to 40"):
        Translator.open(made[0]).translate(["the cat", "the cat " * 60])


@pytest.mark.parametrize("name", ["source.spm", "target.spm", "vocab.json"])
def test_files_of_the_tokenizer_that_are_broken_or_not_there(name, tmp_path):
    marian_folder(tmp_path)
    (tmp_path / name).write_bytes(b"no such thing")
    with pytest.raises(CheckpointError, match=rf"{name} is no"):
        Translator.open(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name}|no tokenizer\.json"):
        Translator.open(tmp_path)


def test_what_does_not_belong_together(tmp_path):
    marian_folder(tmp_path)
    path = tmp_path / "vocab.json"
    table = json.loads(path.read_text())
    for change, expected in (
        ({"one more": len(table)}, "they do not belong together, so fetch both from one place"),
        ({"</s>": "0"}, "'</s>' has '0'; fetch it again"),
        ({"<unk>": None}, "<unk> is not in it"),
    ):
        new = {**table, **change}
        path.write_text(json.dumps({key: i for key, i in new.items() if i is not None}))
        with pytest.raises(CheckpointError, match=expected):
            Translator.open(tmp_path)
    path.write_text(json.dumps(table))
    settings = tmp_path / "generation_config.json"
    before = json.loads(settings.read_text())
    settings.write_text(json.dumps({**before, "bad_words_ids": [[1, 2]]}))
    with pytest.raises(CheckpointError, match=r"forbids .* to be written"):
        Translator.open(tmp_path)
    settings.write_text(json.dumps({**before, "eos_token_id": None}))
    with config_of(tmp_path) as config:
        config["eos_token_id"] = None
    with pytest.raises(CheckpointError, match=r"no token that ends \(eos_token_id\)"):
        Translator.open(tmp_path)


def test_folders_that_are_no_marian(tmp_path, capsys):
    other = saved(drawn("GPT2LMHeadModel", GPT2), tmp_path / "gpt2")
    message = said(capsys, "translate", "a", "--model", str(other), status=2)
    assert "describes a 'gpt2', which is a GPT, not a Transformer" in message
