"""What the commands refuse before anything is started."""

import pytest
from typer.testing import CliRunner

from bench import crash_cli
from bench.cli import app


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["crash", "--store", "memory"], "does not outlive"),
        (["outages", "--store", "sqlite"], "only a database"),
        (["crash", "--plant", "weeds"], "weeds"),
        (["crash", "--kills", "0"], "kills"),
        (["chaos", "--only", "typo"], "node_without_redis"),
    ],
)
def test_refused(words, why):
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert why in done.output


def test_a_seed_is_random_unless_told(capsys):
    assert crash_cli.seed_of(7) == 7
    assert crash_cli.seed_of(None) != crash_cli.seed_of(None)
    assert "seed 7" in capsys.readouterr().err
