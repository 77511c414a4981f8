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


def test_weights_that_no_run_has_made_are_not_written_over(tmp_path, book, capsys):
    folder, link, other = tmp_path / "model", tmp_path / "link", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    link.symlink_to(folder)
    command = ["train", "finetune", "--data", book, "--model", str(folder), "--out"]
    for out in (folder, link, folder / "." / ".." / "model"):
        assert main([*command, str(out)]) == 2
        assert "is the folder of --model, whose weights the run would replace" in (
            capsys.readouterr().err
        )
    weights = other / "model-00001-of-00002.safetensors"
    weights.write_bytes(b"precious")
    assert main([*command, str(other)]) == 2
    assert f"holds {weights.name}, which no run has made" in capsys.readouterr().err
    assert [file.read_bytes() for file in other.iterdir()] == [b"precious"]
    (other / "run.json").touch()  # as a run leaves one
    main([*command, str(other)])
    assert "which no run has made" not in capsys.readouterr().err
