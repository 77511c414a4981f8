"""A mask drawn with characters, from the codes of its blocks."""

import numpy as np
from numpy.typing import NDArray

MARKS = ".+#"  # for the codes NONE, SOME and ALL


def draw(codes: NDArray[np.int8], edge: int) -> str:
    """Draw a grid of codes with row and column numbers and a legend.

    Parameters
    ----------
    codes : (rows, columns) int8 ndarray
        0, 1 or 2 for each square: none of its pairs may attend, some may, all may.
    edge : int
        Queries and keys in a square. The numbers are those of its first query and first key.

    Returns
    -------
    str
        Lines without a newline at the end.
    """
    high, wide = codes.shape
    gap = " " if wide <= 32 else ""  # a character is half as wide as it is high
    margin = max(3, len(str(max(high - 1, 0) * edge)))
    legend = "# may attend   . may not"
    if edge > 1:
        legend = f"{edge} x {edge} pairs each: # all may attend   + some may   . none may"
    lines = [" " * (margin + 1) + _ruler(wide, edge, len(gap) + 1)]
    for at, line in enumerate(codes.tolist()):
        lines.append(f"{at * edge:>{margin}} " + gap.join(MARKS[code] for code in line))
    return "\n".join(line.rstrip() for line in [*lines, legend])


def _ruler(wide: int, edge: int, pitch: int) -> str:
    """Give every fifth column its number, or every tenth and so on where five leave no room."""
    step = 5
    while step * pitch <= len(str(wide * edge)):
        step += 5
    ticks = (f"{at * edge:<{step * pitch}}" for at in range(0, wide, step))
    return "".join(ticks)
