"""What a step does to arrays, timed call by call; `_instrument` makes the code call this.

Three kinds of work are told apart:

matmul
    ``@``, matmul, dot, and an einsum that is a matrix product.
element-wise
    Operators, comparisons, ufuncs, reductions, where, random numbers: all else of NumPy's.
copies
    What moves entries and computes nothing: astype, copy, concatenate, stores ``x[i] = y``, an
    index that is an array, a reshape that cannot be a view; and new arrays, such as zeros.

A call counts if an ndarray goes in or comes out. What only makes a view, or asks for a shape or a
dtype, touches no entry and is left to Python's share. A call inside of a timed call is part of it.
"""

import operator
import time
from types import FunctionType, MethodType

import numpy as np

MATMUL, ELEMENTWISE, COPIES = KINDS = ("matmul", "element-wise", "copies")

_PRODUCTS = {"matmul", "dot", "inner", "vdot"}
_MOVES = """
    array asarray ascontiguousarray asfortranarray copy astype frombuffer fromiter tolist tobytes
    concatenate stack vstack hstack append split array_split repeat tile pad flip roll
    take take_along_axis put put_along_axis copyto fill
    zeros zeros_like ones ones_like full full_like empty empty_like arange tri eye
    flatten reshape ravel transpose swapaxes moveaxis broadcast_to expand_dims squeeze view
"""
_ASKS = """
    result_type shape ndim size broadcast_shapes can_cast issubdtype may_share_memory
    shares_memory item ravel_multi_index unravel_index
"""
_COPIES, _QUESTIONS = set(_MOVES.split()), set(_ASKS.split())
_WRITES = {"copyto", "put", "put_along_axis", "fill"}  # copies that return nothing
_PYTHON = (FunctionType, MethodType)

# The name of an operator in the syntax tree, and of its function.
_BINARY = {
    "Add": "add",
    "Sub": "sub",
    "Mult": "mul",
    "MatMult": "matmul",
    "Div": "truediv",
    "FloorDiv": "floordiv",
    "Mod": "mod",
    "Pow": "pow",
    "LShift": "lshift",
    "RShift": "rshift",
    "BitAnd": "and_",
    "BitOr": "or_",
    "BitXor": "xor",
}
_OTHERS = {"Lt": "lt", "LtE": "le", "Gt": "gt", "GtE": "ge", "Eq": "eq", "NotEq": "ne"}
_OTHERS |= {"USub": "neg", "Invert": "invert"}
OPERATORS = {name: getattr(operator, function) for name, function in (_BINARY | _OTHERS).items()}
OPERATORS |= {  # += and the like, with an I before the name
    f"I{name}": getattr(operator, f"i{function.strip('_')}") for name, function in _BINARY.items()
}


class Recorder:
    """Stands behind the calls that the rewritten code makes.

    Parameters
    ----------
    clock : callable
        Returns nanoseconds.

    Attributes
    ----------
    sites : list of (file, line, function)
        Where the calls stand; a site is a number in this list.
    records : dict
        From (site, kind) to [calls, nanoseconds, entries, FLOPs], since the last `take`.
    """

    def __init__(self, clock=time.perf_counter_ns):
        self.clock = clock
        self.sites = []
        self.records = {}
        self._inside = False  # of a timed call

    def take(self):
        """Return the records, and begin anew."""
        taken, self.records = self.records, {}
        return taken

    def correction(self):
        """Return by how many nanoseconds a timed call seems longer than it is."""
        kept = self.take()
        for _ in range(20_000):
            self._timed(0, ELEMENTWISE, operator.is_, (0, 0))
        ((calls, nanoseconds, *_),) = self.take().values()
        self.records = kept
        return nanoseconds / calls

    def unary(self, site, name, a):
        """Apply the operator to one operand."""
        if isinstance(a, np.ndarray):
            return self._timed(site, ELEMENTWISE, OPERATORS[name], (a,))
        return OPERATORS[name](a)

    def binary(self, site, name, a, b):
        """Apply the operator to two operands."""
        if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
            kind = MATMUL if name.endswith("MatMult") else ELEMENTWISE
            return self._timed(site, kind, OPERATORS[name], (a, b))
        return OPERATORS[name](a, b)

    def get(self, site, x, index):
        """Return ``x[index]``."""
        if isinstance(x, np.ndarray):
            return self._timed(site, COPIES, operator.getitem, (x, index))
        return x[index]

    def put(self, site, value, x, index):
        """Do ``x[index] = value``."""
        if isinstance(x, np.ndarray):
            self._timed(site, COPIES, operator.setitem, (x, index, value))
        else:
            x[index] = value

    def change(self, site, name, x, index, value):
        """Do ``x[index] += value`` or the like."""
        if isinstance(x, np.ndarray):
            self._timed(site, ELEMENTWISE, _change, (x, index, value, OPERATORS[name]))
        else:  # such as a list of arrays
            x[index] = self.binary(site, name, x[index], value)

    def call(self, site, function, /, *args, **kwargs):
        """Call a function, that may be NumPy's."""
        kind = None if type(function) in _PYTHON else kind_of(function, args)
        if kind is None:
            return function(*args, **kwargs)
        return self._timed(site, kind, function, args, kwargs)

    def _timed(self, site, kind, function, args, kwargs=None):
        kwargs = kwargs or {}
        if self._inside:
            return function(*args, **kwargs)
        self._inside = True
        start = self.clock()
        try:
            result = function(*args, **kwargs)
        finally:
            elapsed = self.clock() - start
            self._inside = False
        self._note(site, kind, elapsed, function, args, result)
        return result

    def _note(self, site, kind, elapsed, function, args, result):
        owner = getattr(function, "__self__", None)
        inputs = args if owner is None else (owner, *args)
        entries, seen = 0, False
        for x in (*inputs, result):
            if isinstance(x, np.ndarray):
                entries, seen = max(entries, x.size), True
        if not seen and function is not operator.is_:
            return
        if kind == COPIES:
            if function is operator.setitem:
                entries = _entries_at(*args)
            elif getattr(function, "__name__", "") not in _WRITES:
                if not isinstance(result, np.ndarray) or _is_view(result, inputs):
                    return
                entries = result.size
        elif function is _change:
            entries = _entries_at(*args[:3])
        if kind == MATMUL and _has_a_vector(inputs):
            kind = ELEMENTWISE
        record = self.records.get((site, kind))
        if record is None:
            record = self.records[site, kind] = [0, 0, 0, 0]
        record[0] += 1
        record[1] += elapsed
        record[2] += entries
        if kind == MATMUL:
            record[3] += flops_of(function, args, result)


def kind_of(function, args):
    """Say what kind of work a function of NumPy's does; None for what does none, or is not."""
    if isinstance(function, type):
        return None
    name = getattr(function, "__name__", "")
    owner = getattr(function, "__self__", None)
    ours = isinstance(owner, np.ndarray | np.ufunc | np.random.Generator)
    if not (ours or isinstance(function, np.ufunc) or _is_numpy(function)):
        return None
    if name in _QUESTIONS:
        return None
    if name in _PRODUCTS or (name == "einsum" and _is_product(args[0])):
        return MATMUL
    return COPIES if name in _COPIES else ELEMENTWISE


def flops_of(function, args, result):
    """Count a product's multiplications and additions: 2 m n k, for each of a stack."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, np.ndarray):
        args = (owner, *args)
    if getattr(function, "__name__", "") != "einsum":
        return 2 * np.size(result) * args[0].shape[-1]
    sizes = {}
    for indices, x in zip(args[0].partition("->")[0].split(","), args[1:], strict=True):
        sizes |= dict(zip(reversed(indices.replace("...", "")), reversed(x.shape), strict=False))
        if "..." in indices:
            named = len(indices) - 3
            sizes["..."] = max(sizes.get("...", 1), int(np.prod(x.shape[: x.ndim - named])))
    return 2 * int(np.prod(list(sizes.values())))


def _has_a_vector(inputs):
    """Tell a product that adds up rows or columns, such as one with ones, from one of matrices."""
    arrays = [x for x in inputs if isinstance(x, np.ndarray)]
    return any(x.ndim < 2 or 1 in x.shape[-2:] for x in arrays)


def _is_numpy(function):
    return (getattr(function, "__module__", None) or "").split(".")[0] == "numpy"


def _is_product(subscripts):
    """Tell a matrix product from a sum of products entry by entry."""
    operands, _, out = subscripts.replace(" ", "").partition("->")
    if operands.count(",") != 1:
        return False
    a, b = (set(x.replace("...", "")) for x in operands.split(","))
    return bool(a - b and b - a and (a & b) - set(out))


def _is_view(result, inputs):
    """Say whether a result is one of the inputs, or stands in its memory."""
    if result.flags.owndata:
        return any(result is x for x in inputs)
    return any(isinstance(x, np.ndarray) and np.may_share_memory(result, x) for x in inputs)


def _change(x, index, value, change):
    x[index] = change(x[index], value)


def _entries_at(x, index, value):
    """Return how many entries of x a store has written."""
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, np.ndarray | list) for part in parts):
        arrays = [part.size for part in parts if isinstance(part, np.ndarray)]
        return max([np.size(value), *arrays])
    return np.size(x[index])
