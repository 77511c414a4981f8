"""The ``npformer`` command: train, sample, look at attention, check gradients, use real models.

A subcommand is one function that adds its parser to the table and says what runs it. To add
one, write such a function and list it in `COMMANDS`.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ._version import __version__
from .ablate.command import register_ablate
from .compare.command import register_compare
from .core.errors import MissingExtraError, NonFiniteError
from .explain.command import register_explain
from .hub.commands import register_chat, register_embed, register_generate, register_models
from .hub.media_commands import register_classify, register_transcribe, register_translate
from .recipes import RECIPES, Recipe
from .recipes._pictures import draw_attention
from .recipes._recipe import ATTENTIONS
from .recipes._run import CHECKPOINT, INTERRUPTED, train
from .recipes._settings import (
    COUNT,
    INTEGER,
    NOT_NEGATIVE,
    PROBABILITY,
    SEED,
    InputError,
    one_of,
)
from .recipes._targets import check_target
from .survey import print_survey, select, survey, survey_json
from .training import load_model

USAGE = 2  # exit status of a command that was asked wrongly, as argparse has it
# Of a file that was named: there is none, it is a folder or none, or it may not be opened.
_NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; None takes those of the process.

    Returns
    -------
    int
        Exit status: 0, 2 if the arguments or the files they name do not fit, 1 if the work
        itself failed, 130 after Ctrl-C.
    """
    try:
        arguments = _parser().parse_args(argv)
        return int(arguments.act(arguments))
    except SystemExit as stop:  # argparse has said why
        return int(stop.code or 0)
    except (InputError, ValueError, *_NOT_THERE) as error:  # a CheckpointError is a ValueError
        return _fail(error, USAGE)
    except (MissingExtraError, NonFiniteError, OSError, MemoryError) as error:
        if isinstance(error, BrokenPipeError):  # whoever read the output has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        return _fail(error, 1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _fail(error: BaseException, status: int) -> int:
    said = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None:  # the system's own words
        said = f"{error.filename}: {error.strerror}"
    print(f"npformer: error: {said}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="npformer", description="The Transformer in pure NumPy, trained by its own gradients."
    )
    parser.add_argument("--version", action="version", version=f"npformer {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for register in COMMANDS:
        register(commands)
    return parser


def _register_train(commands: Any) -> None:
    """``npformer train RECIPE``."""
    parser = commands.add_parser("train", help="train a model by a recipe, from data to pictures")
    recipes = parser.add_subparsers(metavar="RECIPE", required=True)
    for name, recipe in RECIPES.items():
        one = recipes.add_parser(name, help=recipe.summary, description=recipe.summary)
        out = f"runs/{name}"
        one.add_argument(
            "--out", metavar="DIR", default=out, help=f"folder of the run (default {out})"
        )
        one.add_argument(
            "--resume", action="store_true", help="go on from the checkpoint in the folder"
        )
        recipe.settings_type.add_options(one)
        one.set_defaults(act=_train, recipe=recipe)


def _train(arguments: argparse.Namespace) -> int:
    recipe: type[Recipe] = arguments.recipe
    given = recipe.settings_type.given(arguments)
    return train(recipe, arguments.out, given, resume=arguments.resume)


def _register_sample(commands: Any) -> None:
    """``npformer sample CHECKPOINT``."""
    parser = commands.add_parser("sample", help="let a trained model write")
    _add_checkpoint(parser)
    parser.add_argument(
        "--prompt",
        metavar="TEXT",
        help="text: what to go on from (default: a line end); dates: the date to translate; "
        "masked: a text with <mask> for every character that is to be filled in; captions: the "
        "sentence of a scene, which is drawn and named (default: any); translate: the text to "
        "translate; finetune: as text; speech: a WAV file, or a word that is synthesised (default: "
        "any)",
    )
    parser.add_argument(
        "--tokens",
        type=COUNT.parse,
        metavar="N",
        help="the most that is written (text: 500, finetune: 200)",
    )
    parser.add_argument(
        "--temperature",
        type=NOT_NEGATIVE.parse,
        metavar="X",
        help="0 takes the likeliest token each time (text, finetune: 0.8; dates, masked, speech: "
        "0; translate: none, and beam search instead)",
    )
    parser.add_argument(
        "--top-k", type=COUNT.parse, metavar="K", help="draw from the K likeliest tokens"
    )
    parser.add_argument(
        "--top-p",
        type=PROBABILITY.parse,
        metavar="P",
        help="draw from the likeliest tokens that together have probability P",
    )
    parser.add_argument(
        "--seed", type=SEED.parse, metavar="N", default=0, help="the same seed repeats a sample"
    )
    parser.set_defaults(act=_sample)


def _sample(arguments: argparse.Namespace) -> int:
    recipe, model, vocabulary = _load(arguments.checkpoint)
    text = recipe.respond(
        model,
        vocabulary,
        arguments.prompt,
        arguments.tokens,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        rng=np.random.default_rng(arguments.seed),
    )
    print(text, flush=True)
    return 0


def _register_attention(commands: Any) -> None:
    """``npformer attention CHECKPOINT``."""
    parser = commands.add_parser("attention", help="draw where a trained model looks")
    _add_checkpoint(parser)
    parser.add_argument(
        "--input", metavar="TEXT", required=True, help="what the model reads; speech: as sample's"
    )
    parser.add_argument("--out", metavar="PICTURE", required=True, help="such as attention.png")
    kinds = one_of(*ATTENTIONS)
    parser.add_argument(
        "--kind",
        type=kinds.parse,
        metavar=kinds.metavar,
        help="which attention: cross, of the decoder to what is read; self, of the decoder to what "
        "is written; encoder, of what is read to itself; text, of CLIP's texts (dates, translate, "
        "speech: "
        "cross; the others have only one)",
    )
    parser.add_argument(
        "--layer",
        type=INTEGER.parse,
        metavar="N",
        default=-1,
        help="which of the layers that have it, from 0; -1 is the last (default -1)",
    )
    parser.add_argument(
        "--head",
        type=INTEGER.parse,
        metavar="N",
        help="from 0; -1 is the last (default: the mean of all heads)",
    )
    parser.set_defaults(act=_attention)


def _attention(arguments: argparse.Namespace) -> int:
    check_target(arguments.out)
    recipe, model, vocabulary = _load(arguments.checkpoint)
    attention = recipe.attend(
        model,
        vocabulary,
        arguments.input,
        kind=arguments.kind,
        layer=arguments.layer,
        head=arguments.head,
    )
    draw_attention(arguments.out, attention)
    print(f"{attention.title}\nin {arguments.out}", flush=True)
    return 0


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a run's checkpoint, or its folder"
    )


def _load(path: str) -> tuple[type[Recipe], Any, Any]:
    """Return the recipe, the model and the vocabulary of a checkpoint."""
    file = Path(path)
    if file.is_dir():
        file = file / CHECKPOINT
    if not file.is_file():
        raise InputError(f"there is no {file}; npformer train makes one")
    model, metadata = load_model(file)
    recipe = RECIPES.get(str(metadata.get("recipe")))
    unknown = f"{file} was not saved by a recipe, so what its ids mean is not known"
    if recipe is None or not isinstance(model, recipe.model_types):
        raise InputError(unknown)
    try:
        vocabulary = recipe.open_vocabulary(metadata.get("vocabulary"), model, file.parent)
    except ValueError as error:
        raise InputError(f"{unknown}: {error}") from error
    return recipe, model, vocabulary


def _register_check(commands: Any) -> None:
    """``npformer check [NAME ...]``."""
    parser = commands.add_parser(
        "check", help="check gradients: of the whole library, of parts of it, or of your own code"
    )
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help="an operation or layer, such as attention or EncoderLayer; one example of it, such as "
        "'attention [causal]'; or module:object, for an npformer.catalogue.Example of your own, "
        "several, or a function that returns them",
    )
    parser.add_argument(
        "--seed", type=SEED.parse, metavar="N", default=0, help="of inputs, weights and directions"
    )
    parser.add_argument(
        "--jobs",
        type=COUNT.parse,
        metavar="N",
        help="processes (default: one for each core where there is much to check)",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--details", action="store_true", help="show every tensor of every check")
    how.add_argument("--json", action="store_true", help="print all reports as one JSON object")
    parser.set_defaults(act=_check)


def _check(arguments: argparse.Namespace) -> int:
    sys.path.insert(0, os.getcwd())  # module:object is looked for where the command is given
    try:
        chosen = select(arguments.names, arguments.seed)
    except ValueError as error:
        raise InputError(str(error)) from error
    rows = survey(chosen, arguments.seed, arguments.jobs)
    show = partial(print, flush=True)
    if arguments.json:
        return 0 if survey_json(rows, show) else 1
    return 0 if print_survey(rows, show, details=arguments.details) else 1


COMMANDS: tuple[Callable[[Any], None], ...] = (
    _register_train,
    _register_sample,
    _register_attention,
    _register_check,
    register_explain,
    register_compare,
    register_ablate,
    register_models,
    register_embed,
    register_generate,
    register_chat,
    register_transcribe,
    partial(register_translate, open_run=_load),
    register_classify,
)
"""What ``npformer`` can do, in the order of its help."""
