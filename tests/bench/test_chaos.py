"""`bench chaos`, short: a cluster of processes under faults loses nothing; and a run that found something says so."""

import pytest

from bench.chaos import ChaosOptions, failed, shape_of
from bench.chaos_game import REGION_UNITS
from bench.cluster_processes import Doors
from tests.bench.test_crash import bench


@pytest.mark.usefixtures("mongodb", "redis")
def test_nothing_is_lost_and_nothing_is_doubled(tmp_path):
    kinds = ("node_killed", "gateway_killed", "redis_forgot")
    only = [word for kind in kinds for word in ("--only", kind)]
    figures = bench(
        "chaos",
        "--minutes",
        "0.25",
        "--nodes",
        "2",
        "--tellers",
        "8",
        "--seed",
        "4",
        *only,
        "--data",
        str(tmp_path),
        status=0,
        load=(),
    )
    assert figures["faults"] >= 1
    assert (figures["violations"], figures["lost"], figures["doubled"]) == (0, 0, 0)
    assert figures["acknowledged"] > 100
    assert figures["digests_checked"] > 0
    assert figures["minutes"] > 0.2


def test_a_run_that_found_something_or_looked_at_nothing_has_failed():
    figures = {"violations": 0, "acknowledged": 5, "digests_checked": 5}
    assert not failed(figures)
    assert failed(figures | {"violations": 1})
    assert failed(figures | {"acknowledged": 0})
    assert failed(figures | {"digests_checked": 0})


def test_the_world_is_as_large_as_its_regions():
    shape = shape_of(ChaosOptions(1.0, 3, 2, 3, 2, 8, 100.0, seed=1))
    assert float(shape.settings["EVERSTEP_WORLD__WIDTH"]) == 3 * REGION_UNITS
    assert shape.settings["EVERSTEP_WORLD__ROWS"] == "2"
    assert shape.proxied


async def test_whoever_comes_back_tries_the_next_door():
    doors = Doors()
    doors.urls = ["one", "two"]
    assert {await doors.wait(), await doors.wait()} == {"one", "two"}
