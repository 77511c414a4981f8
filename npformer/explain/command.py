"""``npformer explain NAME``: an operation step by step, in the terminal or as a page."""

import argparse
from pathlib import Path
from typing import Any

from ..core.layer import Layer
from ..recipes._settings import FILE, SEED, InputError
from ..recipes._targets import check_target
from ..survey import select
from .page import as_html
from .text import as_text
from .trace import explain


def register_explain(commands: Any) -> None:
    """``npformer explain NAME``."""
    parser = commands.add_parser(
        "explain",
        help="show every number of an operation's forward and backward pass",
        description="Run an operation on a small example, and show for each of its lines the "
        "equation, the code, and what it made. A gradient's shape is compared with that of its "
        "variable where both are seen, and the gradients of all inputs with exact derivatives.",
    )
    parser.add_argument(
        "name", metavar="NAME", help="an operation, such as softmax, or 'attention [causal]'"
    )
    parser.add_argument(
        "--html", type=FILE.parse, metavar="FILE", help="write a page, which needs nothing else"
    )
    parser.add_argument("--seed", type=SEED.parse, metavar="N", default=0, help="of the numbers")
    parser.set_defaults(act=_explain)


def _explain(arguments: argparse.Namespace) -> int:
    try:
        chosen = select([arguments.name], arguments.seed)
    except ValueError as error:
        raise InputError(str(error)) from error
    example = chosen[0]
    if isinstance(example.target, Layer):
        raise InputError(
            f"{arguments.name} is a layer, which is made of operations; expected an operation, "
            f"such as softmax, layer_norm or attention"
        )
    if arguments.html:
        check_target(arguments.html)
    found = explain(example, arguments.seed)
    if arguments.html:
        Path(arguments.html).write_text(as_html(found), encoding="utf-8")
        print(f"in {arguments.html}")
    else:
        print(as_text(found))
    others = [one.name for one in chosen[1:]]
    if others:
        print(f"\nother examples: {', '.join(others)}")
    return 0
