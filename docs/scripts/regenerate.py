"""Regenerate every number and picture of the documentation; `git diff` then says what changed.

    python docs/scripts/regenerate.py [pages | commands | runs] [--list]

Three kinds of things, all of them unless one is named:

- ``pages``: the Python blocks of every page run, and what they print is written below them, where
  it is not the same up to times and rounding already. Half a minute.
- ``commands``: what stands in a page between ``<!-- COMMAND -->`` and ``<!-- end -->`` is printed
  by that command, which draws the page's pictures as well. Their figures are times for the most
  part, so that they change from machine to machine. Half an hour.
- ``runs``: the recipes train with their defaults on one thread, and what they draw is put into
  `docs/images`; what they reach is printed, to be held against the tables of the README. An hour.
  Runs that need what others have made are left out, and named, unless it is there: SmolLM2 for
  ``finetune``, and for ``translate`` the folder of two Bibles that ``--bibles`` gives.

Needs the extras `test`, `cli`, `fast`, and for those two runs `hub` and `translate`.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from support.pages import DOCS, PRINTED, run_blocks, steady  # noqa: E402

IMAGES = DOCS / "images"
ONE_THREAD = "OPENBLAS_NUM_THREADS=1"

# what is given to `npformer train`, and picture of the documentation: what makes it, in the run
RUNS = {
    "dates": {"dates-loss": "loss.png", "dates-attention": "attention.png"},
    "text": {},
    "masked": {"masked-loss": "loss.png"},
    "captions": {"captions-loss": "loss.png"},
    "speech": {"speech-loss": "loss.png", "speech-attention": "winter"},
    "speech --head ctc": {"speech-ctc": "seven"},
    "finetune --model smollm2": {"finetune-loss": "loss.png"},
    "translate --data {bibles}": {
        "translate-loss": "loss.png",
        "translate-attention": "attention.png",
    },
}


def run_pages():
    """Write below each block what it prints, if that is not there yet."""
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for block, printed in list(run_blocks(page)):
            if printed and steady(printed) != steady(block["shown"] or ""):
                shown = f"```python\n{block['code']}```\n\n```text\n{printed}```"
                text = text.replace(block[0].rstrip("\n"), shown, 1)
                say(f"{page.relative_to(ROOT)}: a block prints something else now")
        page.write_text(text, encoding="utf-8")


def run_commands():
    """Put what each command prints where its comment stands."""
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for found in PRINTED.finditer(text):
            command = found["command"]
            say(command)
            printed = npformer_or_python(shlex.split(command)).strip()
            table = printed if printed.startswith("|") else f"```text\n{printed}\n```"
            text = text.replace(found[0], f"<!-- {command} -->\n{table}\n<!-- end -->", 1)
            page.write_text(text, encoding="utf-8")


def run_recipes(bibles):
    """Train every recipe in a folder of its own; keep its pictures, print what it reached."""
    with tempfile.TemporaryDirectory() as folder:
        for number, (arguments, pictures) in enumerate(RUNS.items()):
            if "{bibles}" in arguments and bibles is None:
                say(f"left out: {arguments}; give --bibles FOLDER")
                continue
            out = Path(folder, str(number))
            words = shlex.split(arguments.replace("{bibles}", shlex.quote(str(bibles))))
            say(f"npformer train {shlex.join(words)}")
            try:
                printed = npformer_or_python(
                    [ONE_THREAD, "npformer", "train", *words, "--out", out]
                )
            except subprocess.CalledProcessError as failed:
                say(f"left out: {arguments}; {failed.stderr.strip().splitlines()[-1]}")
                continue
            print(*(line for line in printed.splitlines() if "held out" in line), sep="\n")
            for name, source in pictures.items():
                picture = IMAGES / f"{name}.png"
                if source.endswith(".png"):
                    shutil.copyfile(out / source, picture)
                else:
                    look = ["npformer", "attention", out, "--input", source]
                    npformer_or_python([*look, "--out", picture])


def npformer_or_python(words):
    """Return what ``[NAME=VALUE …] npformer|python …`` prints, run in the project's root."""
    start = next(number for number, word in enumerate(words) if "=" not in word)
    environment = dict(word.split("=", 1) for word in words[:start])
    program, *rest = words[start:]
    runner = {"python": [sys.executable], "npformer": [sys.executable, "-m", "npformer"]}[program]
    return subprocess.run(
        [*runner, *rest],
        cwd=ROOT,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def say(line):
    print(line, flush=True)


def show_list():
    """Name what would be run."""
    for page in sorted(DOCS.rglob("*.md")):
        for found in PRINTED.finditer(page.read_text(encoding="utf-8")):
            print(f"{page.relative_to(ROOT)}: {found['command']}")
    for arguments, pictures in RUNS.items():
        print(f"{', '.join(pictures) or 'README.md'}: npformer train {arguments}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", choices=("pages", "commands", "runs", []), default=[])
    parser.add_argument("--list", action="store_true", help="say what would be run")
    parser.add_argument("--bibles", type=Path, metavar="FOLDER", help="what `translate` reads")
    arguments = parser.parse_args()
    if arguments.list:
        show_list()
        return
    what = arguments.what or ["commands", "runs", "pages"]
    if "commands" in what:
        run_commands()
    if "runs" in what:
        run_recipes(arguments.bibles and arguments.bibles.resolve())
    if "pages" in what:
        run_pages()


if __name__ == "__main__":
    main()
