"""How a run tells how far it is: a bar where there is a terminal and tqdm, else plain lines."""

import shutil
import sys
import time
from typing import Any, TextIO

from ..core.errors import MissingExtraError, optional

_EVERY = 5.0  # seconds between two plain lines


class Progress:
    """Loss, steps a second and time left of a run, on stderr.

    Parameters
    ----------
    total : int
        Steps of the whole run.
    done : int, optional
        Steps that were taken before, in a run that is resumed.
    stream : text file, optional
        Where to write; None is ``sys.stderr``.

    Notes
    -----
    A bar needs the package tqdm and a terminal. Without either, there is a line every five
    seconds, and one for the last step.
    """

    def __init__(self, total: int, done: int = 0, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._total, self._done, self._first = total, done, done
        self._began = self._spoke = time.monotonic()
        self._bar: Any = None
        if self._stream.isatty():
            try:
                tqdm = optional("tqdm", extra="cli", purpose="draw a progress bar").tqdm
            except MissingExtraError:
                return
            # Of a terminal that states no size tqdm would see nothing; shutil says 80 by 24.
            width, height = shutil.get_terminal_size()
            shape = {"ncols": width, "nrows": height}
            self._bar = tqdm(total=total, initial=done, unit=" steps", file=self._stream, **shape)

    def step(self, loss: float) -> None:
        """Count one step and show its loss."""
        self._done += 1
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            self._bar.update()
            return
        now = time.monotonic()
        if now - self._spoke >= _EVERY or self._done == self._total:
            self._spoke = now
            rate = (self._done - self._first) / max(now - self._began, 1e-9)
            left = duration((self._total - self._done) / rate)
            self.say(
                f"step {self._done:>{len(str(self._total))}}/{self._total}  loss {loss:.3f}  "
                f"{rate:.1f} steps/s  {left} left"
            )

    def say(self, text: str) -> None:
        """Write a line, above the bar if there is one."""
        if self._bar is not None:
            self._bar.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the bar as it stands and go to the next line."""
        if self._bar is not None:
            self._bar.close()


def duration(seconds: float) -> str:
    """Write a time as ``m:ss``, or ``h:mm:ss`` from an hour on.

    Examples
    --------
    >>> duration(83.4), duration(3725)
    ('1:23', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
