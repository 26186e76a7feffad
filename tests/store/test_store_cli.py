"""`everstep store`, as an operator meets it."""

import pytest
import typer
from pymongo import MongoClient
from typer.testing import CliRunner

from server.cli import cli
from server.store_cli import parse_zone


@pytest.fixture
def everstep(mongo_server, mongo_database):
    def run(*words):
        options = ["--uri", mongo_server.uri, "--database", mongo_database]
        return CliRunner().invoke(cli, ["store", *words, *options])

    yield run
    with MongoClient(mongo_server.uri) as client:
        client.drop_database(mongo_database)


def test_init_says_what_it_made_and_then_that_there_is_nothing_to_make(everstep, mongo_database):
    refused = everstep("check")
    assert refused.exit_code == 1
    assert "run `everstep store init`" in refused.output
    made = everstep("init")
    assert made.exit_code == 0
    assert f"{mongo_database}.journal: index shard_slot" in made.output
    assert everstep("init").output == f"{mongo_database}: everything is there already\n"
    assert everstep("check").output == f"{mongo_database}: laid out, on a server or replica set\n"


def test_the_database_is_that_of_the_settings_unless_an_option_names_another(mongo_server, mongo_database, tmp_path):
    config = tmp_path / "world.toml"
    config.write_text(f'[store]\nmongodb_uri = "{mongo_server.uri}"\nmongodb_database = "{mongo_database}"\n')

    def run(*words, **environment):
        return CliRunner(env=environment).invoke(cli, ["store", *words, "--config", str(config)])

    try:
        assert f"{mongo_database}.journal: index shard_slot" in run("init").output
        assert run("check").exit_code == 0
        other = f"{mongo_database}_2"
        assert other in run("check", "--database", other).output
        # As everywhere: the environment before the file.
        assert other in run("check", EVERSTEP_STORE__MONGODB_DATABASE=other).output
    finally:
        with MongoClient(mongo_server.uri) as client:
            client.drop_database(mongo_database)


def test_settings_that_can_not_be_taken_are_said_as_everywhere(tmp_path):
    config = tmp_path / "world.toml"
    config.write_text("[store]\nmongodb = 1\n")
    refused = CliRunner().invoke(cli, ["store", "check", "--config", str(config)])
    assert (refused.exit_code, "store.mongodb" in refused.output) == (2, True)


def test_what_the_database_refuses_is_one_line(everstep):
    refused = everstep("init", "--zone", "eu=rs0:1")
    assert refused.exit_code == 1
    assert refused.output == "everstep: zones need a sharded cluster: this server is no mongos\n"


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("eu=rs0:7", ("eu", ("rs0",), (7,))),
        ("eu=rs0,rs1:1-3,9", ("eu", ("rs0", "rs1"), (1, 2, 3, 9))),
    ],
)
def test_a_zone_is_read(text, zone):
    assert parse_zone(text) == zone


@pytest.mark.parametrize("text", ["", "eu", "eu=", "eu=rs0", "eu=rs0:", "eu=:1", "=rs0:1", "eu=rs0:x", "eu=rs0,:1"])
def test_a_zone_that_makes_no_sense_is_refused(text):
    with pytest.raises(typer.BadParameter, match="NAME=DATABASE_SHARDS:SHARDS"):
        parse_zone(text)


def test_a_database_that_is_not_there_is_told_in_a_short_line():
    done = CliRunner().invoke(cli, ["store", "check", "--uri", "mongodb://127.0.0.1:9"])
    assert done.exit_code == 1
    assert "127.0.0.1:9: " in done.stderr
    # The driver's own words go on for a thousand characters.
    assert len(done.stderr) < 160
