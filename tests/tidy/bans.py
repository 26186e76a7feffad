"""What deterministic code must not say, and what to say instead.

A replay must give the same bytes on another CPU, in another process, years later. Measured
on numpy 2: elementwise + - * /, sqrt, floor, comparisons, integer operations and stable sorts are
bit-identical at every SIMD level. What is banned here is not, or reads something that is no part of the state.

A line that is exact although it looks banned says why: `# exact: these are integers`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final


def _words(text: str) -> list[str]:
    return text.split()


_SHELL = "the pure packages have no clock, chance or system: have it handed in"
MODULES: Final[dict[str, str]] = {
    **dict.fromkeys(
        _words(
            "asyncio concurrent ctypes datetime glob importlib io logging multiprocessing os pathlib platform "
            "queue sched select selectors shutil signal socket sqlite3 ssl structlog subprocess sys tempfile "
            "threading time urllib uvloop weakref websockets zoneinfo"
        ),
        _SHELL,
    ),
    **dict.fromkeys(("random", "secrets", "uuid"), "use tick.random()"),
    **dict.fromkeys(("cmath", "statistics", "scipy", "numba"), "use server.sim.dmath"),
}

_DMATH = "differs between CPUs: use server.sim.dmath"
_SUM = "adds floats in an order that depends on the CPU: use dmath.segment_sum, or spell an integer dtype"
_PRODUCT = "multiplies and adds in an order that depends on the CPU: write the products and additions out"
_STABLE = 'ties fall differently between CPUs: say kind="stable"'
_PARTITION = 'the order within a partition differs between CPUs: use argsort(kind="stable")'
_STATE = "is no part of the state"

# Names in numpy, and methods of arrays where `_METHODS` says so.
NUMPY: Final[dict[str, str]] = {
    **dict.fromkeys(
        _words(
            "sin cos tan arcsin arccos arctan arctan2 asin acos atan atan2 sinh cosh tanh arcsinh arccosh "
            "arctanh asinh acosh atanh exp exp2 expm1 log log2 log10 log1p logaddexp logaddexp2 hypot cbrt "
            "power pow float_power sinc i0 angle geomspace logspace interp"
        ),
        _DMATH,
    ),
    **dict.fromkeys(
        _words(
            "mean average std var nanmean nanstd nanvar trapezoid convolve correlate gradient median "
            "percentile quantile nanmedian nanpercentile nanquantile corrcoef cov histogram"
        ),
        _SUM,
    ),
    **dict.fromkeys(_words("dot vdot inner matmul vecdot matvec vecmat tensordot einsum kron cross"), _PRODUCT),
    **dict.fromkeys(("partition", "argpartition"), _PARTITION),
    **dict.fromkeys(("longdouble", "clongdouble", "float128", "float96"), "is another type on another machine"),
    **dict.fromkeys(("seterr", "setbufsize", "load", "loadtxt", "fromfile", "memmap"), _STATE),
}
# Everything below these names.
NUMPY_PARTS: Final[dict[str, str]] = {
    "random": "use tick.random()",
    "linalg": _PRODUCT,
    "fft": _DMATH,
    "polynomial": _PRODUCT,
    "ma": "its sums are numpy's",
}
# Allowed with an integer dtype spelled out, for integers add in any order.
INTEGER_ONLY: Final = frozenset(_words("sum prod cumsum cumprod nansum nanprod nancumsum nancumprod trace"))
_INTEGERS: Final = frozenset(
    {"int", "bool", "numpy.bool_", "numpy.intp"} | {f"numpy.{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)}
)
_SORTS: Final = frozenset({"sort", "argsort"})
_METHODS: Final = frozenset({"mean", "std", "var", "dot", "partition", "argpartition"})
# np.add.reduce and so on; minimum, maximum and the bitwise ones are exact in any order.
_REDUCTIONS: Final = frozenset({"reduce", "accumulate", "reduceat"})
_INEXACT_UFUNCS: Final = frozenset({"numpy.add", "numpy.multiply", "numpy.subtract", "numpy.divide"})

MATH_ALLOWED: Final = frozenset(
    _words(
        "ceil floor trunc sqrt isqrt gcd lcm comb factorial perm fabs copysign isfinite isinf isnan frexp "
        "ldexp fsum fmod remainder nextafter ulp pi e tau inf nan"
    )
)

BUILTINS: Final[dict[str, str]] = {
    "hash": "differs between processes: use zlib.crc32 or xxhash",
    "id": "is an address: use a number of your own",
    "open": _STATE,
    "input": _STATE,
    "print": "the pure packages say nothing: emit an event, or return it",
    "eval": _STATE,
    "exec": _STATE,
    "__import__": _STATE,
}
_SET_ORDER = "sets iterate in an order that depends on the process: use sorted(), a list or a dict"
# Calls that keep the order of what they are given.
_ORDER_KEEPERS: Final = frozenset(
    _words(
        "list tuple enumerate zip map filter iter reversed next numpy.array numpy.asarray numpy.fromiter "
        "sum dict.fromkeys"
    )
)
_SET_TYPE: Final = re.compile(r"(Final\[)?(frozen)?set\b")
_EXACT: Final = re.compile(r"#\s*exact:\s*\S+")


@dataclass(frozen=True, slots=True)
class Finding:
    """One banned thing."""

    line: int
    what: str
    instead: str

    def __str__(self) -> str:
        return f"{self.line}: {self.what}: {self.instead}"


def findings(source: str) -> list[Finding]:
    """Every banned thing in a module's text, by line."""
    checker = _Checker(source)
    checker.visit(checker.tree)
    lines = source.splitlines()
    return sorted((f for f in checker.found if not _EXACT.search(lines[f.line - 1])), key=lambda f: (f.line, f.what))


class _Checker(ast.NodeVisitor):
    def __init__(self, source: str) -> None:
        self.tree = ast.parse(source)
        self.found: list[Finding] = []
        # Name in this module -> what it stands for: np -> numpy, or argsort -> numpy.argsort.
        self.names: dict[str, str] = {}
        # Names that were given a set anywhere in the module.
        self.sets = set(self._set_names())

    def _set_names(self) -> Iterator[str]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Assign) and _is_set(node.value, frozenset()):
                yield from (ast.unparse(t) for t in node.targets)
            elif isinstance(node, ast.AnnAssign) and _SET_TYPE.match(ast.unparse(node.annotation)):
                yield ast.unparse(node.target)
            elif isinstance(node, ast.arg) and node.annotation and _SET_TYPE.match(ast.unparse(node.annotation)):
                yield node.arg

    def report(self, node: ast.expr | ast.stmt, what: str, instead: str) -> None:
        self.found.append(Finding(node.lineno, what, instead))

    def full_name(self, node: ast.expr) -> str:
        """`np.linalg.norm` as `numpy.linalg.norm`; "" for what isn't a dotted name."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            owner = self.full_name(node.value)
            return f"{owner}.{node.attr}" if owner else ""
        return ""

    # -- imports --------------------------------------------------------------

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.names[alias.asname or alias.name.split(".")[0]] = (
                alias.name if alias.asname else alias.name.split(".")[0]
            )
            self._imported(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            self.names[alias.asname or alias.name] = full
            self._imported(node, full)
            self._named(node, full)

    def _imported(self, node: ast.stmt, name: str) -> None:
        top = name.partition(".")[0]
        if top in MODULES:
            self.report(node, f"import {name}", MODULES[top])

    # -- names ----------------------------------------------------------------

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._named(node, self.full_name(node))
        self.generic_visit(node)

    def _named(self, node: ast.expr | ast.stmt, full: str) -> None:
        module, _, name = full.partition(".")
        if module == "numpy":
            part = name.split(".")[0]
            if part in NUMPY_PARTS:
                self.report(node, full, NUMPY_PARTS[part])
            elif name in NUMPY:
                self.report(node, full, NUMPY[name])
        elif module == "math" and name and name not in MATH_ALLOWED:
            self.report(node, full, _DMATH)

    # -- calls ----------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> None:
        full = self.full_name(node.func)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else full.rpartition(".")[2]
        if isinstance(node.func, ast.Name):
            self._builtin(node, full)
        if isinstance(node.func, ast.Attribute) or full.startswith("numpy."):
            self._array_call(node, full, method)
        if full in _ORDER_KEEPERS or method == "join":
            for argument in node.args:
                self._iterated(argument)
        self.generic_visit(node)

    def _builtin(self, node: ast.Call, name: str) -> None:
        if name in BUILTINS:
            self.report(node, name, BUILTINS[name])
        if name == "sum" and not _counts(node):
            self.report(node, name, "of floats differs between Pythons: count, use math.fsum, or say `# exact: why`")
        if name == "pow" and len(node.args) != 3:
            self.report(node, name, _DMATH)

    def _array_call(self, node: ast.Call, full: str, method: str) -> None:
        if method in _SORTS and self._keyword(node, "kind") not in ("'stable'", "'mergesort'"):
            self.report(node, method, f"{_STABLE}; for lists use sorted()")
        if method in INTEGER_ONLY and not self._integer(node):
            self.report(node, method, _SUM)
        if method in _METHODS and not full.startswith("numpy.") and not _of_text(node.func):
            self.report(node, f".{method}", NUMPY[method])
        owner = full.rpartition(".")[0]
        if method in _REDUCTIONS and owner in _INEXACT_UFUNCS and not self._integer(node):
            self.report(node, full, _SUM)
        if full == "numpy.unique" and self._keyword(node, "sorted") == "False":
            self.report(node, full, "its order is that of a hash table: leave out sorted=False")

    def _keyword(self, node: ast.Call, name: str) -> str:
        return next((ast.unparse(k.value) for k in node.keywords if k.arg == name), "")

    def _integer(self, node: ast.Call) -> bool:
        return any(k.arg == "dtype" and self.full_name(k.value) in _INTEGERS for k in node.keywords)

    # -- operators and statements -----------------------------------------------

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self._operator(node, node.op, node.left, node.right)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._operator(node, node.op, node.target, node.value)
        self.generic_visit(node)

    def _operator(self, node: ast.expr | ast.stmt, op: ast.operator, left: ast.expr, right: ast.expr) -> None:
        if isinstance(op, ast.MatMult):
            self.report(node, "@", _PRODUCT)
        # x ** 2 is x * x to numpy; a constant to a constant is one number for ever.
        square = isinstance(right, ast.Constant) and type(right.value) is int and right.value == 2
        if isinstance(op, ast.Pow) and not (square or (_constant(left) and _constant(right))):
            self.report(node, "**", "power differs between CPUs: multiply out, shift integers, or use dmath")

    def visit_For(self, node: ast.For) -> None:
        self._iterated(node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._iterated(node.iter)
        self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        self._iterated(node.value)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self.report(node, "global", "state lives in the world's columns, where it is saved and replayed")

    def _iterated(self, node: ast.expr) -> None:
        if _is_set(node, self.sets):
            self.report(node, "iteration over a set", _SET_ORDER)


def _is_set(node: ast.expr, names: frozenset[str] | set[str]) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.Name | ast.Attribute):
        return ast.unparse(node) in names
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.BitXor | ast.Sub):
        return _is_set(node.left, names) or _is_set(node.right, names)
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute):
            changed = node.func.attr in ("union", "intersection", "difference", "symmetric_difference", "copy")
            return changed and _is_set(node.func.value, names)
        return isinstance(node.func, ast.Name) and node.func.id in ("set", "frozenset")
    return False


def _constant(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) or (isinstance(node, ast.UnaryOp) and _constant(node.operand))


def _counts(node: ast.Call) -> bool:
    """sum(len(x) for ...), sum(1 for ...): integers by their form."""
    if not node.args or not isinstance(node.args[0], ast.GeneratorExp):
        return False
    term = node.args[0].elt
    if isinstance(term, ast.Call):
        return isinstance(term.func, ast.Name) and term.func.id in ("len", "int")
    return (isinstance(term, ast.Constant) and isinstance(term.value, int)) or (
        isinstance(term, ast.Attribute) and term.attr in ("size", "nbytes", "itemsize")
    )


def _of_text(function: ast.expr) -> bool:
    """text.partition(":") on names that say they are text is no array's partition."""
    return (
        isinstance(function, ast.Attribute)
        and function.attr == "partition"
        and bool(re.search(r"(text|name|path|str)\b", ast.unparse(function.value)))
    )
