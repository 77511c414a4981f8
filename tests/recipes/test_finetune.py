"""The finetune recipe where it has no library and no model; the rest is in tests/interop."""

import sys

from npformer.cli import main


def test_without_a_model_or_the_library_it_says_what_to_do(tmp_path, book, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    command = ["train", "finetune", "--data", book, "--out", str(tmp_path / "run"), "--model"]
    for model, status, said in (
        (str(tmp_path / "nowhere"), 2, "expected a folder of Hugging Face's, a .gguf file, or one"),
        (str(tmp_path), 1, "tokenizers is needed to turn text into tokens; install it with: pip"),
    ):
        assert main([*command, model]) == status
        assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
