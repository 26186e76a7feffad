"""What the composition roots share, where no test of a whole process would tell it from its neighbours."""

from __future__ import annotations

import gc

from config.settings import load
from server.cluster_cli import cluster_cli
from server.roles.desk import travel_options
from server.roles.front import shown_host
from server.roles.process import frame_stall_s, settle_memory


def test_a_quiet_world_is_no_stall():
    settings = load(None, {"world.tick_rate_hz": 1, "view.quiet_ticks_max": 60}, environment={})
    assert frame_stall_s(settings) > 60


def test_every_interface_is_shown_as_one_that_can_be_opened():
    assert shown_host("0.0.0.0") == shown_host("::") == "127.0.0.1"  # noqa: S104
    assert shown_host("192.0.2.7") == "192.0.2.7"


def test_what_the_start_made_is_not_collected_again():
    before, thresholds = gc.get_freeze_count(), gc.get_threshold()
    try:
        settle_memory()
        assert gc.get_freeze_count() > before
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


def test_the_cluster_s_commands_are_these():
    assert [command.callback.__name__ for command in cluster_cli.registered_commands if command.callback] == [
        "gateway",
        "node",
        "nodes",
        "drain",
        "balance",
    ]


def test_a_stretch_of_the_past_is_as_long_at_every_tick_rate():
    for rate_hz in (1, 60):
        settings = load(None, {"world.tick_rate_hz": rate_hz, "travel.stretch_s_max": 2.0}, environment={})
        assert travel_options(settings).ticks_max == 2 * rate_hz
