"""Metrics: what an operator's scrape reads."""

from __future__ import annotations

import gc
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from server.observe.metrics import Metrics, Tally


def read(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def test_a_scrape_reads_what_was_counted():
    metrics = Metrics()
    metrics.tick_seconds.labels(region="1").observe(0.004)
    metrics.tick_lateness_seconds.observe(0.0004)
    metrics.sessions.labels(state="joined").set(3)
    metrics.inputs_dropped_total.labels(reason="flood").inc(7)
    metrics.disconnects_total.labels(cause="idle").inc()
    metrics.bytes_out_total.inc(1234)
    seen = read(metrics)
    assert seen["everstep_tick_seconds_bucket", (("le", "0.005"), ("region", "1"))] == 1
    assert seen["everstep_tick_seconds_bucket", (("le", "0.003"), ("region", "1"))] == 0
    assert seen["everstep_tick_lateness_seconds_bucket", (("le", "0.0005"),)] == 1
    assert seen["everstep_sessions", (("state", "joined"),)] == 3
    assert seen["everstep_inputs_dropped_total", (("reason", "flood"),)] == 7
    assert seen["everstep_disconnects_total", (("cause", "idle"),)] == 1
    assert seen["everstep_bytes_out_total", ()] == 1234


def test_a_tally_adds_what_sums_have_grown_by_and_not_what_others_told_before():
    metrics = Metrics()
    tally = Tally(metrics.mail_total, 1, since={"sent": 100})
    tally.tell({"sent": 103, "taken": 5})
    tally.tell({"sent": 104, "taken": 5})
    seen = read(metrics)
    assert seen["everstep_mail_total", (("event", "sent"), ("region", "1"))] == 4
    assert seen["everstep_mail_total", (("event", "taken"), ("region", "1"))] == 5


def test_two_servers_in_one_process_count_for_themselves():
    one, two = Metrics(), Metrics()
    one.ticks_total.inc()
    assert read(one)["everstep_ticks_total", ()] == 1
    assert read(two)["everstep_ticks_total", ()] == 0


def test_the_garbage_collectors_pauses_are_measured_while_watched():
    metrics = Metrics()
    with metrics.watching_gc():
        gc.collect()
    watched = read(metrics)["everstep_gc_pause_seconds_count", ()]
    gc.collect()
    assert watched >= 1
    assert read(metrics)["everstep_gc_pause_seconds_count", ()] == watched


def test_every_metric_says_what_it_counts_and_is_named_for_us():
    own = [f for f in text_string_to_metric_families(Metrics().render().decode()) if not f.name.startswith("process_")]
    assert len(own) > 15
    for family in own:
        assert family.name.startswith("everstep_"), family.name
        if not family.name.endswith("_created"):
            assert family.documentation.endswith("."), family.name


def test_the_operators_page_lists_every_metric_as_it_is(root: Path):
    page = (root / "docs" / "operating.md").read_text(encoding="utf-8")
    for family in Metrics().registry.collect():
        if not family.name.startswith("process_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            [row] = [line for line in page.splitlines() if line.startswith((f"| `{name}`", f"| `{name}{{"))]
            assert row.endswith(f"| {family.type} | {family.documentation} |")


def test_what_is_so_of_a_region_that_left_is_told_no_more():
    metrics = Metrics()
    for region in ("1", "2"):
        metrics.mail_unacked.labels(region).set(5)
        metrics.tick_rate_hz.labels(region).set(20)
        metrics.mail_total.labels(region, "sent").inc(9)
    metrics.forget(1)
    # One that never was here.
    metrics.forget(3)
    seen = read(metrics)
    told = {
        dict(labels)["region"] for name, labels in seen if name in ("everstep_mail_unacked", "everstep_tick_rate_hz")
    }
    assert told == {"2"}
    assert seen["everstep_mail_total", (("event", "sent"), ("region", "1"))] == 9
