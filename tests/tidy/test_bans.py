"""The pure packages and the games keep to what is deterministic; and the list that checks it works."""

from pathlib import Path

import pytest

from tests.tidy.bans import BUILTINS, MODULES, NUMPY, findings

ROOT = Path(__file__).resolve().parents[2]
PURE = ("server/sim", "server/shard", "server/regions", "server/realm", "games")


def pure_modules():
    modules = [p for package in PURE for p in (ROOT / package).rglob("*.py")]
    return sorted([*modules, *(ROOT / "bench").glob("*_game.py")])


@pytest.mark.parametrize("path", pure_modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_banned(path):
    found = [f"{path.relative_to(ROOT)}:{f}" for f in findings(path.read_text())]
    assert not found, "\n".join(found)


def test_the_modules_are_found():
    names = {str(p.relative_to(ROOT)) for p in pure_modules()}
    assert {"server/sim/dmath.py", "server/shard/inbox.py", "server/regions/machine.py"} <= names
    assert any(name.startswith("games/") for name in names)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_each_banned_module_is_seen(name):
    for source in (
        f"import {name}",
        f"import {name}.part as p",
        f"from {name} import part",
        f"def f():\n import {name}",
    ):
        assert findings(source), source


@pytest.mark.parametrize("name", sorted(NUMPY))
def test_each_banned_numpy_name_is_seen(name):
    for source in (
        f"import numpy as np\nnp.{name}(x)",
        f"import numpy\nnumpy.{name}(x)",
        f"from numpy import {name}",
        f"from numpy import {name} as f",
        f"import numpy as np\nf = np.{name}",
    ):
        assert findings(source), source


@pytest.mark.parametrize("name", sorted(BUILTINS))
def test_each_banned_builtin_is_seen(name):
    assert findings(f"{name}(x)")


BANNED = """
np.random.default_rng(1)
np.random.uniform(size=3)
np.linalg.norm(x)
np.fft.fft(x)
np.sum(x)
np.sum(x, dtype=np.float64)
x.sum()
x.sum(axis=1)
x.mean()
x.std()
x.var()
x.dot(y)
x.prod()
x.cumsum()
np.cumsum(x)
np.cumsum(x, dtype=np.float32)
np.nansum(x)
np.add.reduce(x)
np.add.reduceat(x, at)
np.multiply.accumulate(x)
x @ y
x @= y
x ** 3
x ** 2.5
x ** y
2 ** x
x **= 3
pow(x, 3)
np.sort(x)
np.argsort(x)
np.argsort(x, kind="quicksort")
x.sort()
x.argsort()
x.argpartition(3)
x.partition(3)
np.unique(x, sorted=False)
math.sin(x)
math.hypot(x, y)
math.exp(x)
math.pow(x, 2)
sum(x)
sum(v * 2 for v in x)
for v in {1, 2}: pass
for v in set(x): pass
for v in set(x) | other: pass
for v in frozenset(x).union(y): pass
[v for v in {w for w in x}]
list(set(x))
tuple({1, 2})
np.array(set(x))
[*{1, 2}]
",".join({a, b})
s = set(x); y = [v for v in s]
self.s = {1}; y = list(self.s)
def f(names: set[str]): return list(names)
s: set[int] = made(); y = tuple(s)
def f(): global state
sum(x) # exact:
"""

ALLOWED = """
x + y - z * w / v
x ** 2
2 ** 20
2.0 ** -24
x * x * x
np.sqrt(x)
np.floor(x)
np.abs(x)
np.minimum(x, y)
np.minimum.reduceat(x, at)
np.maximum.reduce(x)
x.min()
x.any()
np.count_nonzero(x)
np.sort(x, kind="stable")
np.argsort(x, kind="stable")
x.argsort(kind="stable")
np.lexsort((x, y))
np.unique(x)
np.searchsorted(x, y)
np.bincount(x, weights=w)
np.add.at(x, i, 1)
np.add.reduce(x, dtype=np.int64)
np.cumsum(x, dtype=np.int64)
x.sum(dtype=np.int64)
np.sum(x, dtype=int)
math.floor(x)
math.sqrt(x)
math.pi
math.fsum(x)
pow(x, 3, 7)
sum(len(v) for v in x)
sum(1 for v in x if v)
sum(v.size for v in x)
sum(x) # exact: these are integers
sorted({1, 2})
for v in sorted(set(x)): pass
3 in {1, 2}
len({a for a in x}) != len(x)
set(x) == {1, 2}
x | y
for v in x: pass
for k, v in table.items(): pass
name.partition("/")
sin(x)
dmath.sin(x)
from server.sim import dmath
"""


@pytest.mark.parametrize("snippet", BANNED.strip().splitlines())
def test_banned_snippets_are_found(snippet):
    one = findings(f"import math\nimport numpy as np\n{snippet}")
    assert [f.line for f in one] == [3] * len(one)
    assert one
    assert all(f.what and f.instead for f in one)


@pytest.mark.parametrize("snippet", ALLOWED.strip().splitlines())
def test_allowed_snippets_pass(snippet):
    assert [str(f) for f in findings(f"import math\nimport numpy as np\n{snippet}")] == []
