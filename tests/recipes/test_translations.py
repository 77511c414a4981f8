"""Pairs for the translate recipe: tables, Bibles, and what is wrong with them."""

import struct
import sys
import zlib

import pytest

from npformer.cli import main
from npformer.recipes._settings import InputError
from npformer.recipes._translations import read_translations


def table(tmp_path, text):
    path = tmp_path / "pairs.tsv"
    path.write_bytes(text.encode())
    return str(path)


def test_a_table_gives_its_pairs(tmp_path):
    text = "\ufeffgood  day\tbuenos d\u00edas \r\n\r\nsee you\tadi\u00f3s\u2028pues\n"
    found = read_translations(table(tmp_path, text))
    assert found == (["good day", "see you"], ["buenos días", "adiós pues"], "")


def test_further_columns_are_left_out_and_that_is_said(tmp_path):
    found = read_translations(table(tmp_path, "a\tb\tby someone\nc\td\ne\tf\t\n"))
    assert found[:2] == (["a", "c", "e"], ["b", "d", "f"])
    assert found.remark == "columns beyond the second, which 2 lines have, are left out"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\tb\nc d\n", "line 2 is 'c d', without a tab; expected lines 'text TAB translation'"),
        ("a\tb\n\n\tb\n", "line 3 has nothing in its first column; give a text and"),
        ("a\t \n", "line 1 has nothing in its second column"),
    ],
)
def test_lines_that_are_no_pair_are_named(text, said, tmp_path):
    with pytest.raises(InputError, match=said):
        read_translations(table(tmp_path, text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_translations(str(tmp_path / "nowhere.tsv"))
    (tmp_path / "latin.tsv").write_bytes(b"a\t\xe9\n")
    with pytest.raises(InputError, match=r"is not UTF-8 text: byte 0xe9 at 2"):
        read_translations(str(tmp_path / "latin.tsv"))


FORM = {"ModDrv": "zText", "CompressType": "ZIP", "Encoding": "UTF-8", "Versification": "KJV"}


def module(root, name, old, new, **options):
    """Write a SWORD module: the verses of two testaments, in blocks of two."""
    folder = root / "modules" / name
    folder.mkdir(parents=True)
    for testament, verses in (("ot", old), ("nt", new)):
        index, blocks, data = b"", b"", b""
        for first in range(0, len(verses), 2):
            block = b""
            for verse in verses[first : first + 2]:
                words = verse.encode()
                index += struct.pack("<IIH", first // 2, len(block), len(words))
                block += words
            packed = zlib.compress(block)
            blocks += struct.pack("<III", len(data), len(packed), len(block))
            data += packed
        for letter, content in (("v", index), ("s", blocks), ("z", data)):
            (folder / f"{testament}.bz{letter}").write_bytes(content)
    (root / "mods.d").mkdir(exist_ok=True)
    lines = {**FORM, "DataPath": f"./modules/{name}/", **options}
    text = f"[{name}]\n# Comment=none\n" + "".join(f"{k}={v}\n" for k, v in lines.items())
    (root / "mods.d" / f"{name}.conf").write_text(text)
    return folder


ENGLISH = [
    '<title level="1">Genesis</title> <div sID="1"/>',
    '<w lemma="x">In</w> the <q/>beginning.<note place="foot">Or: <hi>at first</hi></note> ',
    'Rise &amp; <milestone n="7"/>shine.',
]
SPANISH = ["", "En el <i>principio</i>.", ""]


def test_two_bibles_are_put_side_by_side(tmp_path):
    module(tmp_path / "b" / "sword", "spa", SPANISH, ["Fin."])
    module(tmp_path / "b" / "sword", "eng", ENGLISH, ["The\n end."])
    found = read_translations(str(tmp_path))
    assert found[:2] == (["In the beginning.", "The end."], ["En el principio.", "Fin."])
    assert found.remark == "1 verses that one of the two lacks are left out"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"Versification": "Vulg"}, "eng counts verses as Vulg does and spa as KJV (2 and 2)"),
        (
            {"ModDrv": "RawText"},
            r"eng.conf describes a module of the form ('RawText', 'ZIP', 'UTF-8')",
        ),
        ({"DataPath": "./elsewhere/"}, "elsewhere cannot be read"),
    ],
)
def test_bibles_that_do_not_go_together_are_refused(options, said, tmp_path):
    module(tmp_path, "spa", ["a"], ["b"])
    module(tmp_path, "eng", ["a"], ["b"], **options)
    with pytest.raises(InputError) as refused:
        read_translations(str(tmp_path))
    assert said in str(refused.value)


@pytest.mark.parametrize("letter", "vsz")
def test_a_bible_that_is_cut_off_is_refused(letter, tmp_path):
    module(tmp_path, "spa", ["a"], ["b"])
    path = module(tmp_path, "eng", ["a"], ["b"]) / f"ot.bz{letter}"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"eng\.conf: the files in .* cannot be read"):
        read_translations(str(tmp_path))


def test_a_folder_of_anything_else_is_refused_with_how_to_get_pairs(tmp_path, monkeypatch, capsys):
    for name in ("sacrebleu.metrics", "tokenizers"):
        monkeypatch.setitem(sys.modules, name, _Anything())
    for words, said in (
        ([], "--data is missing; expected a file of lines 'text TAB translation'"),
        (["--data", str(tmp_path)], "holds 0 SWORD modules (mods.d/*.conf); expected two"),
    ):
        assert main(["train", "translate", *words, "--out", str(tmp_path / "run")]) == 2
        message = capsys.readouterr().err
        assert said in message
        assert "  apt-get download sword-text-kjv sword-text-sparv\n" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("missing", ["sacrebleu.metrics", "tokenizers"])
def test_a_missing_package_is_said_before_any_work(missing, tmp_path, monkeypatch, capsys):
    for name in {"sacrebleu.metrics", "tokenizers"} - {missing}:
        monkeypatch.setitem(sys.modules, name, _Anything())
    monkeypatch.setitem(sys.modules, missing, None)
    path = table(tmp_path, "".join(f"a{i}\tb{i}\n" for i in range(40)))
    out = str(tmp_path / "run")
    assert main(["train", "translate", "--data", path, "--out", out]) == 1
    message = capsys.readouterr().err
    assert f"{missing.partition('.')[0]} is needed to" in message
    assert "pip install 'npformer[translate]'" in message
    assert not (tmp_path / "run").exists()


class _Anything:
    def __getattr__(self, name):
        return lambda *given, **named: self
