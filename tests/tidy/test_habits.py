"""Habits of the house that no linter knows."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CODE = ("server", "protocol", "config", "games", "bench", "clients", "tests")
# Directories that are made, not written.
MADE = {"node_modules", "__pycache__", "build", "data", "reports"}
TEXT = {".py", ".md", ".toml", ".js", ".ts", ".mjs", ".html", ".css", ".sh", ".json", ".yml", ".yaml", ".txt", ""}


def sources(root: Path, *words: str) -> Iterator[tuple[str, str, ast.Module]]:
    """(path from the root, text, tree) of every Python file in which one of the words stands: to parse all is long."""
    for directory in CODE:
        for path in sorted((root / directory).rglob("*.py")):
            if not MADE.intersection(path.relative_to(root).parts):
                text = path.read_text(encoding="utf-8")
                if any(word in text for word in words):
                    yield path.relative_to(root).as_posix(), text, ast.parse(text)


def is_enum(node: ast.ClassDef) -> bool:
    return any(re.search(r"\b(Int|Str)?(Enum|Flag)\b", ast.unparse(base)) for base in node.bases)


def uncommented_members(text: str, tree: ast.Module) -> list[str]:
    lines = text.splitlines()
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and is_enum(node):
            for member in node.body:
                if isinstance(member, ast.Assign):
                    above, own = lines[member.lineno - 2].strip(), lines[member.lineno - 1]
                    if not above.startswith("# ") and "  # " not in own:
                        found.append(f"{node.name}.{ast.unparse(member.targets[0])}")
    return found


def test_every_enum_member_carries_a_sentence(root: Path):
    found = [(path, uncommented_members(text, tree)) for path, text, tree in sources(root, "Enum", "Flag")]
    assert len(found) > 10
    assert not [(path, members) for path, members in found if members]


def test_an_enum_member_without_a_sentence_is_found():
    text = "class Colour(IntEnum):\n    # What blood has.\n    RED = 1\n    BLUE = 2\n    GREEN = 3  # Of grass.\n"
    assert uncommented_members(text, ast.parse(text)) == ["Colour.BLUE"]


def unreasoned_skips(tree: ast.Module) -> list[int]:
    """Lines that skip a test, or expect it to fail, and do not say why."""
    found = []
    for node in ast.walk(tree):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if name in ("pytest.skip", "pytest.xfail"):
            assert isinstance(node, ast.Call)
            if not node.args and not any(k.arg == "reason" for k in node.keywords):
                found.append(node.lineno)
        elif re.fullmatch(r"pytest\.mark\.(skip|skipif|xfail)", name):
            assert isinstance(node, ast.Call)
            if not any(k.arg == "reason" for k in node.keywords):
                found.append(node.lineno)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bare = [d for d in node.decorator_list if ast.unparse(d) in ("pytest.mark.skip", "pytest.mark.xfail")]
            found += [d.lineno for d in bare]
    return found


def test_nothing_is_skipped_without_a_reason(root: Path):
    silent = [f"{path}:{n}" for path, _, tree in sources(root, "skip", "xfail") for n in unreasoned_skips(tree)]
    assert not silent


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("@pytest.mark.skip\ndef test_a(): ...", 1),
        ("@pytest.mark.skipif(True)\ndef test_a(): ...", 1),
        ("@pytest.mark.skipif(True, reason='no browser')\ndef test_a(): ...", 0),
        ("def test_a():\n    pytest.skip()", 1),
        ("def test_a():\n    pytest.skip('no browser')", 0),
    ],
)
def test_a_skip_without_a_reason_is_found(code: str, found: int):
    assert len(unreasoned_skips(ast.parse(code))) == found


# Spelled in pieces, so that this file passes its own test.
ROOTS = ("ho" + "me/[a-z]", "Us" + "ers/[A-Za-z]", "ro" + "ot/", "wo" + "rk/")
MACHINE_PATH = re.compile("/(" + "|".join(ROOTS) + ")")
# A temporary file by its full name belongs to one machine and one user at a time.
TEMPORARY = re.compile("[\"'`( ]/t" + "mp/")


def test_no_file_knows_the_machine_it_was_written_on(root: Path):
    found = []
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        hidden = any((p.startswith(".") and p not in (".ci", ".gitignore")) or p.endswith(".egg-info") for p in parts)
        if hidden or MADE.intersection(parts) or not path.is_file():
            continue
        if path.suffix in TEXT and path.name != "LICENSE":
            text = path.read_text(encoding="utf-8")
            for number, line in enumerate(text.splitlines(), 1):
                if MACHINE_PATH.search(line) or (path.suffix == ".py" and TEMPORARY.search(line)):
                    found.append(f"{'/'.join(parts)}:{number}: {line.strip()[:80]}")
    assert not found


def test_every_rule_that_is_switched_off_says_why(root: Path):
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    style = text[text.index("[tool.ruff.lint]") : text.index("[tool.ruff.lint.isort]")]
    rules = [line for line in style.splitlines() if re.match(r' +"[A-Z]+\d*"', line)]
    assert len(rules) > 20
    assert [line for line in rules if "  # " not in line and '",  # ' not in line and "# " not in line] == []


def test_scripts_stop_at_the_first_failure_and_can_be_run(root: Path):
    scripts = [root / ".ci" / "run", *sorted((root / "scripts").glob("*.sh"))]
    assert len(scripts) > 3
    for script in scripts:
        assert "\nset -euo pipefail\n" in script.read_text(encoding="utf-8"), script.name
        assert os.access(script, os.X_OK), script.name
        subprocess.run(["bash", "-n", script], check=True)
