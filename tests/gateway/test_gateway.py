"""The gateway over real sockets: every wrong thing has its answer, and whoever plays beside it never notices.

It is long because each promise is short and all of them share one game, one witness and one kind of visitor.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import jwt
import msgpack
import pytest

from protocol.codec import encode_check, encode_hello, encode_input, encode_leave, encode_ping
from protocol.errors import CloseCode, ErrorCode
from protocol.messages import Ack, Bye, Delta, Error, Event, Keyframe, Pong, Receipt, ViewDigest, Welcome
from server.app import Everstep
from server.gateway.auth import Authenticator
from server.gateway.session import SessionState
from tests.gateway.glade import (
    ADD,
    GAME,
    HEIGHT,
    JUMP,
    LONG_WINDED,
    NORTH,
    PAY,
    REGION,
    SAID,
    SHOUT,
    TOLD,
    VANISH,
    WALK,
    WEST,
    WIDTH,
    glade,
    settings,
)
from tests.gateway.visitor import PATIENCE_S, Closed, Visitor, masked, only_stream, serving

SECRET = "the-secret-of-these-tests-alone-0123456789"


def token(subject: str, **claims: Any) -> str:
    return jwt.encode({"sub": subject, "exp": int(time.time()) + 600, **claims}, SECRET)


async def until(condition: Callable[[], bool]) -> None:
    """Let the server work until it is so."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  # what is inside the server has no event; the condition decides
            await asyncio.sleep(0.002)


def owned(app: Everstep) -> int:
    """Entities that somebody plays."""
    return int((app.machine.world.owner > 0).sum())


# -- coming in ----------------------------------------------------------------------------


async def test_welcome_says_where_one_is_and_what_the_limits_are(app: Everstep):
    ada = await Visitor.join(app, name="Ada")
    welcome = ada.welcome
    assert welcome is not None
    assert (welcome.name, welcome.resumed, welcome.ack, welcome.tick_rate_hz) == ("Ada", False, 0, 60.0)
    (region,) = welcome.regions
    assert (region.id, region.x, region.y, region.width, region.height) == (REGION, WEST, NORTH, WIDTH, HEIGHT)
    assert welcome.schema == GAME.schema
    gateway = app.settings.gateway
    assert welcome.limits.frame_bytes_max == gateway.frame_bytes_max
    assert (welcome.limits.inputs_per_s, welcome.limits.inputs_burst) == (gateway.inputs_per_s, gateway.inputs_burst)
    assert (welcome.limits.grace_s, welcome.limits.idle_s) == (gateway.grace_s, gateway.idle_timeout_s)
    assert (ada.me("Body.name"), ada.me("Position.x"), ada.me("Position.y")) == ("Ada", WEST + WIDTH / 2, NORTH + 64)
    await ada.check()


async def test_a_guest_without_a_name_gets_one(app: Everstep):
    first, second = await Visitor.join(app), await Visitor.join(app)
    assert first.welcome.name.startswith("guest-")
    assert first.welcome.session != second.welcome.session
    assert first.handle != second.handle


async def test_a_players_token_names_it_whatever_it_asks_for():
    async with serving(settings(auth__jwt_secret=SECRET, auth__guests=False), GAME) as app:
        ada = await Visitor.join(app, token=token("ada", name="Countess"), name="Bob")
        assert ada.welcome.name == "Countess"
        stranger = await Visitor.connect(app)
        await stranger.send(encode_hello(name="Eve"))
        assert (await stranger.until_closed()).code == CloseCode.UNAUTHORISED


@pytest.mark.parametrize(
    ("origin", "allowed", "status"),
    [
        (None, (), 101),
        ("http://{host}", (), 101),
        ("http://elsewhere.example", (), 403),
        ("null", (), 403),
        ("http://[", (), 403),
        ("http://elsewhere.example", ("http://elsewhere.example",), 101),
        ("https://elsewhere.example", ("http://elsewhere.example",), 403),
        ("http://elsewhere.example:81", ("http://elsewhere.example",), 403),
        ("http://{host}", ("http://elsewhere.example",), 403),
        ("http://anybody.example", ("*",), 101),
    ],
)
async def test_a_pages_origin_decides_whether_it_may_connect(origin: str | None, allowed: tuple[str, ...], status: int):
    async with serving(settings(server__origins=allowed), GAME) as app:
        headers = {} if origin is None else {"Origin": origin.format(host=f"127.0.0.1:{app.port}")}
        page = await Visitor.connect(app, **headers)
        assert page.response.status_code == status
        if status == 101:
            await page.hello(name="Ada")
        page.socket.close()


# -- playing -------------------------------------------------------------------------------


async def test_an_input_is_acked_and_seen(app: Everstep):
    ada = await Visitor.join(app)
    x = ada.me("Position.x")
    await ada.until_acked(await ada.input(WALK, 1.0, 0.0))
    await ada.until_seen(lambda _: ada.me("Position.x") >= x + 3)
    await ada.check()


async def test_a_reliable_command_gets_its_receipt_once_it_is_done(app: Everstep):
    ada = await Visitor.join(app)
    seqs = [await ada.input(PAY, n) for n in (10, 20)]
    for seq in seqs:
        if not any(isinstance(m, Receipt) and m.seq == seq for m in ada.log):
            await ada.until(Receipt, lambda m, seq=seq: m.seq == seq)
    await ada.until_seen(lambda _: ada.me("Body.sum") == 30)
    await ada.until_acked(await ada.input(ADD, 1))
    await ada.until_seen(lambda _: ada.me("Body.sum") == 31)
    assert sorted({m.seq for m in ada.log if isinstance(m, Receipt)}) == seqs


async def test_a_repeated_input_counts_once(app: Everstep):
    ada = await Visitor.join(app)
    await ada.send(*[encode_input(seq, ADD, [5]) for seq in (1, 1, 2, 1, 2)])
    ada.seq = 2
    await ada.until_acked(await ada.input(ADD, 1))
    await ada.until_seen(lambda _: ada.me("Body.sum") == 11)
    assert not [m for m in ada.log if isinstance(m, Error)]


async def test_what_is_said_is_heard_by_those_who_see_it_and_by_those_it_concerns(app: Everstep):
    ada, bob, far = [await Visitor.join(app) for _ in range(3)]
    await far.until_acked(await far.input(JUMP, WEST + 2.0, NORTH + 2.0))
    await far.until_seen(lambda _: far.me("Position.x") == WEST + 2.0)
    await far.check()
    await ada.input(SHOUT, "hé")
    heard = await bob.until(Event)
    assert (heard.region, heard.event, heard.args) == (REGION, SAID, (ada.handle, "hé"))
    await ada.until(Event, lambda m: m.event == TOLD)
    await far.check()
    assert not [m for m in far.log if isinstance(m, Event)]
    assert not [m for m in bob.log if isinstance(m, Event) and m.event == TOLD]


async def test_pong_tells_the_tick_and_the_rate(app: Everstep):
    ada = await Visitor.join(app)
    await ada.send(encode_ping(1500.5))
    before = app.machine.tick
    pong = await ada.until(Pong)
    assert pong.client_time == 1500.5
    assert before <= pong.tick <= app.machine.tick
    assert pong.micros >= 0
    assert 0 < pong.rate_mhz <= 60_000
    await ada.send(encode_ping(-(2**53)))
    assert (await ada.until(Pong)).client_time == -(2**53)
    # Before HELLO, too.
    stranger = await Visitor.connect(app)
    await stranger.send(encode_ping(0))
    assert (await stranger.until(Pong)).client_time == 0


async def test_leave_takes_the_entity_at_once_and_says_goodbye(app: Everstep):
    ada, bob = await Visitor.join(app), await Visitor.join(app)
    await bob.until_seen(lambda view: ada.handle in view)
    await ada.send(encode_leave())
    assert await ada.until_closed() == Closed(1000, "goodbye")
    assert [m for m in ada.log if isinstance(m, Bye)] == [Bye(1000, "goodbye")]
    await bob.until_seen(lambda view: ada.handle not in view)
    await bob.check()
    assert owned(app) == 1
    await until(lambda: len(app.gateway.sessions) == len(app.gateway.sockets) == 1)


async def test_leave_before_welcome_leaves_nobody_behind(app: Everstep):
    ghost = await Visitor.connect(app)
    await ghost.send(encode_hello(name="Ghost"), encode_leave())
    assert (await ghost.until_closed()).code == 1000
    bob = await Visitor.join(app)
    await bob.check()
    assert (owned(app), len(app.gateway.sessions)) == (1, 1)


async def test_one_whom_the_game_removes_is_told_so(app: Everstep):
    ada = await Visitor.join(app)
    await ada.input(VANISH)
    assert (await ada.until_closed()).code == CloseCode.REMOVED
    assert app.gateway.sessions == {}


async def test_a_full_world_says_so():
    async with serving(settings(world__entities_max=42), glade(41)) as app:
        await Visitor.join(app)
        late = await Visitor.connect(app)
        await late.send(encode_hello())
        assert (await late.until_closed()).code == CloseCode.FULL
        assert len(app.gateway.sessions) == 1


async def test_a_server_that_stops_tells_everyone():
    async with Everstep(settings(), GAME) as app:
        visitors = [await Visitor.join(app) for _ in range(3)] + [await Visitor.connect(app)]
    for visitor in visitors:
        assert await visitor.until_closed() == Closed(1001, "the server is stopping")
        assert visitor.log[-1] == Bye(1001, "the server is stopping")


# -- what must not be said ---------------------------------------------------------------------


class Witness:
    """Plays and reads beside an offender, walking, so that something changes for it in every tick."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor
        self._done = False
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        # Not cancelled, for that would lose what was just read: the next tick's DELTA ends it.
        while not self._done:
            await self.visitor.receive()

    async def noticed_nothing(self) -> None:
        """Its DELTAs came with every tick, and its view is right."""
        self._done = True
        await self._reading
        await self.visitor.check()
        ticks = [m.tick_low7 for m in self.visitor.log if isinstance(m, Delta)]
        gaps = {(b - a) & 127 for a, b in pairwise(ticks)}
        assert gaps <= {0, 1}, "a tick's DELTA did not come"
        assert len([m for m in self.visitor.log if isinstance(m, Keyframe)]) == 1
        assert not [m for m in self.visitor.log if isinstance(m, Error)]


async def witness(app: Everstep) -> Witness:
    visitor = await Visitor.join(app, name="Witness")
    await visitor.until_acked(await visitor.input(WALK, 0.5, 0.25))
    await visitor.until(Delta)
    visitor.log = [m for m in visitor.log if not isinstance(m, Delta)]
    return Witness(visitor)


STRICT = {
    "gateway__malformed_max": 3,
    "gateway__flood_strikes_max": 10,
    "gateway__inputs_burst": 20,
    "gateway__inputs_per_s": 5.0,
    "gateway__frame_bytes_max": 512,
}


def packed(*parts: Any) -> bytes:
    data: bytes = msgpack.packb(list(parts))
    return data


WRONG = {
    "a second HELLO": (encode_hello(), ErrorCode.OUT_OF_ORDER),
    "garbage": (b"\xc1\xff\x00", ErrorCode.MALFORMED),
    "nothing": (b"", ErrorCode.MALFORMED),
    "a truncated message": (encode_input(1, WALK, [0.5, 0.5])[:-3], ErrorCode.MALFORMED),
    "two messages in one": (encode_check() * 2, ErrorCode.MALFORMED),
    "an unknown type": (packed(99), ErrorCode.UNKNOWN),
    "a server's message": (packed(19, 5), ErrorCode.UNKNOWN),
    "an unknown command": (encode_input(1, 4000, []), ErrorCode.UNKNOWN),
    "an engine's command": (encode_input(1, 1, ["x", "y"]), ErrorCode.UNKNOWN),
    "another engine's command": (encode_input(1, 2, []), ErrorCode.UNKNOWN),
    "not a number": (encode_input(1, WALK, [math.nan, 0.0]), ErrorCode.INVALID_ARGUMENT),
    "infinity": (encode_input(1, JUMP, [math.inf, 0.0]), ErrorCode.INVALID_ARGUMENT),
    "a number out of range": (encode_input(1, WALK, [1.5, 0.0]), ErrorCode.INVALID_ARGUMENT),
    "text for a number": (encode_input(1, WALK, ["1", 0.0]), ErrorCode.INVALID_ARGUMENT),
    "a bool for a number": (encode_input(1, ADD, [True]), ErrorCode.INVALID_ARGUMENT),
    "an argument too few": (encode_input(1, WALK, [1.0]), ErrorCode.INVALID_ARGUMENT),
    "sequence number 0": (encode_input(0, WALK, [0.0, 0.0]), ErrorCode.INVALID_ARGUMENT),
    "a sequence number past 32 bits": (encode_input(2**32, WALK, [0.0, 0.0]), ErrorCode.INVALID_ARGUMENT),
    "a text too long": (encode_input(1, SHOUT, ["x" * 41]), ErrorCode.INVALID_ARGUMENT),
    "a control character": (encode_input(1, SHOUT, ["a\nb"]), ErrorCode.INVALID_ARGUMENT),
    "a time that is no number": (packed(3, math.nan), ErrorCode.INVALID_ARGUMENT),
    "a map": (packed(2, 1, WALK, [{1: 2}, 0]), ErrorCode.MALFORMED),
    "nesting": (b"\x91" * 500, ErrorCode.MALFORMED),
}


async def test_every_wrong_message_gets_its_typed_error_and_nobody_else_notices():
    async with serving(
        settings(**{**STRICT, "gateway__malformed_max": 100, "gateway__inputs_burst": 200}), GAME
    ) as app:
        beside = await witness(app)
        ada = await Visitor.join(app)
        for wrong, (data, code) in WRONG.items():
            await ada.send(data)
            error = await ada.until(Error)
            assert error.code == code, f"{wrong}: {error}"
            assert len(error.text.encode()) <= 120
        # It plays on, and nothing of all that had an effect.
        await ada.until_acked(await ada.input(ADD, 3))
        await ada.until_seen(lambda _: ada.me("Body.sum") == 3)
        await ada.check()
        await beside.noticed_nothing()


async def test_an_error_names_the_input_it_answers(app: Everstep):
    ada = await Visitor.join(app)
    await ada.send(encode_input(7, WALK, [9.0, 0.0]), encode_ping(math.nan))
    assert [(await ada.until(Error)).seq for _ in range(2)] == [7, None]


@pytest.mark.parametrize(
    "early", [encode_input(1, WALK, [0.0, 0.0]), encode_check(), encode_leave()], ids=["INPUT", "CHECK", "LEAVE"]
)
async def test_what_comes_before_hello_is_out_of_order_and_hello_still_counts(app: Everstep, early: bytes):
    ada = await Visitor.connect(app)
    await ada.send(early)
    assert (await ada.until(Error)).code == ErrorCode.OUT_OF_ORDER
    await ada.hello(name="Ada")
    await ada.check()


async def malformed(app: Everstep) -> Visitor:
    ada = await Visitor.join(app)
    await ada.send(*[b"\xc1"] * 4)
    return ada


async def malformed_before_hello(app: Everstep) -> Visitor:
    ada = await Visitor.connect(app)
    await ada.send(*[encode_check()] * 4)
    return ada


async def malformed_with_a_long_name(app: Everstep) -> Visitor:
    ada = await Visitor.join(app)
    await ada.send(*[encode_input(1, LONG_WINDED, [2.0])] * 4)
    return ada


async def flood(app: Everstep) -> Visitor:
    ada = await Visitor.join(app)
    await ada.send(*[encode_input(n, WALK, [0.0, 0.0]) for n in range(1, 60)])
    return ada


async def ping_flood(app: Everstep) -> Visitor:
    ada = await Visitor.join(app)
    await ada.send(*[encode_ping(0)] * 60)
    return ada


async def old_version(app: Everstep) -> Visitor:
    ada = await Visitor.connect(app)
    await ada.send(packed(1, 2, "whatever", {}))
    return ada


async def version_of_tomorrow(app: Everstep) -> Visitor:
    ada = await Visitor.connect(app)
    await ada.send(encode_hello(version=2))
    return ada


async def bad_token(app: Everstep) -> Visitor:
    ada = await Visitor.connect(app)
    await ada.send(encode_hello(token="no.such.token"))
    return ada


async def deep_token(app: Everstep) -> Visitor:
    ada = await Visitor.connect(app)
    await ada.send(encode_hello(token="W1tb" * 50 + ".e30.AAAA"))
    return ada


async def oversize(app: Everstep) -> Visitor:
    ada = await Visitor.join(app)
    await ada.send(b"x" * 513)
    return ada


async def text(app: Everstep) -> Visitor:
    ada = await Visitor.join(app)
    await ada.send_raw(b"\x81\x82\0\0\0\0hi")
    return ada


async def unmasked(app: Everstep) -> Visitor:
    ada = await Visitor.join(app)
    await ada.send_raw(b"\x82\x01\x04")
    return ada


OFFENCES = [
    (malformed, CloseCode.PROTOCOL),
    (malformed_before_hello, CloseCode.PROTOCOL),
    (malformed_with_a_long_name, CloseCode.PROTOCOL),
    (flood, CloseCode.FLOOD),
    (ping_flood, CloseCode.FLOOD),
    (version_of_tomorrow, CloseCode.VERSION),
    (bad_token, CloseCode.UNAUTHORISED),
    (deep_token, CloseCode.UNAUTHORISED),
    (oversize, CloseCode.TOO_BIG),
    (text, CloseCode.UNSUPPORTED),
    (unmasked, 1002),
]


@pytest.mark.parametrize(("offence", "code"), OFFENCES, ids=[offence.__name__ for offence, _ in OFFENCES])
async def test_an_offence_closes_with_its_code_and_nobody_else_notices(
    offence: Callable[[Everstep], Awaitable[Visitor]], code: int
):
    async with serving(settings(**STRICT), GAME) as app:
        beside = await witness(app)
        offender = await offence(app)
        closed = await offender.until_closed()
        assert closed.code == code
        if code not in (1002, 1009):
            bye = offender.log[-1]
            assert isinstance(bye, Bye)
            assert (bye.code, bye.text) == (code, closed.reason)
            assert 0 < len(bye.text.encode()) <= 120
        await beside.noticed_nothing()


async def test_a_version_not_spoken_here_is_told_by_its_number_alone(app: Everstep):
    later = await Visitor.connect(app)
    await later.send(packed(1, 9))
    assert (await later.until_closed()).code == CloseCode.VERSION


async def test_a_flood_is_told_at_the_first_second_fourth_and_eighth_strike():
    async with serving(settings(**STRICT), GAME) as app:
        ada = await flood(app)
        await ada.until_closed()
        refused = [m for m in ada.log if isinstance(m, Error)]
        assert {m.code for m in refused} == {ErrorCode.RATE_EXCEEDED}
        # HELLO took the first token of twenty.
        assert [m.seq - 19 for m in refused] == [1, 2, 4, 8]


async def test_one_burst_within_the_limit_is_no_flood():
    async with serving(settings(**STRICT), GAME) as app:
        ada = await Visitor.join(app)
        await ada.send(*[encode_input(n, ADD, [1]) for n in range(1, 18)])
        await ada.until_acked(17)
        await ada.until_seen(lambda _: ada.me("Body.sum") == 17)
        assert not [m for m in ada.log if isinstance(m, Error)]


# Each is refused from its fifth reliable command on.
TIGHT = {
    "receipts": {"gateway__receipts_max": 4},
    # HELLO takes the first token.
    "rate": {"gateway__inputs_burst": 5, "gateway__inputs_per_s": 0.01},
}


@pytest.mark.parametrize("limits", TIGHT.values(), ids=TIGHT.keys())
async def test_a_reliable_command_that_is_too_much_is_not_passed_over(limits):
    async with serving(settings(**limits), GAME) as app:
        first = await Visitor.join(app)
        await first.send(*[encode_input(n, PAY, [1]) for n in range(1, 8)])
        closed = await first.until_closed()
        assert closed.code == CloseCode.FLOOD
        assert "not passed over" in closed.reason
        # Nothing that came after it was taken, so all of it is still to come, under its old numbers.
        back = await Visitor.connect(app)
        welcome = await back.hello(resume=first.welcome.resume)
        assert welcome.resumed
        await back.send(*[encode_input(n, PAY, [1]) for n in range(5, 8)])
        await back.until_seen(lambda _: back.me("Body.sum") == 7)
        await back.until(Receipt, lambda m: m.seq == 7)


# -- limits of connections and of time -----------------------------------------------------------


async def test_connections_from_one_address_are_limited_and_the_others_play_on():
    limited = settings(gateway__connections_per_address_max=2, gateway__loopback_exempt=False)
    async with serving(limited, GAME) as app:
        beside = await witness(app)
        second = await Visitor.join(app)
        third = await Visitor.connect(app)
        assert (await third.until_closed()).code == CloseCode.ADDRESS_LIMIT
        await beside.noticed_nothing()
        await second.send(encode_leave())
        await second.until_closed()
        await until(lambda: len(app.gateway.sockets) == 1)
        await Visitor.join(app)


async def test_connections_are_limited_and_a_hello_on_the_heels_does_not_slip_in():
    async with serving(settings(gateway__connections_max=1), GAME) as app:
        beside = await witness(app)
        for heels in (b"", hello_frame()):
            late = await Visitor.connect(app, heels=heels)
            assert (await late.until_closed()).code == CloseCode.FULL
        await beside.noticed_nothing()
        assert (len(app.gateway.sessions), owned(app)) == (1, 1)


def hello_frame() -> bytes:
    return masked(encode_hello(name="Eve"))


async def test_no_hello_in_time_closes():
    async with serving(settings(gateway__handshake_timeout_s=0.2), GAME) as app:
        silent, pinging = await Visitor.connect(app), await Visitor.connect(app)
        await pinging.send(encode_ping(1))
        for visitor in (silent, pinging):
            assert (await visitor.until_closed()).code == CloseCode.HANDSHAKE_TIMEOUT


async def test_silence_closes_and_pings_keep_awake():
    async with serving(settings(gateway__idle_timeout_s=1.5), GAME) as app:
        silent, awake = await Visitor.join(app), await Visitor.join(app)
        closing = asyncio.create_task(silent.until_closed())
        while not closing.done():
            await awake.send(encode_ping(0))
            await awake.until(Pong)
            await awake.until(Delta)
        assert closing.result().code == CloseCode.IDLE_TIMEOUT
        await awake.check()
        # Its entity waits: who fell silent may resume.
        assert app.gateway.sessions[silent.welcome.session].state is SessionState.RESUMING


# -- coming back ------------------------------------------------------------------------------------


async def test_one_whose_wire_broke_returns_to_the_same_entity(app: Everstep):
    beside = await witness(app)
    ada = await Visitor.join(app, name="Ada")
    seq = [await ada.input(ADD, n) for n in (1, 2, 3)][-1]
    await ada.until_acked(seq)
    first = ada.welcome
    ada.abort()
    await until(lambda: beside.visitor.view.value(first.entity[1], "Body.away") == 1)
    back = await Visitor.connect(app)
    welcome = await back.hello(resume=first.resume)
    assert (welcome.session, welcome.entity, welcome.name) == (first.session, first.entity, "Ada")
    assert (welcome.resumed, welcome.ack) == (True, 3)
    assert welcome.resume != first.resume
    order = [type(m) for m in back.log if not isinstance(m, Ack | Receipt)]
    assert order[:2] == [Welcome, Keyframe]
    # Inputs sent again are not applied again; the next one is.
    await back.send(*[encode_input(n, ADD, [n]) for n in (2, 3, 4)])
    await back.until_acked(4)
    await back.until_seen(lambda _: back.me("Body.sum") == 10)
    await until(lambda: beside.visitor.view.value(first.entity[1], "Body.away") == 0)
    await back.check()
    await beside.noticed_nothing()


async def test_a_spent_token_is_refused_and_a_fresh_hello_on_the_same_wire_works(app: Everstep):
    ada = await Visitor.join(app)
    spent = ada.welcome.resume
    ada.abort()
    back = await Visitor.connect(app)
    await back.hello(resume=spent)
    # The newer token is in use once something was said after it came.
    await back.until_acked(await back.input(ADD, 1))
    late = await Visitor.connect(app)
    for resume in (spent, "nonsense", "a.b.c"):
        await late.send(encode_hello(resume=resume))
        assert (await late.until(Error)).code == ErrorCode.RESUME_FAILED
    welcome = await late.hello(name="Late")
    assert (welcome.resumed, welcome.ack) == (False, 0)
    assert welcome.entity != back.welcome.entity
    await late.check()
    await back.check()


async def test_a_token_stays_good_while_every_welcome_that_brings_a_newer_one_is_lost(app: Everstep):
    ada = await Visitor.join(app)
    ada.abort()
    for _ in range(3):
        # Nothing shows that it had its WELCOME.
        back = await Visitor.connect(app)
        assert (await back.hello(resume=ada.welcome.resume)).resumed
        back.abort()
    last = await Visitor.connect(app)
    assert (await last.hello(resume=back.welcome.resume)).session == ada.welcome.session
    await last.check()


async def test_a_second_connection_with_the_token_replaces_the_first(app: Everstep):
    first = await Visitor.join(app)
    second = await Visitor.connect(app)
    await second.hello(resume=first.welcome.resume)
    assert (await first.until_closed()).code == CloseCode.REPLACED
    assert second.welcome.entity == first.welcome.entity
    await second.until_acked(await second.input(ADD, 9))
    await second.until_seen(lambda _: second.me("Body.sum") == 9)
    assert second.me("Body.away") == 0
    await second.check()
    assert len(app.gateway.sessions) == 1


async def test_a_world_that_starts_again_knows_its_players():
    ours = settings(auth__jwt_secret=SECRET, auth__resume_secret=SECRET)
    async with serving(ours, GAME) as app:
        ada, bob = await Visitor.join(app, name="Ada"), await Visitor.join(app, token=token("bob"))
        await ada.until_acked([await ada.input(ADD, n) for n in (1, 2, 3)][-1])
        state, before, his = app.machine.capture(), ada.welcome, bob.welcome
    again = Everstep(ours, GAME)
    again.machine.adopt(state)
    async with again:
        back = await Visitor.connect(again)
        welcome = await back.hello(resume=before.resume)
        assert (welcome.session, welcome.entity, welcome.name) == (before.session, before.entity, "Ada")
        assert (welcome.resumed, welcome.ack) == (True, 3)
        # An input sent again is not applied again; the next one is.
        await back.send(*[encode_input(n, ADD, [n]) for n in (3, 4)])
        await back.until_acked(4)
        await back.until_seen(lambda _: back.me("Body.sum") == 10)
        # An account finds its entity without a resume token.
        again_bob = await Visitor.join(again, token=token("bob"))
        assert (again_bob.welcome.session, again_bob.welcome.entity) == (his.session, his.entity)
        await back.check()
        while Visitor.opened:
            Visitor.opened.pop().close()


async def test_an_accounts_second_login_takes_its_session_over():
    async with serving(settings(auth__jwt_secret=SECRET), GAME) as app:
        first = await Visitor.join(app, token=token("ada"))
        other = await Visitor.join(app, token=token("bob"))
        second = await Visitor.join(app, token=token("ada"))
        assert (await first.until_closed()).code == CloseCode.REPLACED
        assert second.welcome.entity == first.welcome.entity
        assert second.welcome.session == first.welcome.session
        await second.check()
        await other.check()
        assert owned(app) == 2


async def test_a_token_that_another_gateway_gave_opens_a_session_that_was_not_heard_to_have_gone_there(app: Everstep):
    ada = await Visitor.join(app)
    first = ada.welcome
    ada.abort()
    # She went on at another gateway, which broke too; nobody told this one.
    elsewhere = app.front.auth.resume_token(first.session, 12345, 1)
    for _ in range(2):
        # The first WELCOME may have been lost.
        back = await Visitor.connect(app)
        welcome = await back.hello(resume=elsewhere)
        assert (welcome.session, welcome.resumed) == (first.session, True)
        back.abort()
    again = await Visitor.connect(app)
    await again.hello(resume=welcome.resume)
    await again.until_acked(await again.input(ADD, 1))
    late = await Visitor.connect(app)
    for spent in (elsewhere, welcome.resume, first.resume):
        await late.send(encode_hello(resume=spent))
        assert (await late.until(Error)).code == ErrorCode.RESUME_FAILED


async def test_while_other_gateways_keys_may_be_unknown_nobody_is_told_that_a_session_is_over(app: Everstep):
    app.front.auth.trust(["ours" * 8], all_known=False)
    late = await Visitor.connect(app)
    theirs = Authenticator(guests=True, jwt_secret="", jwt_algorithms=(), resume_secret="theirs" * 8)
    await late.send(encode_hello(resume=theirs.resume_token(7, 1, 2)))
    assert (await late.until_closed()).code == CloseCode.INTERNAL
    app.front.auth.trust(["ours" * 8], all_known=True)
    late = await Visitor.connect(app)
    await late.send(encode_hello(resume=theirs.resume_token(7, 1, 2)))
    assert (await late.until(Error)).code == ErrorCode.RESUME_FAILED


async def test_who_does_not_return_within_the_grace_time_is_gone():
    async with serving(settings(gateway__grace_s=0.3), GAME) as app:
        ada, bob = await Visitor.join(app), await Visitor.join(app)
        await bob.until_seen(lambda view: ada.handle in view)
        ada.abort()
        await bob.until_seen(lambda view: ada.handle not in view)
        assert owned(app) == 1
        late = await Visitor.connect(app)
        await late.send(encode_hello(resume=ada.welcome.resume))
        assert (await late.until(Error)).code == ErrorCode.RESUME_FAILED


async def test_a_wire_that_breaks_while_joining_leaves_an_entity_that_waits_and_goes():
    async with serving(settings(gateway__grace_s=0.3), GAME) as app:
        ghost = await Visitor.connect(app)
        await ghost.send(encode_hello(name="Ghost"))
        ghost.abort()
        bob = await Visitor.join(app)
        await bob.until_seen(lambda _: owned(app) == 1 and len(app.gateway.sessions) == 1)
        await bob.check()


async def test_an_account_that_joins_while_its_last_wire_broke_joining_is_not_away():
    async with serving(settings(auth__jwt_secret=SECRET, world__tick_rate_hz=10), GAME) as app:
        ghost = await Visitor.connect(app)
        await ghost.send(encode_hello(token=token("ada")))
        await until(lambda: len(app.gateway.sessions) == 1)
        ghost.abort()
        (session,) = app.gateway.sessions.values()
        await until(lambda: session.socket is None)
        ada = await Visitor.join(app, token=token("ada"))
        await ada.until(Delta)
        assert ada.welcome.session == session.id
        assert ada.me("Body.away") == 0
        await ada.check()


async def test_who_was_closed_for_a_flood_starts_anew_when_it_resumes():
    async with serving(settings(**STRICT), GAME) as app:
        ada = await flood(app)
        assert (await ada.until_closed()).code == CloseCode.FLOOD
        back = await Visitor.connect(app)
        await back.hello(resume=ada.welcome.resume)
        await back.send(*[encode_ping(0)] * 24, b"\xc1")
        assert (await back.until(Error, lambda m: m.code == ErrorCode.MALFORMED)).code == ErrorCode.MALFORMED
        await back.until(Delta)
        assert back.protocol.close_rcvd is None


async def test_welcome_comes_though_a_websocket_ping_came_with_the_hello(app: Everstep):
    ada = await Visitor.join(app)
    ada.abort()
    back = await Visitor.connect(app)
    hello = encode_hello(resume=ada.welcome.resume)
    await back.send_raw(masked(b"are you there", 9) + masked(hello))
    assert (await back.until(Welcome)).resumed
    await back.until(Keyframe)
    await back.check()


async def test_an_error_of_the_servers_own_closes_that_connection_alone(app: Everstep, monkeypatch: pytest.MonkeyPatch):
    beside = await witness(app)
    ada = await Visitor.join(app)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(app.gateway.router, "say", broken)
    await ada.input(ADD, 1)
    assert (await ada.until_closed()).code == CloseCode.INTERNAL
    monkeypatch.undo()
    await beside.noticed_nothing()


# -- those who do not read ------------------------------------------------------------------------------


def crowded() -> dict[str, Any]:
    """So much to see, and so small buffers, that one who does not read stalls at once."""
    return {"gateway__send_buffer_bytes": 32_768, "view__near_cells": 3, "view__far_cells": 3}


async def stalled(app: Everstep) -> tuple[Visitor, Any]:
    """A visitor that stopped reading and is known to lag; its session."""
    slow = await Visitor.join(app, receive_bytes=4096)
    session = app.gateway.sessions[slow.welcome.session]
    await until(lambda: session.state is SessionState.LAGGING)
    return slow, session


async def test_one_who_stops_reading_is_skipped_and_gets_a_fresh_view_when_it_reads_again():
    async with serving(settings(**crowded()), glade(600, spread=0.3)) as app:
        beside = await witness(app)
        slow, session = await stalled(app)
        transport = session.socket.transport
        held, skipped = transport.get_write_buffer_size(), only_stream(app).frames_skipped
        tick = app.machine.tick
        seqs = [await slow.input(ADD, 1) for _ in range(3)]
        await until(lambda: app.machine.tick > tick + 60)
        # Skipped, not queued: what waits is the rest of one write.
        assert 0 < transport.get_write_buffer_size() <= held < 64_000
        assert only_stream(app).frames_skipped >= skipped + 60
        assert len(session.outbox) <= 64
        keyframes = sum(isinstance(m, Keyframe) for m in slow.log)
        await slow.until(Keyframe)
        assert sum(isinstance(m, Keyframe) for m in slow.log) == keyframes + 1
        await slow.until_acked(seqs[-1])
        await slow.until_seen(lambda _: slow.me("Body.sum") == 3)
        await slow.check()
        await beside.noticed_nothing()


async def test_one_who_sends_and_never_reads_is_not_answered_without_bound():
    async with serving(settings(**crowded(), gateway__inputs_per_s=5000.0), glade(600, spread=0.3)) as app:
        slow, session = await stalled(app)
        transport = session.socket.transport
        held = transport.get_write_buffer_size()
        for _ in range(20):
            await slow.send(*[encode_ping(1)] * 20)
            tick = app.machine.tick
            await until(lambda tick=tick: app.machine.tick > tick)
        assert transport.get_write_buffer_size() <= held
        assert len(session.outbox) <= 64


async def test_one_who_never_reads_again_is_closed_with_a_code_that_says_why_and_forgotten():
    lag = settings(**crowded(), gateway__lag_timeout_s=0.2, gateway__grace_s=0.1)
    async with serving(lag, glade(600, spread=0.3)) as app:
        beside = await witness(app)
        slow, session = await stalled(app)
        socket = session.socket
        await until(lambda: socket not in app.gateway.sockets or session.state is SessionState.CLOSED)
        assert 'everstep_disconnects_total{cause="too_slow"} 1.0' in app.metrics.render().decode()
        await until(lambda: len(app.gateway.sockets) == 1 and len(app.gateway.sessions) == 1)
        slow.socket.close()
        await beside.noticed_nothing()


async def test_who_lagged_too_long_can_resume():
    async with serving(settings(**crowded(), gateway__lag_timeout_s=0.2), glade(600, spread=0.3)) as app:
        slow, session = await stalled(app)
        await until(lambda: session.state is SessionState.RESUMING)
        back = await Visitor.connect(app)
        welcome = await back.hello(resume=slow.welcome.resume)
        assert welcome.resumed
        await back.check()
        slow.socket.close()


async def test_many_checks_are_one_question(app: Everstep):
    ada = await Visitor.join(app)
    await ada.send(*[encode_check()] * 5)
    await ada.until(ViewDigest)
    await ada.check()
    assert sum(isinstance(m, ViewDigest) for m in ada.log) == 2


async def test_no_task_or_session_outlives_its_connection(app: Everstep):
    for _ in range(10):
        ada = await Visitor.join(app)
        await ada.send(encode_leave())
        await ada.until_closed()
    await until(lambda: not app.gateway.sockets)
    assert (app.gateway.sessions, app.gateway._by_player, only_stream(app).viewers) == ({}, {}, [])
    assert not app.gateway._addresses
