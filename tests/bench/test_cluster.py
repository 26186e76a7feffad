"""`bench cluster`, small: a crowd over many regions, and nobody sees a seam."""

import math

import pytest

from bench.cluster import ClusterOptions, failed, late, late_ms, run, shape_of
from bench.cluster_processes import metric
from bench.density import visible


@pytest.mark.usefixtures("mongodb", "redis")
def test_a_small_cluster_is_one_world():
    options = ClusterOptions(nodes=2, gateways=2, regions=4, clients=16, walkers=4, seconds=4.0, warm_up_s=1.0)
    figures = run(options)
    assert figures["clients"] == 20
    # Nobody need have come to a border yet (`bench crossing` has that), and players may wait; what they see is right.
    assert [figures[key] for key in ("lost", "inputs_lost", "mismatches", "reconnects", "faults")] == [0] * 5
    assert figures["digests_checked"] > 0
    assert figures["hz"] > 0
    assert figures["cpu_us_per_client_tick"] > 0
    assert figures["bus_bytes_per_s"] > 0
    assert figures["frame_decodes_per_region_tick"] > 0
    assert figures["tick_lateness_ms_p99"] >= figures["tick_lateness_ms_p50"] > 0


def test_a_run_that_saw_a_seam_or_looked_at_nothing_has_failed():
    figures = dict.fromkeys(("lost", "missing", "inputs_lost", "mismatches", "reconnects", "faults"), 0)
    good = figures | {"digests_checked": 3, "regions": 4, "crossings": 2}
    assert not failed(good)
    assert all(failed(good | {key: 1}) for key in figures)
    assert failed(good | {"digests_checked": 0})
    assert failed(good | {"crossings": 0})
    assert not failed(good | {"crossings": 0, "regions": 1})


def test_metrics_are_read_by_their_labels():
    page = 'a_total{region="1",event="taken"} 3.0\na_total{region="2",event="taken"} 4.0\n'
    page += 'a_total{event="sent"} 9.0\nb 1.5\n'
    assert metric(page, "a_total", 'event="taken"') == 7
    assert metric(page, "a_total") == 16
    assert metric(page, "b") == 1.5
    assert metric(page, "c") == 0


def test_lateness_is_told_from_the_nodes_histograms():
    name = "everstep_tick_lateness_seconds_bucket"
    page = f'# HELP x\n{name}{{le="0.001"}} 50.0\n{name}{{le="0.5"}} 99.0\n{name}{{le="+Inf"}} 100.0\n'
    before, after = late([page]), late([page, page])
    assert after == {0.001: 100.0, 0.5: 198.0, math.inf: 200.0}
    assert [late_ms(before, after, percent) for percent in (50, 51, 99)] == [1.0, 500.0, 500.0]
    assert late_ms(before, after, 100) == math.inf
    assert late_ms({}, {}, 99) == math.inf, "nothing was made in time where nothing was made"


def test_the_world_is_as_large_as_its_crowd():
    small, large = (shape_of(ClusterOptions(2, 1, 4, clients, 4, 1.0)).settings for clients in (200, 800))
    assert float(small["EVERSTEP_WORLD__WIDTH"]) < float(large["EVERSTEP_WORLD__WIDTH"])
    assert small["EVERSTEP_WORLD__COLUMNS"] == small["EVERSTEP_WORLD__ROWS"] == "2"


def test_what_is_visible_comes_in_several_messages():
    assert visible({"visible_mean": 10.0, "deltas": 40}, 20.0) == 20.0
