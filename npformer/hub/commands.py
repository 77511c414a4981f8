"""``npformer models``, ``embed``, ``generate`` and ``chat``: arguments in, text out.

Text and vectors go to the standard output; what is said about them, such as speeds, to the standard
error, so that one can be piped without the other.
"""

import argparse
import contextlib
import json
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..core.arrays import Array
from ..recipes._settings import COUNT, FILE, NOT_NEGATIVE, PROBABILITY, SEED, InputError
from ..recipes._targets import check_target
from .chat import Chat
from .language_model import LanguageModel
from .packages import PACKAGES
from .sentences import SentenceEncoder

_LARGEST_TABLE = 12  # sentences
_NAME_WIDTH = 40  # characters of a sentence that stand beside the table

_show = partial(print, end="", flush=True)


def say(text: str) -> None:
    """Print what is said about a result."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Print warnings as notes, without the line of code that they come from."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for one in caught:
        print(f"npformer: note: {one.message}", file=sys.stderr, flush=True)


def register_models(commands: Any) -> None:
    """``npformer models``."""
    parser = commands.add_parser("models", help="list packages that carry real weights")
    parser.set_defaults(act=_models)


def _models(arguments: argparse.Namespace) -> int:
    for one in PACKAGES.values():
        there = one.installed()
        print(
            f"{one.name}: {one.summary}\n"
            f"  for      npformer {one.command.replace(', ', ', npformer ')}\n"
            f"  package  {one.package} {one.version}, {one.size}, weights under {one.licence}\n"
            f"  here     " + (f"yes, {there}" if there else f"no; to have it, run: {one.install}")
        )
    return 0


def register_embed(commands: Any) -> None:
    """``npformer embed FOLDER [SENTENCE ...]``."""
    parser = commands.add_parser("embed", help="vectors of sentences, and how near they are")
    _add_model(parser, "a BERT's folder of Hugging Face's, or minilm (see npformer models)")
    parser.add_argument(
        "sentences",
        metavar="SENTENCE",
        nargs="*",
        help="as many as there are (default: the lines of the standard input)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print sentences and vectors as JSON, and no table"
    )
    parser.add_argument(
        "--npy", type=FILE.parse, metavar="FILE", help="write the vectors to a file of NumPy's"
    )
    parser.set_defaults(act=_embed)


def _embed(arguments: argparse.Namespace) -> int:
    target = None if arguments.npy is None else Path(arguments.npy)
    if target is not None:
        check_target(target)
    with noted():
        encoder = SentenceEncoder.open(arguments.model)
        sentences = arguments.sentences or [line.rstrip("\r\n") for line in sys.stdin]
        if not sentences:
            raise InputError("there are no sentences; give some, or one a line on standard input")
        vectors = encoder.encode(sentences)
    if target is not None:
        with open(target, "wb") as file:
            np.save(file, vectors)
        say(f"{len(vectors)} vectors of {encoder.width} numbers in {target}")
    if arguments.json:
        print(json.dumps({"sentences": sentences, "vectors": vectors.tolist()}))
    elif len(sentences) <= _LARGEST_TABLE:
        print("\n".join(similarity_table(sentences, vectors)))
    elif target is None:
        say(
            f"{len(sentences)} sentences are too many for a table, which has up to "
            f"{_LARGEST_TABLE}; their vectors come with --json or --npy FILE"
        )
    return 0


def similarity_table(sentences: list[str], vectors: Array) -> list[str]:
    """Return the lines of a table of cosines, a row and a column for each sentence."""
    numbers = [str(i + 1) for i in range(len(sentences))]
    names = [one if len(one) <= _NAME_WIDTH else one[: _NAME_WIDTH - 1] + "…" for one in sentences]
    wide = max(len(name) for name in names)
    high = len(numbers[-1])
    lines = [" " * (high + 2 + wide) + "".join(f"{number:>9}" for number in numbers)]
    for number, name, row in zip(numbers, names, vectors @ vectors.T, strict=True):
        cosines = "".join(f"{cosine:9.4f}" for cosine in row)
        lines.append(f"{number:>{high}}  {name:<{wide}}{cosines}")
    return lines


def register_generate(commands: Any) -> None:
    """``npformer generate MODEL [PROMPT]``."""
    parser = commands.add_parser("generate", help="let a real language model go on from a text")
    _add_model(parser, "a GPT-2 or Llama folder, a .gguf file, or smollm2 (see npformer models)")
    parser.add_argument(
        "prompt",
        metavar="PROMPT",
        nargs="?",
        help="what to go on from (default: the standard input)",
    )
    _add_sampling(parser, max_tokens=128, temperature=0.0)
    parser.set_defaults(act=_generate)


def _generate(arguments: argparse.Namespace) -> int:
    with noted():
        model = LanguageModel.open(arguments.model)
    prompt = sys.stdin.read() if arguments.prompt is None else arguments.prompt
    ids = model.tokenizer.encode(prompt)
    model.room(ids)  # refused before anything is shown
    _show(prompt)
    with noted():
        try:
            written = model.write(ids, arguments.max_tokens, show=_show, **_sampling(arguments))
        finally:
            print(flush=True)
    say(written.speeds)
    return 0


def register_chat(commands: Any) -> None:
    """``npformer chat MODEL``."""
    parser = commands.add_parser("chat", help="talk with a real language model")
    _add_model(parser, "a model with a chat template: a folder, a .gguf file, or smollm2")
    parser.add_argument("--system", metavar="TEXT", help="what the model is told about its task")
    _add_sampling(parser, max_tokens=512, temperature=0.7)
    parser.set_defaults(act=_chat)


def _chat(arguments: argparse.Namespace) -> int:
    with noted():
        model = LanguageModel.open(arguments.model)
    chat = Chat(model, arguments.system, max_tokens=arguments.max_tokens, **_sampling(arguments))
    terminal = sys.stdin.isatty()
    if terminal:
        say("Ctrl-D or Ctrl-C ends the conversation")
    try:
        for words in _lines(terminal):
            with noted():
                written = chat.answer(words, _show)
                print(flush=True)
            say(written.speeds)
    except KeyboardInterrupt:
        if not terminal:
            raise
        print(flush=True)  # the shell's prompt begins a line
    return 0


def _lines(terminal: bool) -> Iterator[str]:
    """Yield what is said, line by line, but for blank lines."""
    while True:
        if terminal:
            try:
                line = input("> ")
            except EOFError:
                print(flush=True)
                return
        else:
            line = sys.stdin.readline()
            if not line:
                return
        if line.strip():
            yield line.strip()


def _add_model(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("model", metavar="MODEL", help=help)


def _add_sampling(parser: argparse.ArgumentParser, max_tokens: int, temperature: float) -> None:
    parser.add_argument(
        "--max-tokens",
        type=COUNT.parse,
        metavar="N",
        default=max_tokens,
        help=f"the most that is written (default {max_tokens})",
    )
    parser.add_argument(
        "--temperature",
        type=NOT_NEGATIVE.parse,
        metavar="X",
        default=temperature,
        help=f"0 takes the likeliest token each time (default {temperature:g})",
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
        "--seed", type=SEED.parse, metavar="N", default=0, help="the same seed repeats a text"
    )


def _sampling(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "temperature": arguments.temperature,
        "top_k": arguments.top_k,
        "top_p": arguments.top_p,
        "rng": np.random.default_rng(arguments.seed),
    }
