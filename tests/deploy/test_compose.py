"""deploy/compose.yaml and the Dockerfile name only what there is. Whether they start, only Docker can tell."""

import re
import shlex

import pytest
import yaml
from typer.testing import CliRunner

from config.settings import load
from server.cli import cli


@pytest.fixture
def compose(root):
    return yaml.safe_load((root / "deploy" / "compose.yaml").read_text())


@pytest.fixture
def dockerfile(root):
    """(instruction, rest) of each line, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (root / "Dockerfile").read_text())
    return [line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]


def test_services_wait_for_what_there_is_and_for_what_can_happen(compose):
    services = compose["services"]
    for name, service in services.items():
        for other, wait in service.get("depends_on", {}).items():
            condition = wait["condition"]
            if condition == "service_healthy":
                assert "healthcheck" in services[other], f"{name} waits for the health of {other}, which tells none"
            else:
                assert condition == "service_completed_successfully"
                assert services[other]["restart"] == "no", f"{name} waits for the end of {other}, which restarts"
        assert "image" in service


def test_volumes_and_files_are_there(compose, root):
    used = [v.split(":")[0] for s in compose["services"].values() for v in s.get("volumes", ())]
    assert {v for v in used if not v.startswith(".")} == set(compose["volumes"])
    for path in (v for v in used if v.startswith(".")):
        assert (root / "deploy" / path).is_file()
    context = compose["services"]["store-init"]["build"]
    assert (root / "deploy" / context["context"] / context["dockerfile"]).is_file()


def test_every_database_process_is_a_member_of_the_set_that_is_made_of_it(compose, root):
    sets = {"config": "cfg", "west": "west", "east": "east"}
    for base, replica_set in sets.items():
        for i in (1, 2, 3):
            command = compose["services"][f"{base}{i}"]["command"]
            assert command[command.index("--replSet") + 1] == replica_set
            assert ("--configsvr" in command) == (base == "config")
    members = {f"{base}{i}" for base in sets for i in (1, 2, 3)}
    assert members <= set(compose["services"]["replica-sets"]["depends_on"])
    script = (root / "deploy" / "replica-sets.js").read_text()
    assert f"of {list(sets)}".replace("'", '"') in script
    assert "cfg/config1:27017,config2:27017,config3:27017" in compose["services"]["mongos"]["command"]


def test_nothing_but_the_page_is_open_to_the_machine_and_nothing_to_the_world(compose):
    open_to = {name: s["ports"] for name, s in compose["services"].items() if "ports" in s}
    assert open_to == {"here": ["127.0.0.1:8080:8080"], "there": ["127.0.0.1:8081:8080"]}


def test_the_settings_are_settings(compose, dockerfile):
    image = {}
    for instruction, rest in dockerfile:
        if instruction == "ENV":
            image |= dict(pair.split("=", 1) for pair in shlex.split(rest))
    parts = [service for service in compose["services"].values() if "environment" in service]
    assert len(parts) == 4
    for part in parts:
        settings = load(environment=image | part["environment"])
        assert settings.server.host == "0.0.0.0"  # noqa: S104  # in a container, that is the container's own
        # Both are where the image's health check asks.
        assert settings.server.port == settings.node.port == 8080
        # What is killed sooner loses nothing, and makes its players wait.
        stop_s = settings.server.stop_within_s + (settings.node.drain_within_s if "node" in part["command"] else 0)
        assert int(part["stop_grace_period"].removesuffix("s")) > stop_s


def test_nodes_and_gateways_are_started_with_options_that_there_are(compose):
    commands = [service["command"] for service in compose["services"].values() if service["image"] == "everstep"]
    assert sorted({words[1] for words in commands}) == ["gateway", "node", "store"]
    for words in commands:
        told = CliRunner().invoke(cli, [words[1], "--help"], env={"COLUMNS": "200"}).output
        assert all(word in told for word in words[2:] if word.startswith("--") and words[1] != "store")


def test_the_store_is_made_with_options_that_there_are(compose):
    words = compose["services"]["store-init"]["command"]
    assert words[:3] == ["everstep", "store", "init"]
    told = CliRunner().invoke(cli, ["store", "init", "--help"], env={"COLUMNS": "200"}).output
    assert all(word in told for word in words[3::2])


def test_the_image_holds_what_the_checkout_has(dockerfile, root):
    copied = [source for name, rest in dockerfile if name == "COPY" for source in rest.split()[:-1]]
    ignored = (root / ".dockerignore").read_text().split()
    for source in copied:
        assert (root / source).exists()
        assert f"!{source}" in ignored
    assert {"server", "protocol", "config", "games", "clients", "web"} <= set(copied)
