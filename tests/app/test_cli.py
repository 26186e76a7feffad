"""The command line, as a person meets it: by its name, with right and wrong words."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from games.frontier import GAME
from server.cli import cli

ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("EVERSTEP_")} | {
    "COLUMNS": "160",
    "NO_COLOR": "1",
}
PATIENCE_S = 60


def everstep(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server", *words],
        cwd=root,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Result]]:
    """What a command that starts nothing says, in this process: one of its own takes a second to start."""
    for name in [name for name in os.environ if name.startswith("EVERSTEP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sys, "path", sys.path.copy())

    def invoke(*words: str) -> Result:
        done = CliRunner().invoke(cli, words, env={"COLUMNS": "160", "NO_COLOR": "1"})
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done

    yield invoke
    sys.modules.pop("mine", None)


def test_help_names_every_command(root: Path):
    done = everstep(root, "--help")
    assert done.returncode == 0
    for command in ("run", "bots", "schema"):
        assert command in done.stdout


def test_the_version_is_the_installed_package_s(told: Callable[..., Result], root: Path):
    declared = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    done = told("--version")
    assert (done.exit_code, done.stdout) == (0, f"everstep {declared}\n")


def test_help_of_run_names_every_option(told: Callable[..., Result]):
    done = told("run", "--help")
    assert done.exit_code == 0
    for option in ("--config", "--game", "--port", "--bots", "--data", "--host", "--log-level"):
        assert option in done.stdout


def test_schema_prints_what_clients_read_in_welcome(told: Callable[..., Result]):
    done = told("schema")
    assert done.exit_code == 0
    tree = json.loads(done.stdout)
    assert tree.pop("digest") == GAME.schema.digest
    assert tree == GAME.schema.to_wire()


def test_schema_of_a_file(told: Callable[..., Result], tmp_path: Path):
    game = tmp_path / "mine.py"
    game.write_text("from tests.gateway.glade import GAME\n")
    done = told("schema", "--game", str(game))
    assert (done.exit_code, json.loads(done.stdout)["game"]) == (0, "glade")


BROKEN = {
    "no such module": ("games.nowhere", None, "games.nowhere"),
    "no such file": ("nowhere.py", None, "nowhere.py"),
    "a module without a GAME": ("json", None, "has no GAME"),
    "not a module's name": ("..", None, "--game"),
    "nothing": ("", None, "--game"),
    "a GAME of another type": ("{file}", "GAME = 7\n", "has no GAME"),
    "a file that is no Python": ("{file}", "GAME = = 7\n", "mine.py"),
    "a game that contradicts itself": (
        "{file}",
        "from server.sim.component import Archetype, Component\nclass A(Component): pass\nArchetype('x', A, A)\n",
        "names a component twice",
    ),
    "a game of a type the wire lacks": ("{file}", "from protocol.schema import Wire\nWire('u7')\n", "u7"),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_game_that_is_none_gets_a_clear_message_and_code_2(told: Callable[..., Result], tmp_path: Path, case: str):
    name, text, expected = BROKEN[case]
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    done = told("schema", "--game", name.format(file=file))
    assert done.exit_code == 2, done.stderr
    assert expected in done.stderr


def test_a_process_ends_with_the_message_and_the_code(root: Path):
    done = everstep(root, "run", "--port", "0", "--game", "games.nowhere")
    assert done.returncode == 2, done.stderr
    assert "games.nowhere" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[world]\ntick_rate_hz = 0\n", "world.tick_rate_hz"),
        ("[world]\nspeed = 3\n", "world.speed"),
        ("[world\n", "not TOML"),
        (None, "nowhere.toml"),
    ],
)
def test_a_config_that_is_wrong_gets_a_clear_message_and_code_2(
    told: Callable[..., Result], tmp_path: Path, text: str | None, expected: str
):
    file = tmp_path / ("mine.toml" if text is not None else "nowhere.toml")
    if text is not None:
        file.write_text(text)
    done = told("run", "--config", str(file))
    assert done.exit_code == 2, done.stderr
    assert expected in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--port", "99999"),
        ("run", "--port", "x"),
        ("run", "--bots", "-1"),
        ("bots", "--log-level", "loud"),
        ("inspect", "inputs"),
        ("stretch", "-", "--from", "0", "--to", "1", "--memory-bytes-max", "1000"),
        ("travel", "--port", "99999"),
        ("fly",),
    ],
)
def test_wrong_words_get_a_clear_message_and_code_2(told: Callable[..., Result], words: tuple[str, ...]):
    done = told(*words)
    assert done.exit_code == 2, done.stderr
    assert done.stderr


def test_the_past_of_nothing_is_refused(root: Path, tmp_path: Path):
    done = everstep(root, "travel", "--data", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == f"everstep: {tmp_path / 'frontier'} holds no journal: there is no everstep.db\n"


def test_a_port_in_use_gets_a_clear_message_and_code_1(root: Path, tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = everstep(root, "run", "--game", "tests.gateway.glade", "--port", str(port), "--data", str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert f"can't listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_prints_the_url_and_stops_at_a_signal_with_code_0(root: Path, tmp_path: Path, number: signal.Signals):
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "server",
            "run",
            "--game",
            "tests.gateway.glade",
            "--port",
            "0",
            "--data",
            str(tmp_path),
        ],
        cwd=root,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("glade is running: open http://127.0.0.1:")
        port = int(line.rstrip().rstrip("/").rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as visitor:
            visitor.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert visitor.recv(100).startswith(b"HTTP/1.1 200")
        server.send_signal(number)
        _, errors = server.communicate(timeout=PATIENCE_S)
    assert server.returncode == 0, errors
    assert "Traceback" not in errors
    assert json.loads(errors.splitlines()[-1])["event"] == "stopped"
