"""What an operator is told of a cluster: every node, every region, and what would be done and why."""

import pytest
from typer.testing import CliRunner

from config.settings import load
from server.cli import cli
from server.commands.cluster import Cluster, NoSuchNode, described, planned, told
from server.regions.balance import Divide, Move, NodeLoad, Plan, ShardLoad
from server.shard.lease import Lease

ADA = NodeLoad("ada-1f", shards=(ShardLoad(1, 0.5, 30, 900), ShardLoad(2, None, 0, 10), ShardLoad(3, 0.25, 5, 60)))
BOB = NodeLoad("bob-2e", draining=True, shards=(ShardLoad(5, 0.0, 0, 40, asleep=True, divided=True),))
CLUSTER = Cluster(
    (1, 2, 3, 4, 5, 6),
    (ADA, BOB),
    {n: Lease(n, owner, 7) for n, owner in ((1, "ada-1f"), (2, "ada-1f"), (3, "ada-1f"), (5, "bob-2e"), (6, "gone-0"))},
)


def test_every_node_has_a_line_and_so_has_what_nobody_runs():
    assert described(CLUSTER) == [
        "ada-1f  load 0.75  regions 1-3",
        "bob-2e  load 0.00  regions 5  drains",
        "held by nodes that are silent: regions 6",
        "run by nobody: regions 4",
    ]


def test_a_plan_says_who_runs_what_and_what_would_be_done_and_why():
    what = Plan(
        (Move(5, "bob-2e", "ada-1f", "bob-2e drains"),),
        (Divide(1, divide=True, reason="much"), Divide(5, divide=False, reason="little")),
    )
    assert told(CLUSTER, what) == [
        "ada-1f  load 0.75",
        "  region 1  load 0.50  30 players  900 entities",
        "  region 2  not measured yet  0 players  10 entities",
        "  region 3  load 0.25  5 players  60 entities",
        "bob-2e  load 0.00  drains",
        "  region 5  load 0.00  0 players  40 entities  asleep  divided",
        "held by nodes that are silent: regions 6",
        "run by nobody: regions 4",
        "move region 5 from bob-2e to ada-1f: bob-2e drains",
        "divide region 1: much",
        "unite region 5: little",
    ]
    assert told(Cluster((), (), {}), Plan((), ())) == ["nothing to do"]


@pytest.mark.parametrize("balance", [True, False])
def test_a_plan_that_nobody_carries_out_says_so(monkeypatch, balance):
    async def look(_settings):
        return CLUSTER

    monkeypatch.setattr("server.commands.cluster.look", look)
    monkeypatch.setattr("server.observe.logs.configure", lambda *_: None)
    done = CliRunner().invoke(cli, ["balance", "--plan"], env={"EVERSTEP_NODE__BALANCE": str(balance).lower()})
    *_, said, planned = done.stdout.splitlines()
    assert planned == "move region 5 from bob-2e to ada-1f: bob-2e drains"
    assert (said == "node.balance is false: nodes only move what drains") is not balance


def test_what_is_planned_is_what_the_nodes_would_do_with_these_settings():
    settings = load(None, {"world.columns": 3, "world.rows": 2}, environment={})
    plan = planned(settings, CLUSTER)
    assert [(move.shard, move.source, move.target) for move in plan.moves] == [(5, "bob-2e", "ada-1f")]
    assert plan.divisions == ()


def test_a_node_is_found_by_its_name_with_and_without_the_letters_of_its_start():
    assert CLUSTER.find("ada") == CLUSTER.find("ada-1f") == "ada-1f"
    with pytest.raises(NoSuchNode, match="no node is called 'eva'; there are: ada-1f, bob-2e"):
        CLUSTER.find("eva")
    two = Cluster((), (ADA, NodeLoad("ada-2e")), {})
    with pytest.raises(NoSuchNode, match="several nodes are called 'ada'; there are: ada-1f, ada-2e"):
        two.find("ada")
