"""nanoGPT's settings of the text recipe: what they are, and that options beside them count."""

import json
import string

import numpy as np
import pytest

from npformer.cli import main
from npformer.recipes import Text
from npformer.recipes._run import CHECKPOINT
from npformer.recipes._settings import InputError
from npformer.recipes.text import TextSettings
from npformer.training import load_model

SIZES = ["--steps", "2", "--batch", "2", "--context", "16", "--d-model", "8", "--layers", "1"]


@pytest.fixture
def shakespeare(tmp_path):
    """A text of 65 different characters, as tiny Shakespeare has, and a tenth of it held out."""
    letters = string.ascii_letters + " \n!$&',-.3:;?"
    assert len(letters) == 65
    path = tmp_path / "letters.txt"
    path.write_text(letters * 1100)
    return str(path)


@pytest.fixture
def recipe(shakespeare):
    return Text(TextSettings.chosen({"preset": "nanogpt", "data": shakespeare}))


def settings_of(folder):
    return json.loads((folder / "config.json").read_text())["settings"]


def test_the_model_has_804_096_numbers(recipe):
    model = recipe.initial_model()
    assert sum(parameter.value.size for parameter in model.parameters()) == 804_096
    assert model.config.activation == "gelu"
    assert model.config.tie_embeddings
    assert not any("bias" in name for name, _ in model.named_parameters())
    assert model.config.max_len == 64


def test_initial_values_are_smaller_where_a_branch_meets_the_stream(recipe):
    for name, parameter in recipe.initial_model().named_parameters():
        if parameter.value.ndim == 1:
            assert np.array_equal(parameter.value, np.ones(128))
        else:
            last = name.endswith(("out_proj.weight", "down.weight"))
            std = 0.02 / np.sqrt(8) if last else 0.02
            assert parameter.value.std() == pytest.approx(std, rel=0.03), name


def test_the_learning_rate_rises_for_100_steps_and_falls_to_a_tenth(recipe):
    rates = [recipe.schedule(step) for step in range(2000)]
    assert rates[0] == pytest.approx(1e-5)
    assert rates[99] == rates[100] == max(rates) == 1e-3
    assert rates[1050] == pytest.approx(0.55e-3)
    assert rates[1999] == pytest.approx(1e-4, rel=1e-4)
    assert np.all(np.diff(rates[:100]) > 0)
    assert np.all(np.diff(rates[100:]) < 0)


def test_optimizer_and_clipping(recipe):
    trainer = recipe.trainer(recipe.initial_model())
    optimizer = trainer.optimizer
    assert (optimizer.betas, optimizer.weight_decay, trainer.clip_norm) == ((0.9, 0.99), 0.1, 1.0)
    values = {name: p.value.copy() for name, p in trainer.model.named_parameters()}
    trainer.model.zero_grad()
    optimizer.lr = 1e-3
    optimizer.step()  # no gradients: what is left is decay
    for name, parameter in trainer.model.named_parameters():
        share = 1 - 1e-4 if parameter.value.ndim == 2 else 1
        np.testing.assert_allclose(parameter.value, share * values[name], rtol=1e-6, err_msg=name)


def test_batches_are_windows_at_random_places(recipe):
    ids, targets = recipe.batch(0)
    assert ids.shape == targets.shape == (12, 64)
    assert len({row.tobytes() for row in ids}) > 1
    assert recipe.settings.steps == 2000


def test_the_loss_is_that_of_every_window_of_the_held_out_tenth(recipe):
    held_out = recipe.held_out
    assert len(held_out) == 7150
    pairs = list(recipe.held_out_batches())
    ids, targets = (np.concatenate(parts).ravel() for parts in zip(*pairs, strict=True))
    count = 7149 // 64 * 64
    assert np.array_equal(ids, held_out[:count])
    assert np.array_equal(targets, held_out[1 : count + 1])
    assert sum(len(ids) for ids, _ in recipe.held_out_batches(5)) == 5


def test_a_long_text_is_judged_by_all_of_its_windows(shakespeare):
    recipe = Text(TextSettings(data=shakespeare, context=4, d_model=4, heads=1, layers=1))
    assert sum(len(ids) for ids, _ in recipe.held_out_batches()) == 7149 // 4 > 1024


def test_options_beside_it_count_and_a_run_resumes(shakespeare, tmp_path, capsys):
    out = tmp_path / "run"
    command = ["train", "text", "--recipe", "nanogpt", "--out", str(out)]
    assert main([*command, "--data", shakespeare, *SIZES]) == 0
    said = settings_of(out)
    assert (said["preset"], said["steps"], said["d_model"]) == ("nanogpt", 2, 8)
    assert (said["lr"], said["biases"], said["beta2"]) == (1e-3, "no", 0.99)
    assert main([*command, "--resume", "--steps", "4"]) == 0
    assert settings_of(out) == said | {"steps": 4}
    model, metadata = load_model(out / CHECKPOINT)
    assert len(metadata["history"]["train"]) == 4
    assert not model.config.bias
    assert main(["train", "text", "--out", str(out), "--resume", "--steps", "5"]) == 0
    capsys.readouterr()
    assert main(["sample", str(out), "--tokens", "5"]) == 0


def test_resuming_refuses_it_for_a_run_without(shakespeare, tmp_path, capsys):
    out = ["--out", str(tmp_path / "run")]
    assert main(["train", "text", "--data", shakespeare, *SIZES, *out]) == 0
    assert main(["train", "text", "--recipe", "nanogpt", "--resume", *out]) == 2
    expected = "--recipe is nanogpt, but the run to be resumed has None; leave it out"
    assert expected in capsys.readouterr().err


def test_another_name_is_refused(tmp_path, capsys):
    assert main(["train", "text", "--recipe", "gpt5", "--out", str(tmp_path / "run")]) == 2
    assert "argument --recipe: got 'gpt5', expected nanogpt" in capsys.readouterr().err
    with pytest.raises(InputError, match="--recipe is 'gpt5'; expected nanogpt"):
        TextSettings.chosen({"preset": "gpt5"})
    with pytest.raises(InputError, match="--recipe is 5; expected nanogpt"):
        TextSettings.chosen({"preset": 5})


def test_a_text_that_is_too_short_is_refused_by_its_context(tmp_path, capsys):
    (tmp_path / "a.txt").write_text("ab" * 300)
    command = ["train", "text", "--recipe", "nanogpt", "--data", str(tmp_path / "a.txt")]
    assert main([*command, "--out", str(tmp_path / "run")]) == 2
    assert "longer than --context 64, so give a longer --data" in capsys.readouterr().err


def test_help_names_it(capsys):
    assert main(["train", "text", "--help"]) == 0
    assert "--recipe nanogpt" in capsys.readouterr().out
