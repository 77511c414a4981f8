"""``npformer transcribe``, ``translate`` and ``classify``: speech, languages and images.

As in `commands`, what was asked for goes to the standard output, and what is said about it to the
standard error.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..audio import read_wav
from ..recipes import Recipe
from ..recipes._pictures import draw_shares, new_figure
from ..recipes._run import CHECKPOINT
from ..recipes._settings import COUNT, FILE, InputError, one_of
from .classifier import TEMPLATE, ImageClassifier
from .commands import noted, say
from .images import read_image
from .transcriber import TASKS, Part, Transcriber
from .translator import BEAMS, Translator

OpenRun = Callable[[str], tuple[type[Recipe], Any, Any]]  # a path to recipe, model, vocabulary


def register_transcribe(commands: Any) -> None:
    """``npformer transcribe AUDIO --model FOLDER``."""
    parser = commands.add_parser("transcribe", help="write down what is said in a recording")
    parser.add_argument(
        "audio", metavar="AUDIO", help="a WAV file, at any rate, with any number of channels"
    )
    _add_model(parser, "a Whisper folder of Hugging Face's")
    parser.add_argument(
        "--language",
        metavar="CODE",
        help="what is spoken, such as en (default: heard from the recording)",
    )
    tasks = one_of(*TASKS)
    parser.add_argument(
        "--task",
        type=tasks.parse,
        metavar=tasks.metavar,
        default=TASKS[0],
        help=f"write what is said, or translate it to English (default {TASKS[0]})",
    )
    _add_beams(parser, 1)
    parser.add_argument(
        "--times",
        action="store_true",
        help="print when each part begins and ends; a recording is cut at pauses, into parts of "
        "no more than the 30 seconds that Whisper hears",
    )
    parser.set_defaults(act=_transcribe)


def _transcribe(arguments: argparse.Namespace) -> int:
    samples, rate = read_wav(arguments.audio)
    if not len(samples):
        raise InputError(f"{arguments.audio} has no samples: nothing was recorded")
    with noted():
        transcriber = Transcriber.open(arguments.model)
    began = time.perf_counter()

    def show(part: Part) -> None:
        times = f"[{_clock(part.start)} - {_clock(part.end)}] " if arguments.times else ""
        if times or part.text:
            print(f"{times}{part.text}".rstrip(), flush=True)

    with noted():
        found = transcriber.transcribe(
            samples,
            rate,
            language=arguments.language,
            task=arguments.task,
            num_beams=arguments.beams,
            show=show,
        )
    spoken = "" if found.language is None else f" of {found.language}"
    say(f"{len(samples) / rate:.1f} s{spoken} in {time.perf_counter() - began:.1f} s")
    return 0


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(10 * seconds), 600)
    return f"{minutes:02}:{rest / 10:04.1f}"


def register_translate(commands: Any, open_run: OpenRun) -> None:
    """``npformer translate [TEXT ...] --model FOLDER``."""
    parser = commands.add_parser("translate", help="translate texts")
    parser.add_argument(
        "texts",
        metavar="TEXT",
        nargs="*",
        help="a sentence or a few (default: the lines of the standard input); where the model "
        "knows several languages, it begins with the one to translate to, as '>>fra<< Good day'",
    )
    _add_model(parser, "a Marian folder of Hugging Face's, or a run of translate or dates")
    _add_beams(parser, BEAMS)
    parser.add_argument(
        "--max-tokens",
        type=COUNT.parse,
        metavar="N",
        help="the most that is written for a text (default: three times its length and 30)",
    )
    parser.set_defaults(act=lambda arguments: _translate(arguments, open_run))


def _translate(arguments: argparse.Namespace, open_run: OpenRun) -> int:
    path = Path(arguments.model)
    if path.is_file() or (path / CHECKPOINT).is_file():
        translate = _of_run(arguments, open_run)
    else:
        with noted():
            translator = Translator.open(path)

        def translate(texts: list[str]) -> list[str]:
            return translator.translate(
                texts, num_beams=arguments.beams, max_tokens=arguments.max_tokens
            )

    texts = arguments.texts or [line.rstrip("\r\n") for line in sys.stdin]
    if not texts:
        raise InputError("there are no texts; give some, or one a line on standard input")
    began = time.perf_counter()
    with noted():
        found = translate(texts)
    print("\n".join(found), flush=True)
    say(f"{len(texts)} text{'s' * (len(texts) > 1)} in {time.perf_counter() - began:.1f} s")
    return 0


def _of_run(arguments: argparse.Namespace, open_run: OpenRun) -> Callable[[list[str]], list[str]]:
    """Return what translates by a run of ours, as ``npformer sample`` has it answer."""
    recipe, model, vocabulary = open_run(arguments.model)
    if not recipe.translates:
        raise InputError(
            f"{arguments.model} is a run of {recipe.name!r}, which translates nothing; ask it with "
            f"npformer sample"
        )

    def translate(texts: list[str]) -> list[str]:
        beams, most = arguments.beams, arguments.max_tokens
        return [
            recipe.respond(model, vocabulary, text, most, beams=beams) if text.strip() else ""
            for text in texts
        ]

    return translate


def register_classify(commands: Any) -> None:
    """``npformer classify IMAGE --model FOLDER --labels LABEL LABEL ...``."""
    parser = commands.add_parser("classify", help="say which of some labels suits an image")
    parser.add_argument("image", metavar="IMAGE", help="a picture, such as a PNG or JPEG file")
    _add_model(parser, "a CLIP folder of Hugging Face's")
    parser.add_argument(
        "--labels",
        metavar="LABEL",
        nargs="+",
        required=True,
        help="what it may show, at least two; none of them has to be known from training",
    )
    parser.add_argument(
        "--template",
        metavar="TEXT",
        default=TEMPLATE,
        help=f"the sentence that each label is put into, in place of {{}} (default: {TEMPLATE})",
    )
    parser.add_argument(
        "--out", type=FILE.parse, metavar="PICTURE", help="draw bars, such as labels.png"
    )
    parser.set_defaults(act=_classify)


def _classify(arguments: argparse.Namespace) -> int:
    if arguments.out is not None:
        new_figure(arguments.out, (1.0, 1.0))  # refuses what cannot be drawn before any work
    image = read_image(arguments.image)
    with noted():
        classifier = ImageClassifier.open(arguments.model)
        shares = classifier.classify([image], arguments.labels, template=arguments.template)[0]
    order = np.argsort(-shares, kind="stable")
    labels = [arguments.labels[i] for i in order]
    for label, share in zip(labels, shares[order], strict=True):
        print(f"{100 * share:5.1f} %  {label}")
    if arguments.out is not None:
        draw_shares(arguments.out, image, labels, shares[order], Path(arguments.image).name)
        say(f"in {arguments.out}")
    return 0


def _add_model(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--model", metavar="FOLDER", required=True, help=help)


def _add_beams(parser: argparse.ArgumentParser, beams: int) -> None:
    parser.add_argument(
        "--beams",
        type=COUNT.parse,
        metavar="N",
        default=beams,
        help=f"texts that are kept while it looks for the likeliest (default {beams})",
    )
