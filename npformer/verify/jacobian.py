r"""The Jacobian that backward applies beside that of forward, and what tells them apart.

A gradient adds up what all outputs contribute,  dx_j = sum_i dy_i J_ij  with  J_ij = dy_i/dx_j,
so that a fault in one factor is spread over every entry. Small targets can be taken apart: with a
dy that is 1 at output i and 0 elsewhere, backward returns row i of its own Jacobian by itself, and
forward, moved along entry j alone, shows column j of the true one. Then it is seen which output
depends on which entry, and whether the diagonal, rows or columns are off by a factor.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from ..core.arrays import Array
from .central_difference import FINER, CentralDifference
from .draws import as_index, one_hot
from .relations import close
from .target import Slot, Target

_SIZE = 400  # outputs and entries: a backward for each of those, forward twice or more for these
_EQUAL = 1e-5  # of the largest derivative: what two may differ by
_PRESENT, _ABSENT = 1e-4, 1e-8  # of the largest derivative: what surely is one, and what is none

Diagnosis = tuple[str, str]


class Jacobians:
    """The Jacobians of one target, made when asked for.

    Parameters
    ----------
    target : Target
    y : ndarray
        The output at the point.
    central : CentralDifference
        Of the same target at the same point.
    """

    def __init__(self, target: Target, y: Array, central: CentralDifference) -> None:
        self._target, self._y, self._central = target, y, central
        self._rows: list[dict[tuple[str, int], Array]] | None = None

    def of(
        self, slot: Slot, gradient: Array, truth: Array, dy: Array, kink: Array
    ) -> "Pair | None":
        """Return both Jacobians of one slot.

        Parameters
        ----------
        slot : Slot
        gradient : ndarray, shape of the slot
            What backward returned for dy.
        truth : ndarray, shape of the slot
            What it was compared with, which the columns have to add up to.
        dy : ndarray
        kink : ndarray of bool (slot.point.size,)
            Entries at which there is no derivative; their columns become zero.

        Returns
        -------
        Pair or None
            None if there are too many outputs and entries, or one output alone, whose row is the
            gradient; if backward is not linear in dy, so that it applies no Jacobian, or raises
            for a dy of zeros but for one; and if most columns are not seen well enough.
        """
        size = self._y.size + slot.point.size
        if self._y.size < 2 or size > _SIZE or self._y.dtype != np.float64:
            return None
        if self._rows is None:
            self._rows = self._backwards()
        rows = [row.get((slot.kind, slot.place), np.asarray(np.nan)) for row in self._rows]
        if not rows or any(row.shape != slot.point.shape for row in rows):
            return None
        analytic = np.array([np.where(kink, 0.0, np.ravel(row)) for row in rows])
        if not close(np.ravel(dy) @ analytic, np.ravel(gradient), _EQUAL):
            return None
        numeric, seen = self._columns(slot, np.ravel(truth), np.ravel(dy), ~kink)
        if 2 * int(np.sum(seen)) < int(np.sum(~kink)):
            return None
        return Pair(np.where(seen, analytic, 0.0), np.where(seen, numeric, 0.0), slot, self._y)

    def _backwards(self) -> list[dict[tuple[str, int], Array]]:
        """Return the gradients of every slot, of one output after the other; [] if it raises."""
        found = []
        for i in range(self._y.size):
            try:
                gradients = self._target.gradients_at(one_hot(self._y, i), {})
            except Exception:  # the diagnosis of a fault must not end the report of it
                return []
            found.append({name: np.array(g) for name, g in gradients.items() if g is not None})
        return found

    def _columns(self, slot: Slot, truth: Array, dy: Array, use: Array) -> tuple[Array, Array]:
        """Return the numeric Jacobian, and which of its columns are seen well enough.

        Those that do not add up to the true gradient, as next to a kink or where forward bends
        sharply, are taken with smaller steps.
        """
        numeric, doubtful = np.zeros((self._y.size, use.size)), use
        for finer in range(FINER + 1):
            for j in np.flatnonzero(doubtful):
                along = one_hot(slot.point, int(j))
                numeric[:, j] = np.ravel(self._central.pushed(slot, along, finer))
            largest = float(np.max(np.abs(numeric), where=np.isfinite(numeric), initial=0.0))
            doubtful = use & ~(np.abs(dy @ numeric - truth) <= 0.5 * _EQUAL * largest)
        return numeric, use & ~doubtful


class Pair:
    """Two Jacobians of a slot, an output a row and an entry a column.

    Parameters
    ----------
    analytic, numeric : ndarray of float64 (y.size, slot.point.size)
    slot : Slot
    y : ndarray

    Attributes
    ----------
    wrong : ndarray of bool (y.size, slot.point.size)
        Where they differ.
    """

    def __init__(self, analytic: Array, numeric: Array, slot: Slot, y: Array) -> None:
        self.a, self.n = analytic, numeric
        self.slot, self.y = slot, y
        self.size = float(np.max(np.abs([analytic, numeric]), initial=0.0))
        self.wrong = np.abs(analytic - numeric) > _EQUAL * self.size

    def above(self, share: float) -> tuple[Array, Array]:
        """Say where the analytic one, and the numeric one, are above a share of the largest."""
        return np.abs(self.a) > share * self.size, np.abs(self.n) > share * self.size

    def is_analytic(self, prediction: Array) -> bool:
        """Say whether the analytic Jacobian is this one, everywhere."""
        return bool(np.all(np.abs(self.a - prediction) <= _EQUAL * self.size))

    def output(self, i: int) -> str:
        """Name an output."""
        return _at("y", i, self.y)

    def entry(self, j: int) -> str:
        """Name an entry."""
        return _at(self.slot.name, j, self.slot.point)


def _at(name: str, place: int, array: Array) -> str:
    return f"{name}{list(as_index(place, array.shape))}" if array.ndim else name


def dependences(pair: Pair) -> Diagnosis | None:
    """Say which outputs depend on which entries in forward, and not in backward, or conversely."""
    (has, due), (some, true) = pair.above(_PRESENT), pair.above(_ABSENT)
    lost, extra, kept = due & ~some, has & ~true, has & due
    said = []
    if np.any(lost):
        said.append(
            f"backward leaves out {int(np.sum(lost))} of {int(np.sum(due))} dependences of an "
            f"output on an entry, such as {_such(pair, lost, due)}"
        )
    if np.any(extra):
        beside = f"beside {int(np.sum(kept))} dependences of an output on an entry backward has"
        said.append(
            f"{'it has' if said else beside} {int(np.sum(extra))} that forward has not, such as "
            f"{_such(pair, extra, extra | due)}"
        )
    if not said:
        return None
    if np.any(kept):
        wrong, others = int(np.sum(pair.wrong & kept)), int(np.sum(kept))
        said.append(
            f"{wrong} of the other {others} are wrong, too" if wrong else "the others are right"
        )
    family = "missing paths" if not np.any(extra) else "wrong paths" if np.any(lost) else ""
    return family or "extra paths", "; ".join(said)


def _such(pair: Pair, chosen: Array, among: Array) -> str:
    """Name the first of the chosen dependences, and what is chosen, if it can be said."""
    output, entry = (int(k[0]) for k in np.nonzero(chosen))
    return f"that of {pair.output(output)} on {pair.entry(entry)}{_which(pair, chosen, among)}"


def _which(pair: Pair, chosen: Array, among: Array) -> str:
    """Say what the chosen of those dependences have in common that the others have not."""
    for axis, outputs in enumerate(np.indices(pair.y.shape).reshape(pair.y.ndim, -1)):
        places = np.unique(outputs[np.any(chosen, axis=1)])
        here = np.isin(outputs, places)[:, None]
        if np.array_equal(chosen, among & here) and np.any(among & ~here):
            more = ", ..." if places.size > 5 else ""
            return f" (all those of y at {', '.join(map(str, places[:5]))}{more} of axis {axis})"
    for along, order in _orders(pair):
        for holds, where in (
            (order > 0, "an earlier place"),
            (order < 0, "a later place"),
            (order != 0, "another place"),
            (order == 0, "the same place"),
        ):
            if np.array_equal(chosen, among & holds) and np.any(among & ~holds):
                return f" (all those on {where} along {along})"
    for axis, name_of, what in ((1, pair.output, "of"), (0, pair.entry, "on")):
        here = np.any(chosen, axis, keepdims=True)
        if np.array_equal(chosen, among & here) and np.any(among & ~here) and np.sum(here) <= 6:
            return f" (all those {what} {', '.join(map(name_of, map(int, np.flatnonzero(here))))})"
    return ""


def _orders(pair: Pair) -> Iterator[tuple[str, Array]]:
    """Name axes of the same length, and say for each pair whether the output comes later."""
    y, x = pair.y, pair.slot.point
    for y_axis, outputs in enumerate(np.indices(y.shape).reshape(y.ndim, -1)):
        for x_axis, entries in enumerate(np.indices(x.shape).reshape(x.ndim, -1)):
            if y.shape[y_axis] == x.shape[x_axis] > 1:
                of_entry = f" of {pair.slot.name}, {y_axis} of y" if x_axis != y_axis else ""
                yield f"axis {x_axis}{of_entry}", np.sign(outputs[:, None] - entries)


def slope(pair: Pair) -> Diagnosis | None:
    """Say that each output depends on one entry alone, and with what wrong derivative."""
    some, true = pair.above(_ABSENT)
    if np.any(np.sum(some | true, axis=1) > 1):
        return None
    apart = np.abs(pair.a - pair.n)
    i, j = np.unravel_index(int(np.argmax(apart)), apart.shape)
    takes = f"it takes {pair.a[i, j]:.6g} for {pair.n[i, j]:.6g}"
    alike = pair.y.shape == pair.slot.point.shape
    if alike and np.array_equal(true, np.diag(np.diag(true))):
        return "slope", (
            f"forward acts on each entry by itself, and so does backward, but by a wrong slope: at "
            f"{pair.slot.name} = {float(pair.slot.point.flat[j]):.4g} {takes}"
        )
    return "missing factor", (
        f"each output depends on one entry alone, and on the right one, but by a wrong derivative: "
        f"for that of {pair.output(int(i))} by {pair.entry(int(j))} {takes}"
    )


def another_order(pair: Pair) -> Diagnosis | None:
    """Say that each row, or each column, has the entries of the true one in another order."""
    for axis, whose, of in ((1, "output", "entries"), (0, "entry", "outputs")):
        apart = np.sort(pair.a, axis) - np.sort(pair.n, axis)
        if pair.a.shape[axis] > 1 and np.all(np.abs(apart) <= _EQUAL * pair.size):
            return "permuted", (
                f"each {whose} has the true derivatives, but in another order: they belong to "
                f"other {of}"
            )
    return None


def factors(pair: Pair, arrays: Mapping[str, Array]) -> Diagnosis | None:
    """Say that each row, or each column, of the true Jacobian is multiplied by something.

    Parameters
    ----------
    pair : Pair
    arrays : mapping of str to ndarray
        What the factors may be.
    """
    for axis, array, name_of in ((1, pair.y, pair.output), (0, pair.slot.point, pair.entry)):
        several = np.sum(pair.above(_ABSENT)[1], axis) > 1
        if 2 * int(np.sum(several)) < several.size:
            continue  # every Jacobian is another one times such factors
        square = np.sum(pair.n * pair.n, axis, keepdims=True)
        with np.errstate(all="ignore"):
            f = np.where(square > 0, np.sum(pair.a * pair.n, axis, keepdims=True) / square, 1.0)
        if not pair.is_analytic(pair.n * f):
            continue
        what = "the output" if axis else "the entry"
        why = f"each dependence is the true one times a factor that hangs on {what} alone"
        undone = _undone(f.ravel(), array.shape, arrays)
        if undone:
            return "missing factor", f"{why}: {undone} it would be right"
        worst = int(np.argmax(np.abs(f - 1.0)))
        return "missing factor", f"{why}, such as {f.flat[worst]:.4g} for {name_of(worst)}"
    return None


def _undone(f: Array, shape: tuple[int, ...], arrays: Mapping[str, Array]) -> str:
    """Say by which array all factors could be made 1."""
    for name, array in arrays.items():
        try:
            values = np.broadcast_to(array, shape).ravel()
        except ValueError:
            continue
        if np.all(np.abs(f * values - 1.0) <= 1e-4):
            return f"multiplied by {name}"
        if np.all(np.abs(f - values) <= 1e-4 * np.abs(values)):
            return f"divided by {name}"
    return ""


def some_alone(pair: Pair) -> Diagnosis | None:
    """Say that some dependences are wrong that have something in common, and no others."""
    due = pair.above(_PRESENT)[1]
    wrong = pair.wrong & due
    if np.any(pair.wrong & ~due) or not _which(pair, wrong, due):
        return None
    if np.array_equal(wrong, due & np.any(wrong, axis=0)):
        return None  # the gradient shows which entries are wrong
    i, j = np.unravel_index(int(np.argmax(np.abs(pair.a - pair.n))), wrong.shape)
    return "wrong paths", (
        f"the right outputs depend on the right entries, but {int(np.sum(wrong))} of "
        f"{int(np.sum(due))} dependences are wrong, such as {_such(pair, wrong, due)}; the others "
        f"are right. For that of {pair.output(int(i))} on {pair.entry(int(j))} it takes "
        f"{pair.a[i, j]:.6g} for {pair.n[i, j]:.6g}"
    )


def low_rank(pair: Pair) -> Diagnosis | None:
    """Say that what is wrong with the Jacobian is a product of few vectors, as a projection is."""
    apart, full = (_rank(jacobian, pair.size) for jacobian in (pair.a - pair.n, pair.n))
    if not 0 < 2 * apart <= full:
        return None
    return "missing term", (
        f"the right outputs depend on the right entries, and the Jacobian is off by a matrix of "
        f"rank {apart}, where its own is {full}: a product of few vectors, as of a sum that many "
        f"outputs share, is missing or wrong"
    )


def _rank(matrix: Array, size: float) -> int:
    values = np.linalg.svd(matrix, compute_uv=False)
    return int(np.sum(values > _EQUAL * size * math.sqrt(max(matrix.shape))))
