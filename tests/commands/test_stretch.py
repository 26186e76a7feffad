"""A stretch of the past, read as a client reads it, is what was."""

import io
import struct

import msgpack
import pytest

from clients.python.view import Layouts, View
from protocol.codec import decode_server
from protocol.messages import Delta, Event, Keyframe, RegionInfo
from protocol.schema import Schema
from server.commands.kept import opened
from server.commands.replay import entity
from server.commands.stretch import END, HEADER, INPUTS, KEYFRAME_EVERY_TICKS, Window, inspect_reach, write_stretch
from server.store.errors import StoreError
from tests.commands.conftest import committed
from tests.support.life import SESSIONS, SHARD, live
from tests.support.pasture import GAME

# Position's step on the wire.
STEP = 1 / 64


@pytest.fixture
async def kept(life, data, settings):
    # Into the time when everybody is idle, and out of it.
    await live(life, 60)
    await committed(life)
    async with opened(data, GAME, settings) as kept:
        yield kept


class Film:
    """A stretch as it is read: messages in order, and the view at each tick."""

    def __init__(self, data):
        self.messages, at = [], 0
        while at < len(data):
            (size,) = struct.unpack_from("<I", data, at)
            self.messages.append(data[at + 4 : at + 4 + size])
            at += 4 + size
        trees = [msgpack.unpackb(m) for m in self.messages]
        assert [t[0] for t in (trees[0], trees[-1])] == [HEADER, END]
        self.info, self.end = trees[0][1], trees[-1]
        self.inputs = {t[1]: t[2] for t in trees if t[0] == INPUTS}
        self.events = []
        # Tick -> handle -> what is seen of it.
        self.views, self.keyframes = {}, {}
        region = RegionInfo(**self.info["region"])
        layouts = Layouts(Schema.from_wire(self.info["schema"]), region.handle)
        view = None
        for message in self.messages:
            if message[1] >= HEADER:
                continue
            decoded = decode_server(message)
            if isinstance(decoded, Keyframe):
                fresh = View(layouts, region)
                fresh.keyframe(decoded)
                self.keyframes[decoded.tick] = shown(fresh)
                view = view or fresh
            elif isinstance(decoded, Delta):
                view.delta(decoded)
            elif isinstance(decoded, Event):
                self.events.append((view.tick, self.info["schema"]["events"][decoded.event]["name"], decoded.args))
            self.views[view.tick] = shown(view)


def shown(view):
    found = {}
    for handle in view.entities:
        names = ("Position.x", "Position.y", "Body.wool", "Body.name")
        values = [
            view.value(handle, n) if n in view.layouts.fields[view.entities[handle].archetype] else None for n in names
        ]
        found[handle] = (view.archetype(handle), *values)
    return found


def was(machine):
    """What there was to see, from the columns themselves."""
    found = {}
    for row in range(machine.world.high_water):
        if machine.world.alive[row] and "Position" in (e := entity(machine.world, row)):
            body = e.get("Body", {})
            found[row] = (e["archetype"], *e["Position"].values(), body.get("wool"), body.get("name"))
    return found


def same(seen, there):
    assert seen.keys() == there.keys()
    for handle, (kind, x, y, *rest) in seen.items():
        there_kind, there_x, there_y, *there_rest = there[handle]
        assert (kind, rest) == (there_kind, there_rest)
        assert abs(x - there_x) <= STEP / 2
        assert abs(y - there_y) <= STEP / 2


async def film(kept, begin, end, window=None, bytes_max=2**20):
    out = io.BytesIO()
    await write_stretch(kept, None, begin, end, out, window=window, bytes_max=bytes_max)
    return Film(out.getvalue())


@pytest.mark.parametrize("begin", [40, 41, 88, 90])
async def test_every_tick_of_a_stretch_is_what_was(life, kept, begin):
    end = begin + 75
    seen = await film(kept, begin, end)
    assert list(seen.views) == list(range(begin, end + 1))
    assert seen.end == [END, end, f"{life.digests[end]:016x}"]
    for tick in range(begin, end + 1, 5):
        machine, _ = await kept.at(SHARD, tick)
        same(seen.views[tick], was(machine))
    assert len({repr(v) for v in seen.views.values()}) > 20, "it moved"


async def test_a_reader_can_begin_at_any_keyframe(kept):
    seen = await film(kept, 40, 170)
    assert list(seen.keyframes) == [40, 40 + KEYFRAME_EVERY_TICKS, 40 + 2 * KEYFRAME_EVERY_TICKS]
    assert all(seen.views[tick] == there for tick, there in seen.keyframes.items())


async def test_what_players_did_and_what_happened_is_told(kept):
    seen = await film(kept, 40, 60)
    assert list(seen.inputs) == list(range(41, 61))
    said = [(tick, *line) for tick, lines in seen.inputs.items() for line in lines]
    # As tests/support/life.py has them; one of the three was culled before.
    moves = [line for line in said if line[5] == "Move"]
    assert len(moves) > 10
    for tick, session, *_, arguments in moves:
        assert (session, arguments) == (SESSIONS[tick % 3], {"x": float(tick % 90), "y": 20.0})
    assert {(name, account) for _, _, _, name, account, _, _ in said} == {("Ada", "account")}
    assert all(line[2] in seen.views[line[0]] for line in moves)
    assert ("Bleated", (48,)) in {(name, args) for tick, name, args in seen.events if tick == 48}
    # Meant for one player alone.
    assert not any(args == ("farewell",) for _, _, args in seen.events)


async def test_a_window_shows_what_is_in_it_as_it_comes_and_goes(kept):
    # Players walk along y = 20, from x = 41 to 89, each every third tick.
    window = Window(60.0, 20.0, 8.0)
    seen = await film(kept, 40, 165, window)
    whole = await film(kept, 40, 165)
    for tick, view in seen.views.items():
        inside = {h: e for h, e in whole.views[tick].items() if abs(e[1] - 60) <= 8 and abs(e[2] - 20) <= 8}
        assert view == inside, tick
    assert all(seen.views[tick] == there for tick, there in seen.keyframes.items())
    crowds = [len(view) for view in seen.views.values()]
    assert min(crowds) < max(crowds)
    assert 0 < len(seen.events) < len(whole.events)


async def test_what_cannot_be_rebuilt_is_refused(kept):
    for begin, end in ((39, 50), (60, 50), (50, 4000)):
        with pytest.raises(StoreError, match=r"40 to 1[78]\d can be rebuilt"):
            await film(kept, begin, end)


async def test_a_stretch_that_is_too_large_is_given_up(kept):
    with pytest.raises(StoreError, match=r"too large: at tick \d+"):
        await film(kept, 40, 170, bytes_max=5000)


async def test_how_far_back_it_reaches_is_told(kept, capsys):
    await inspect_reach(kept)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f'{{"shard":{SHARD},"from":40,"to":1')
    assert line.endswith('"tick_rate_hz":20.0,"x":-32.0,"y":16.0,"width":128.0,"height":128.0}')
