"""The loop of all recipes: what it leaves behind, resuming to the bit, Ctrl-C, what it refuses."""

import json
import os
import signal
import sys
import threading

import numpy as np
import pytest

from npformer.cli import main
from npformer.recipes import RECIPES, dates
from npformer.recipes._run import CHECKPOINT
from npformer.training import load_model

DATES = ["--steps", "2", "--batch", "4", "--d-model", "8", "--heads", "2", "--layers", "1"]


def run(command, out, *more):
    return main([*command, "--out", str(out), *more])


def state(out):
    """Return everything of a checkpoint that a repeated run has to repeat."""
    model, metadata = load_model(out / CHECKPOINT)
    history = {k: v for k, v in metadata["history"].items() if k != "seconds"}
    return model.state_dict(), history, {k: v for k, v in metadata.items() if k != "history"}


def assert_same(a, b):
    (values_a, *rest_a), (values_b, *rest_b) = state(a), state(b)
    assert rest_a == rest_b
    assert values_a.keys() == values_b.keys()
    for name in values_a:
        np.testing.assert_array_equal(values_a[name], values_b[name], err_msg=name)


def interrupt_at(monkeypatch, command, step, times=1):
    """Send Ctrl-C to this process while the batch of `step` is made."""
    recipe = RECIPES[command[1]]
    batch = recipe.batch

    def interrupting(self, at):
        if at == step:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
        return batch(self, at)

    monkeypatch.setattr(recipe, "batch", interrupting)


def test_a_run_leaves_checkpoint_configuration_and_result(command, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(command, out, "--eval-every", "2") == 0
    made = {"checkpoint.npz", "config.json", "result.json"}
    assert made <= {path.name for path in out.iterdir()}
    config = json.loads((out / "config.json").read_text())
    assert config["recipe"] == command[1]
    assert config["settings"]["steps"] == 6
    assert config["model"]["d_model"] == 8
    result = json.loads((out / "result.json").read_text())
    shown = capsys.readouterr()
    assert f"loss {result['held_out']['loss']:.4f}" in shown.out
    assert "parameters; the run goes to" in shown.out
    assert "step 6/6  loss" in shown.err
    _, history, metadata = state(out)
    assert len(history["train"]) == 6
    assert [step for step, _ in history["held_out"]] == [0, 2, 4, 6]
    assert metadata["recipe"] == command[1]


def test_the_same_seed_repeats_a_run_and_another_does_not(command, tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert run(command, tmp_path / name, "--seed", seed) == 0
    assert_same(tmp_path / "a", tmp_path / "b")
    assert state(tmp_path / "a")[1]["train"] != state(tmp_path / "c")[1]["train"]


@pytest.mark.parametrize("step", [0, 2, 4])
def test_interrupted_and_resumed_equals_uninterrupted_to_the_bit(
    command, step, tmp_path, monkeypatch, capsys
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    every = ["--eval-every", "2", "--save-every", "4"]
    assert run(command, whole, *every) == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, command, step)
        assert run(command, parts, *every) == 130
    said = capsys.readouterr().err
    assert f"interrupted: step {step + 1} of 6 is saved in {parts / CHECKPOINT}" in said
    assert f"npformer train {command[1]} --out {parts} --resume" in said
    assert len(state(parts)[1]["train"]) == step + 1
    assert main(["train", command[1], "--out", str(parts), "--resume"]) == 0
    assert f"resumed at step {step + 1}" in capsys.readouterr().out
    assert_same(whole, parts)
    results = [json.loads((out / "result.json").read_text()) for out in (whole, parts)]
    assert results[0]["held_out"] == results[1]["held_out"]


def test_ctrl_c_in_the_last_step_leaves_the_judging_to_resume(command, tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_at(patch, command, 5)
        assert run(command, out) == 130
    assert not (out / "result.json").exists()
    assert run(command, out, "--resume") == 0
    assert (out / "result.json").exists()


def test_a_second_ctrl_c_stops_at_once_and_leaves_the_last_checkpoint(
    command, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "run"
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        interrupt_at(patch, command, 3, times=2)
        assert run(command, out, "--save-every", "2") == 130
    assert "interrupted" in capsys.readouterr().err
    assert len(state(out)[1]["train"]) == 2
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_in_another_thread_asks_for_no_signals(command, tmp_path):
    status = []
    thread = threading.Thread(target=lambda: status.append(run(command, tmp_path / "run")))
    thread.start()
    thread.join()
    assert status == [0]


def test_resume_may_add_steps(command, tmp_path):
    out = tmp_path / "run"
    assert run(command, out) == 0
    assert main(["train", command[1], "--out", str(out), "--resume", "--steps", "8"]) == 0
    assert len(state(out)[1]["train"]) == 8
    assert json.loads((out / "config.json").read_text())["settings"]["steps"] == 8


def test_resume_refuses_what_does_not_fit_and_changes_nothing(command, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(command, out) == 0
    before = (out / CHECKPOINT).read_bytes()
    other = "text" if command[1] == "dates" else "dates"
    for words, said in (
        (["train", command[1], "--lr", "0.5"], "--lr is 0.5, but the run to be resumed has 0.00"),
        (["train", command[1], "--steps", "3"], "--steps is 3; the run has taken 6"),
        (["train", other], f"is a run of '{command[1]}', not of '{other}'"),
    ):
        assert main([*words, "--out", str(out), "--resume"]) == 2
        assert said in capsys.readouterr().err
    assert (out / CHECKPOINT).read_bytes() == before


def test_resume_refuses_another_vocabulary(tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    command = ["train", "dates", *DATES]
    assert run(command, out) == 0
    monkeypatch.setattr(dates, "CHARACTERS", dates.CHARACTERS[::-1])
    assert run(command, out, "--resume") == 2
    assert "trained with another vocabulary" in capsys.readouterr().err


def test_resume_needs_a_whole_checkpoint(command, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(command, out, "--resume") == 2
    assert f"--resume found no {out / CHECKPOINT}; leave it out" in capsys.readouterr().err
    assert not out.exists()
    assert run(command, out) == 0
    (out / CHECKPOINT).write_bytes((out / CHECKPOINT).read_bytes()[:-100])
    assert run(command, out, "--resume") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("npformer: error: ")


def test_a_new_run_puts_the_earlier_checkpoint_aside_and_says_so(command, tmp_path, capsys):
    out = tmp_path / "run"
    assert run(command, out) == 0
    before = (out / CHECKPOINT).read_bytes()
    assert run(command, out, "--seed", "5", "--steps", "2") == 0
    said = capsys.readouterr().out
    assert f"{out} holds an earlier run: it is replaced" in said
    assert (out / "checkpoint.previous.npz").read_bytes() == before
    assert len(state(out)[1]["train"]) == 2


def test_out_has_to_be_a_folder(command, tmp_path, capsys):
    (tmp_path / "run").write_text("mine")
    assert run(command, tmp_path / "run") == 2
    assert "which is a file; expected a folder" in capsys.readouterr().err
    assert run(command, tmp_path / "run" / "below") == 2
    assert "cannot be made" in capsys.readouterr().err
    assert (tmp_path / "run").read_text() == "mine"


def test_sizes_that_do_not_go_together_are_refused_by_name(command, tmp_path, capsys):
    assert run(command, tmp_path / "run", "--heads", "3") == 2
    said = capsys.readouterr().err
    assert said.startswith("npformer: error: ")
    assert "heads" in said
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_stops_the_run(command, tmp_path, capsys):
    with np.errstate(all="ignore"):
        assert run(command, tmp_path / "run", "--lr", "1e30") == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("npformer: error: ")


def test_without_matplotlib_the_run_says_that_pictures_are_left_out(
    command, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    out = tmp_path / "run"
    assert run(command, out) == 0
    assert "no pictures: matplotlib is needed" in (said := capsys.readouterr().err)
    assert "pip install 'npformer[cli]'" in said
    assert (out / "result.json").exists()
    assert not list(out.glob("*.png"))


def test_random_streams_depend_on_nothing_that_happened_before(command, book):
    recipe = RECIPES[command[1]]
    settings = recipe.settings_type.saved(
        recipe.settings_type(**({"data": book} if recipe.name != "dates" else {})).as_dict()
    )
    one, other = recipe(settings), recipe(settings)
    first = [one.batch(step) for step in (0, 1, 2)]
    for step in (2, 0, 1):
        for a, b in zip(first[step], other.batch(step), strict=True):
            np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(first[0], first[1], strict=True))


def test_ctrl_c_before_the_first_step_leaves_a_checkpoint_too(command, tmp_path, monkeypatch):
    recipe = RECIPES[command[1]]
    look = recipe.look

    def interrupting(self, model):
        os.kill(os.getpid(), signal.SIGINT)
        return look(self, model)

    with monkeypatch.context() as patch:
        patch.setattr(recipe, "look", interrupting)
        assert run(command, tmp_path / "run") == 130
    assert load_model(tmp_path / "run" / CHECKPOINT)[1]["history"]["train"] == []
    assert run(command, tmp_path / "run", "--resume") == 0
