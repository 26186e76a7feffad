"""Every module has a test module: one named after it, or one that imports it. None is too long for one sitting."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGES = ("server", "protocol", "config", "games", "bench", "clients")
LINES_MAX = 600

# Modules that no test module is named after -> why, and where they are tested instead.
TESTED_ELSEWHERE: dict[str, str] = {
    "bench/cluster_cli.py": "tests/bench run its commands as a user would",
    "bench/durability_cli.py": "tests/bench run its commands as a user would",
    "server/__main__.py": "two lines; tests/tidy/test_documents.py runs it",
}


def modules(root: Path) -> list[Path]:
    return sorted(p for package in PACKAGES for p in (root / package).rglob("*.py") if "node_modules" not in p.parts)


def declares_only(path: Path) -> bool:
    """Whether a module holds nothing that could be wrong by itself: text, imports, constants, classes without code."""

    def plain(node: ast.stmt) -> bool:
        if isinstance(node, ast.ClassDef):
            return all(plain(inner) for inner in node.body)
        return isinstance(node, ast.Expr | ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign | ast.Pass)

    return all(plain(node) for node in ast.parse(path.read_text(encoding="utf-8")).body)


def names_of_tests(module: Path) -> set[str]:
    """server/sim/grid.py: test_grid.py or test_sim_grid.py, and what begins so: test_grid_pairs.py."""
    stem = module.parent.name if module.stem in ("__init__", "__main__") else module.stem
    return {f"test_{stem}", f"test_{module.parent.name}_{stem}"}


def imports(path: Path) -> set[str]:
    """Modules that a file imports by their full names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from games.frontier import herds` imports games.frontier.herds.
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return found


def test_every_module_has_a_test_module(root: Path):
    paths = sorted((root / "tests").rglob("test_*.py"))
    tests = {p.stem for p in paths}
    imported = set().union(*(imports(p) for p in paths))
    untested = []
    for module in modules(root):
        name = module.relative_to(root).as_posix()
        wanted = names_of_tests(module)
        tested = any(t == w or t.startswith(w + "_") for t in tests for w in wanted)
        tested = tested or name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") in imported
        if name in TESTED_ELSEWHERE:
            assert not tested, f"{name} has a test module: strike it from the list"
        elif not tested and not declares_only(module):
            untested.append(name)
    assert not untested, "no test module, and no reason in TESTED_ELSEWHERE: " + " ".join(untested)


def test_the_list_of_exceptions_names_modules_that_exist(root: Path):
    for name, reason in TESTED_ELSEWHERE.items():
        assert (root / name).is_file(), name
        assert len(reason) > 20, f"{name}: say why"


def test_a_long_module_explains_itself(root: Path):
    for module in [*modules(root), *sorted((root / "tests").rglob("*.py"))]:
        text = module.read_text(encoding="utf-8")
        if text.count("\n") > LINES_MAX:
            docstring = ast.get_docstring(ast.parse(text)) or ""
            assert "long" in docstring.split(), (
                f"{module.relative_to(root)}: past {LINES_MAX} lines; say why at the top"
            )


def test_every_module_says_what_it_is(root: Path):
    for module in [*modules(root), *sorted((root / "tests").rglob("test_*.py"))]:
        text = module.read_text(encoding="utf-8")
        assert not text.strip() or ast.get_docstring(ast.parse(text)), module.relative_to(root)


@pytest.mark.parametrize(
    ("module", "test", "expected"),
    [
        ("server/sim/grid.py", "test_grid", True),
        ("server/sim/grid.py", "test_sim_grid", True),
        ("server/sim/grid.py", "test_world", False),
        ("games/frontier/__init__.py", "test_frontier", True),
    ],
)
def test_a_test_module_is_named_after_its_module(module: str, test: str, expected: bool):
    assert (test in names_of_tests(Path(module))) is expected
