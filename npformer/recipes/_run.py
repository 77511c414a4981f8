"""The loop that all recipes share: a folder, checkpoints, history, resuming, Ctrl-C, pictures."""

import contextlib
import json
import os
import platform
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .._version import __version__
from ..core.errors import MissingExtraError
from ..core.threads import working_on
from ..models import Model
from ..training import Trainer, load_model
from ._pictures import draw_attention, draw_loss
from ._progress import Progress, duration
from ._recipe import Recipe
from ._settings import InputError

CHECKPOINT = "checkpoint.npz"
INTERRUPTED = 130  # the shell's exit status of a process that was stopped by Ctrl-C


def train(
    recipe_type: type[Recipe], out: str, given: dict[str, Any], *, resume: bool = False
) -> int:
    """Run a recipe, from its data to its pictures.

    Parameters
    ----------
    recipe_type : type of Recipe
    out : str
        The folder for everything the run makes.
    given : dict
        Settings that differ from the recipe's own; when resuming, from the saved run's.
    resume : bool, optional
        Go on from the folder's checkpoint.

    Returns
    -------
    int
        Exit status: 0, or 130 after Ctrl-C.

    Raises
    ------
    InputError
        If the settings, the folder or its checkpoint do not fit.
    """
    folder = Path(out)
    checkpoint = folder / CHECKPOINT
    metadata = _saved(recipe_type, checkpoint) if resume else {}
    if resume:
        settings = recipe_type.settings_type.saved(metadata.get("settings")).renewed(given)
    else:
        settings = recipe_type.settings_type.chosen(given)
    recipe_type.check_out(folder, settings)
    recipe = recipe_type(settings)
    model = recipe.initial_model()
    trainer = recipe.trainer(model)
    history: dict[str, Any] = {"train": [], "held_out": [], "seconds": 0.0}
    if resume:
        recipe.check_record(metadata)
        history = trainer.load(checkpoint).get("history", history)
        if trainer.steps > settings.steps:
            raise InputError(f"--steps is {settings.steps}; the run has taken {trainer.steps}")
    _prepare(folder, recipe, model, fresh=not resume)
    print(f"{recipe.describe()}\n{size(model):,} parameters; the run goes to {folder}", flush=True)
    if resume:
        print(f"resumed at step {trainer.steps}", flush=True)
    with working_on(settings.threads) as limited:
        if not limited:
            print(
                "--threads has no effect without threadpoolctl; pip install 'npformer[fast]'",
                file=sys.stderr,
            )
        done = _loop(recipe, trainer, history, checkpoint)
    if not done:
        print(
            f"interrupted: step {trainer.steps} of {settings.steps} is saved in {checkpoint}\n"
            f"go on with: npformer train {recipe.name} --out {shlex.quote(out)} --resume",
            file=sys.stderr,
        )
        return INTERRUPTED
    _finish(recipe, model, history, folder)
    return 0


def _saved(recipe_type: type[Recipe], checkpoint: Path) -> dict[str, Any]:
    """Return the metadata of the checkpoint that is to be resumed."""
    if not checkpoint.is_file():
        raise InputError(f"--resume found no {checkpoint}; leave it out to begin a new run")
    metadata = load_model(checkpoint)[1]
    if metadata.get("recipe") != recipe_type.name:
        raise InputError(
            f"{checkpoint} is a run of {metadata.get('recipe')!r}, not of {recipe_type.name!r}"
        )
    return metadata


def _prepare(folder: Path, recipe: Recipe, model: Model, *, fresh: bool) -> None:
    """Make the folder, put an earlier run's checkpoint aside, write the configuration."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out is {folder}, which is a file; expected a folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {folder} cannot be made: {error.strerror or error}") from error
    checkpoint = folder / CHECKPOINT
    if fresh and checkpoint.exists():
        aside = checkpoint.with_stem(checkpoint.stem + ".previous")
        os.replace(checkpoint, aside)
        for made in ("result.json", "loss.png", "attention.png", *recipe.products):
            (folder / made).unlink(missing_ok=True)
        print(f"{folder} holds an earlier run: it is replaced, its checkpoint kept as {aside.name}")
    config = {
        "recipe": recipe.name,
        "settings": recipe.settings.as_dict(),
        "model": {"type": type(model).__name__, **vars(model.config)},
        "versions": {
            "npformer": __version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    _write(folder / recipe.configuration, config)
    recipe.prepare(folder)


def _loop(recipe: Recipe, trainer: Trainer, history: dict[str, Any], checkpoint: Path) -> bool:
    """Train to the last step; return False if Ctrl-C came on the way."""
    settings = recipe.settings
    began = time.monotonic() - history["seconds"]

    def look() -> None:
        measures = recipe.look(trainer.model)
        history["held_out"].append([trainer.steps, measures])
        words = ", ".join(say(name, value) for name, value in measures.items())
        progress.say(f"step {trainer.steps}, held out: {words}")

    def save() -> None:
        history["seconds"] = time.monotonic() - began
        trainer.save(checkpoint, **recipe.record(), history=history)

    progress = Progress(settings.steps, trainer.steps)
    # The trainer looks for what is not finite, and says what; NumPy need not say it before.
    quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")
    with quiet, _interrupts() as interrupted, contextlib.closing(progress):
        saved = trainer.steps if checkpoint.exists() else -1
        if trainer.steps == 0:
            look()
        while trainer.steps < settings.steps and not interrupted.is_set():
            loss = trainer.step(*recipe.batch(trainer.steps))
            history["train"].append(loss)
            progress.step(loss)
            last = trainer.steps == settings.steps
            if trainer.steps % settings.eval_every == 0 or last:
                look()
            if trainer.steps % settings.save_every == 0 or last:
                save()
                saved = trainer.steps
        if trainer.steps > saved:
            save()
        return not interrupted.is_set()


@contextlib.contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event; the second one interrupts as usual."""
    event = threading.Event()

    def note(signum: int, frame: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = signal.getsignal(signal.SIGINT)
    # Only the main thread may ask for signals; a run in the background may have none to get.
    ours = threading.current_thread() is threading.main_thread() and callable(before)
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


def _finish(recipe: Recipe, model: Model, history: dict[str, Any], folder: Path) -> None:
    """Judge the model on all held-out data, print and draw."""
    measures, shown = recipe.judge(model)
    seconds = history["seconds"]
    looks = history["held_out"]
    result = {"held_out": measures, "seconds": round(seconds, 1), "looks": looks}
    _write(folder / "result.json", result)
    words = ", ".join(say(name, value) for name, value in measures.items())
    print(f"\n{shown}\n\nheld out: {words}; {len(history['train'])} steps in {duration(seconds)}")
    (first, before), (last, after) = looks[0], looks[-1]
    print(
        f"on the part of it that was looked at: loss {before['loss']:.4f} at step {first}, "
        f"{after['loss']:.4f} at step {last}"
    )
    recipe.keep(model, folder)
    made = [CHECKPOINT, recipe.configuration, "result.json", *recipe.products]
    try:
        draw_loss(
            folder / "loss.png",
            history["train"],
            history["held_out"],
            title=f"{type(model).__name__} on {recipe.name}, {size(model):,} parameters",
            unit=recipe.unit,
            floor=recipe.lowest_loss(),
        )
        made.append("loss.png")
        example = recipe.attention_example()
        if example is not None:
            attention = recipe.attend(model, recipe.vocabulary, example)
            draw_attention(folder / "attention.png", attention)
            made.append("attention.png")
    except MissingExtraError as error:
        print(f"no pictures: {error}", file=sys.stderr)
    print(f"in {folder}: {', '.join(made)}", flush=True)


def size(model: Model) -> int:
    """Return the number of trained numbers in a model."""
    return sum(parameter.value.size for parameter in model.parameters())


def say(name: str, value: float) -> str:
    """Write a measure: a loss in nats, anything else as a share."""
    return f"{name} {value:.4f}" if name == "loss" else f"{name} {100 * value:.2f} %"


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
