"""Rewrite a package as it is imported, so that its work on arrays goes through a recorder.

In the bodies of functions, and there alone,

    a + b, a < b, -a, a += b      become  timed.binary(site, "Add", a, b)   and so on
    x[i], where i is not plain    becomes timed.get(site, x, i)
    x[i] = y, x[i] += y           become  timed.put(site, y, x, i), timed.change(...)
    f(...)                        becomes timed.call(site, f, ...)

A site is a number for file, line and function. Operands are worked out before the call, so that
no time is counted twice. Calls of built-in functions, and of what was imported from elsewhere than
NumPy, stay as they are: their own work on arrays, if they are of the package, is seen inside them.
"""

import ast
import builtins
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import SourceFileLoader

TIMED = "_timed_"  # the recorder's name in a rewritten module


def install(recorder, package):
    """Rewrite every module of a package that is imported from now on."""
    if package in sys.modules:
        raise RuntimeError(f"{package} has been imported already, and cannot be timed any more")
    sys.meta_path.insert(0, _Finder(recorder, package))


def rewritten(source, path, recorder):
    """Return the code object of a module whose work on arrays is timed."""
    tree = ast.parse(source)
    tree = _Rewriter(recorder, path, _foreign(tree)).visit(tree)
    return compile(ast.fix_missing_locations(tree), path, "exec")


class _Finder(MetaPathFinder):
    def __init__(self, recorder, package):
        self.recorder, self.package = recorder, package

    def find_spec(self, name, path, target=None):
        """Find as the others do, but load in our way."""
        if name.split(".")[0] != self.package:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if isinstance(spec.loader, SourceFileLoader):
                    spec.loader = _Loader(spec.loader.name, spec.loader.path, self.recorder)
                return spec
        return None


class _Loader(SourceFileLoader):
    def __init__(self, name, path, recorder):
        super().__init__(name, path)
        self.recorder = recorder

    def get_code(self, fullname):
        """Compile anew: neither read nor write a cached file."""
        path = self.get_filename(fullname)
        return rewritten(self.get_data(path), path, self.recorder)

    def exec_module(self, module):
        """Give the module its recorder before it runs."""
        setattr(module, TIMED, self.recorder)
        super().exec_module(module)


def _foreign(tree):
    """Return the names whose calls stay as they are."""
    names = set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] != "numpy":
                    names.add(alias.asname or alias.name.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("numpy"):
            names |= {alias.asname or alias.name for alias in node.names}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    return names


class _Rewriter(ast.NodeTransformer):
    def __init__(self, recorder, path, foreign):
        self.recorder, self.path, self.foreign = recorder, path, foreign
        self.within = []  # names of the classes and functions around
        self.depth = 0  # functions around
        self.temporaries = 0

    def _call(self, node, method, *args):
        """Return a call of the recorder, and note where it stands."""
        site = len(self.recorder.sites)
        self.recorder.sites.append((self.path, node.lineno, ".".join(self.within)))
        function = ast.Attribute(ast.Name(TIMED, ast.Load()), method, ast.Load())
        call = ast.Call(function, [ast.Constant(site), *args], [])
        return ast.copy_location(call, node)

    def visit_ClassDef(self, node):
        self.within.append(node.name)
        node.body = [self.visit(statement) for statement in node.body]
        self.within.pop()
        return node

    def visit_FunctionDef(self, node):
        self.within.append(node.name)
        self.depth += 1
        body = []
        for statement in node.body:
            done = self.visit(statement)
            body += done if isinstance(done, list) else [done]
        node.body = body
        self.depth -= 1
        self.within.pop()
        return node

    def visit_Raise(self, node):
        return node

    visit_JoinedStr = visit_Assert = visit_Global = visit_Nonlocal = visit_Raise

    def generic_visit(self, node):
        """Go further down only in functions, or to find them."""
        if self.depth or isinstance(node, ast.Module | ast.stmt):
            return super().generic_visit(node)
        return node

    def visit_AnnAssign(self, node):
        if self.depth and node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if not self.depth:
            return node
        name = ast.Constant(type(node.op).__name__)
        return self._call(node, "binary", name, node.left, node.right)

    def visit_UnaryOp(self, node):
        self.generic_visit(node)
        name = type(node.op).__name__
        plain = isinstance(node.operand, ast.Constant)
        if not self.depth or plain or name not in ("USub", "Invert"):
            return node
        return self._call(node, "unary", ast.Constant(name), node.operand)

    def visit_Compare(self, node):
        self.generic_visit(node)
        name = type(node.ops[0]).__name__
        if not self.depth or len(node.ops) > 1 or name in ("Is", "IsNot", "In", "NotIn"):
            return node
        return self._call(node, "binary", ast.Constant(name), node.left, node.comparators[0])

    def visit_Call(self, node):
        self.generic_visit(node)
        root = node.func
        while isinstance(root, ast.Attribute):
            root = root.value
        known = isinstance(root, ast.Name) and root.id in self.foreign
        if not self.depth or known:
            return node
        call = self._call(node, "call", node.func, *node.args)
        call.keywords = node.keywords
        return call

    def visit_Subscript(self, node):
        self.generic_visit(node)
        if not (self.depth and isinstance(node.ctx, ast.Load)) or _is_plain(node.slice):
            return node
        return self._call(node, "get", node.value, _index(node.slice))

    def visit_Assign(self, node):
        self.generic_visit(node)
        if not (self.depth and any(isinstance(x, ast.Subscript) for x in node.targets)):
            return node
        value, statements = node.value, []
        if len(node.targets) > 1:  # x[i] = z[j] = value
            self.temporaries += 1
            name = f"{TIMED}{self.temporaries}"
            statements.append(ast.Assign([ast.Name(name, ast.Store())], value))
        for target in node.targets:
            value = node.value if len(node.targets) == 1 else ast.Name(name, ast.Load())
            if isinstance(target, ast.Subscript):
                put = self._call(node, "put", value, target.value, _index(target.slice))
                statements.append(ast.Expr(put))
            else:
                statements.append(ast.Assign([target], value))
        return [ast.copy_location(statement, node) for statement in statements]

    def visit_AugAssign(self, node):
        self.generic_visit(node)
        if not self.depth:
            return node
        name, target = ast.Constant(f"I{type(node.op).__name__}"), node.target
        if isinstance(target, ast.Subscript):
            where = target.value, _index(target.slice)
            return ast.copy_location(
                ast.Expr(self._call(node, "change", name, *where, node.value)), node
            )
        if isinstance(target, ast.Name):
            old = ast.Name(target.id, ast.Load())
        elif isinstance(target.value, ast.Name):  # once more to look up a name does nothing else
            old = ast.Attribute(target.value, target.attr, ast.Load())
        else:
            return node
        new = self._call(node, "binary", name, ast.copy_location(old, node), node.value)
        return ast.copy_location(ast.Assign([target], new), node)


def _is_plain(index):
    """Say whether an index can only make a view, whatever it is an index of."""
    if isinstance(index, ast.Tuple):
        return all(_is_plain(part) for part in index.elts)
    if isinstance(index, ast.UnaryOp):
        index = index.operand
    return isinstance(index, ast.Constant | ast.Slice)


def _index(node):
    """Turn ``i:j`` into ``slice(i, j)``, which a call can take."""
    if isinstance(node, ast.Slice):
        parts = [part or ast.Constant(None) for part in (node.lower, node.upper, node.step)]
        return ast.copy_location(ast.Call(ast.Name("slice", ast.Load()), parts, []), node)
    if isinstance(node, ast.Tuple):
        elements = [_index(part) for part in node.elts]
        return ast.copy_location(ast.Tuple(elements, ast.Load()), node)
    return node
