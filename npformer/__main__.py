"""The command as a process: ``npformer``, and ``python -m npformer`` where no script is found."""

import sys


def entry() -> int:
    """Run the command with the arguments of the process; Ctrl-C while it starts is no failure.

    Returns
    -------
    int
        Exit status, as `npformer.cli.main` has it.
    """
    try:
        from .cli import main

        return main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(entry())
