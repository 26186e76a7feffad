"""The whole server as an operator and a browser meet it: one port, pages, metrics, health, an end."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import replace

import pytest

from protocol.codec import encode_ping
from protocol.messages import Delta, Pong
from server.app import Everstep
from tests.gateway.glade import ADD, GAME, REGION, settings
from tests.gateway.visitor import PATIENCE_S, Visitor, only_stream, serving


async def get(app: Everstep, path: str, *, head: str = "") -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of a GET. `head`: further lines."""
    reader, writer = await asyncio.open_connection("127.0.0.1", app.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{app.port}\r\n{head}\r\n".encode())
    async with asyncio.timeout(PATIENCE_S):
        data = await reader.read()
    writer.close()
    await writer.wait_closed()
    top, _, body = data.partition(b"\r\n\r\n")
    status, *lines = top.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, body


async def test_one_port_serves_the_page_the_sdk_and_the_game():
    async with serving(settings(), GAME) as app:
        status, headers, body = await get(app, "/")
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'self'" in headers["content-security-policy"]
        assert int(headers["content-length"]) == len(body) > 0
        assert b"<html" in body.lower()
        status, headers, _ = await get(app, "/clients/js/everstep.js")
        assert (status, headers["content-type"]) == (200, "text/javascript; charset=utf-8")
        ada = await Visitor.join(app)
        await ada.check()
        assert app.url == f"http://127.0.0.1:{app.port}/"
        assert app.ws_url == f"ws://127.0.0.1:{app.port}/ws"


@pytest.mark.parametrize(
    "path",
    [
        "/../server/app.py",
        "/%2e%2e/pyproject.toml",
        "/clients/js/../../../config/everstep.toml",
        "//[",
        "/nothing",
        f"/{'a' * 300}.html",
        "/wsx",
        "/ws/",
    ],
)
async def test_what_is_not_there_is_404_and_logs_no_fault(path: str, caplog: pytest.LogCaptureFixture):
    async with serving(settings(), GAME) as app:
        status, _, body = await get(app, path)
        assert (status, body) == (404, b"Nothing is here.\n")
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "head",
    [
        "Origin: http://[\r\n",
        "Origin: http://a\r\nOrigin: http://b\r\n",
        "Host: twice\r\nOrigin: http://twice\r\n",
        "Origin: ://\r\n",
        "Origin: \r\n",
    ],
)
async def test_a_crooked_origin_is_refused_and_logs_no_fault(head: str, caplog: pytest.LogCaptureFixture):
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    async with serving(settings(), GAME) as app:
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        status, _, _ = await get(app, "/ws", head=upgrade + key + head)
        assert status == 403
        assert 'everstep_disconnects_total{cause="origin"} 1.0' in app.metrics.render().decode()
    assert not [r for r in caplog.records if r.exc_info or r.levelno >= logging.ERROR]


METRICS = [
    "everstep_tick_seconds_bucket",
    "everstep_tick_lateness_seconds_bucket",
    "everstep_tick_rate_hz",
    "everstep_dilation",
    "everstep_ticks_total",
    "everstep_entities",
    'everstep_sessions{state="joined"}',
    'everstep_sessions{state="lagging"}',
    'everstep_sessions{state="resuming"}',
    "everstep_bytes_out_total",
    "everstep_frames_in_total",
    "everstep_frames_out_total",
    "everstep_frames_skipped_total",
    "everstep_inputs_total",
    'everstep_inputs_dropped_total{reason="malformed"}',
    'everstep_disconnects_total{cause="client"}',
    "everstep_inbox_depth",
    "everstep_journal_backlog",
    "everstep_gc_pause_seconds_bucket",
]


async def test_metrics_tell_what_happened():
    async with serving(settings(), GAME) as app:
        ada, bob = await Visitor.join(app), await Visitor.join(app)
        for n in range(5):
            await ada.until_acked(await ada.input(ADD, n))
        await ada.send(b"\xc1")
        bob.abort()
        while len(app.gateway.sockets) > 1:
            await ada.receive()
        while app.machine.tick < 61:
            await ada.receive()
        app.gateway.sweep()
        status, headers, body = await get(app, "/metrics")
        assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
        lines = body.decode().splitlines()
        for metric in METRICS:
            assert any(line.startswith(metric) for line in lines), metric
        values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        assert float(values["everstep_inputs_total"]) == 5
        assert float(values['everstep_entities{region="3"}']) == 42
        assert float(values['everstep_sessions{state="joined"}']) == 1
        assert float(values['everstep_sessions{state="resuming"}']) == 1
        assert float(values["everstep_bytes_out_total"]) > 0
        assert float(values["everstep_ticks_total"]) >= 61


async def test_health_is_of_the_ticks_not_of_the_port():
    async with serving(settings(), GAME) as app:
        ada = await Visitor.join(app)
        for path in ("/healthz", "/readyz"):
            status, _, body = await get(app, path)
            assert (status, json.loads(body)["reasons"]) == (200, [])
        # The ticks die; the port answers as before.
        ticks = next(task for task in app._tasks if task.get_name() == "ticks")
        ticks.cancel()
        await asyncio.gather(ticks, return_exceptions=True)
        now_s = app.clock.now_s
        app.health._clock = lambda: now_s() + 6.0
        for path in ("/healthz", "/readyz"):
            status, _, body = await get(app, path)
            assert status == 503
            assert f"region {REGION} stands at tick" in json.loads(body)["reasons"][0]
        assert (await get(app, "/"))[0] == 200
        ada.abort()


async def test_a_world_whose_ticks_fail_ends_the_server_with_their_error():
    def broken(world: object, tick: object) -> None:
        raise RuntimeError("the game is broken")

    async with serving(settings(), replace(GAME, systems=(broken,))) as app:
        with pytest.raises(RuntimeError, match="the game is broken"):
            await asyncio.wait_for(app.run(), PATIENCE_S)


async def test_two_servers_in_one_process_do_not_meet():
    async with serving(settings(), GAME) as one, serving(settings(), GAME) as two:
        ada, bob = await Visitor.join(one), await Visitor.join(two)
        await ada.check()
        await bob.check()
        assert len(one.gateway.sockets) == len(two.gateway.sockets) == 1


async def test_a_server_that_stops_frees_its_port_and_leaves_no_task():
    before = asyncio.all_tasks()
    async with serving(settings(), GAME) as app:
        port = app.port
        await Visitor.join(app)
    async with serving(settings(server__port=port), GAME) as again:
        assert again.port == port
    await asyncio.sleep(0)
    assert {t for t in asyncio.all_tasks() - before if not t.done()} == set()


async def test_frames_that_leave_keep_the_server_alive_and_frames_that_do_not_do_not():
    async with serving(settings(), GAME) as app:
        ada = await Visitor.join(app)
        await ada.until(Delta)
        app.gateway.sweep()
        now_s = app.clock.now_s
        app.health._clock = lambda: now_s() + 3600.0
        # The tick that comes next, and the frame that leaves with it, are signs of life at that hour.
        await ada.until(Delta)
        await ada.until(Delta)
        app.gateway.sweep()
        assert app.health.judge().alive
        # Ticks go on; no frame leaves.
        only_stream(app)._write_all = lambda change, frame: None
        app.health._clock = lambda: now_s() + 7200.0
        ticked = asyncio.Event()
        app.host.after_tick.append(lambda _times, _took_s: ticked.set())
        await asyncio.wait_for(ticked.wait(), 10)
        app.gateway.sweep()
        verdict = app.health.judge()
        assert not verdict.alive
        assert "no frame left" in verdict.reasons[0]


async def test_pong_tells_how_long_ago_the_tick_was():
    async with serving(settings(), GAME) as app:
        ada = await Visitor.join(app)
        for task in app._tasks:
            task.cancel()
        await asyncio.gather(*app._tasks, return_exceptions=True)
        only_stream(app).frame_s -= 2.0
        await ada.send(encode_ping(1))
        pong = await ada.until(Pong)
        assert pong.micros >= 2_000_000
        assert pong.tick == app.machine.tick


async def test_a_stop_does_not_wait_for_who_never_asked_anything():
    patient = settings(server__shutdown_grace_s=300.0, server__stop_within_s=600.0, gateway__handshake_timeout_s=300.0)
    async with asyncio.timeout(PATIENCE_S):
        async with serving(patient, GAME) as app:
            # As a browser has a spare connection beside those that it uses.
            _, spare = await asyncio.open_connection("127.0.0.1", app.port)
            # Behind it: it has been accepted by then.
            assert (await get(app, "/healthz"))[0] == 200
        spare.close()
