"""The server that benches kill: what it says, and what it finds when it is started again."""

from bench.processes import Worker


def test_it_says_what_its_start_took_and_comes_back_to_where_it_was_killed(tmp_path):
    overrides = {
        "server.port": 0,
        "server.data_dir": str(tmp_path),
        "world.width": 128.0,
        "world.height": 128.0,
        "world.digest_every_ticks": 1,
        "log.level": "warning",
    }
    told = {"game": "games.frontier", "settings": overrides}
    with Worker("bench.kept_server", told, 0) as server:
        first = server.expect("listening")
        assert first["recovered"]["tick"] == 0
        assert server.started_s < first["running_s"] < first["imported_s"] < first["listening_s"]
        assert server.expect("ready")["tick"] == 1
        durable_tick = 0
        while not durable_tick:
            server.say("start")
            server.say("stop")
            durable_tick = server.expect("ticks")["durable_tick"]
        server.kill()
    with Worker("bench.kept_server", told, 0) as server:
        again = server.expect("listening")["recovered"]
        assert again["tick"] >= durable_tick
        assert again["digests_checked"] == again["records_replayed"] == again["ticks_replayed"]
        assert server.expect("ready")["tick"] == again["tick"] + 1
