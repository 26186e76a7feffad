"""What the documents say can be done: files that exist, commands that run."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.cli import cli

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# `server/sim/grid.py`, `docs/protocol.md`, `games/frontier`: names of files and directories in running text.
NAMED_FILE = re.compile(r"`((?:server|protocol|config|games|bench|clients|web|docs|tests|scripts)/[\w./-]+)`")


def documents(root: Path) -> list[Path]:
    return [root / "README.md", root / "CHANGELOG.md", *sorted((root / "docs").rglob("*.md"))]


def commands(root: Path) -> list[str]:
    """Every command line in a shell block of a document, without its comment."""
    found = []
    for document in documents(root):
        for block in FENCE.findall(document.read_text(encoding="utf-8")):
            found += [line.split("  #")[0].removeprefix("$ ").strip() for line in block.splitlines()]
    return [line for line in found if line and not line.startswith("#")]


def test_a_link_leads_somewhere(root: Path):
    broken = []
    for document in documents(root):
        for target in LINK.findall(document.read_text(encoding="utf-8")):
            path = target.split("#")[0]
            if path and "://" not in path and not (document.parent / path).exists():
                broken.append(f"{document.relative_to(root)}: {target}")
    assert not broken


def test_a_file_that_is_named_exists(root: Path):
    missing = []
    for document in documents(root):
        names = NAMED_FILE.findall(document.read_text(encoding="utf-8"))
        missing += [f"{document.relative_to(root)}: {name}" for name in names if not (root / name).exists()]
    assert not missing


def test_a_make_target_that_is_named_exists(root: Path):
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {target for line in commands(root) for target in re.findall(r"^make ([a-z-]+)", line)}
    assert {"run", "test"} <= named
    assert named <= targets


def test_a_module_that_is_run_exists(root: Path):
    named = {module for line in commands(root) for module in re.findall(r"python3? -m ([\w.]+)", line)}
    assert [module for module in sorted(named) if find_spec(module) is None] == []


@cache
def everstep(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_subcommand_of_everstep_that_is_named_exists(root: Path):
    named = {sub for line in commands(root) for sub in re.findall(r"\beverstep ([a-z]+)", line)}
    assert "run" in named
    for sub in sorted(named):
        assert "Usage" in everstep(sub, "--help")


def test_an_option_of_everstep_that_is_named_exists(root: Path):
    for line in commands(root):
        match = re.search(r"\beverstep ([a-z]+)(.*)", line)
        if match:
            told = everstep(match[1], "--help")
            for option in re.findall(r"--[a-z-]+", match[2]):
                assert option in told, line


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "LICENSE", "docs/architecture.md", "docs/packet.md"])
def test_what_a_newcomer_looks_for_is_there(root: Path, name: str):
    assert (root / name).stat().st_size > 500


def test_decisions_are_numbered_and_say_what_they_cost(root: Path):
    decisions = sorted((root / "docs" / "decisions").glob("*.md"))
    assert [int(p.name[:4]) for p in decisions] == list(range(1, len(decisions) + 1))
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Choice", "What it costs"], path.name
        assert text.count("\n") <= 45, f"{path.name}: half a page"
