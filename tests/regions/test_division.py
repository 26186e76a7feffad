"""A region divided into four and united again while it is lived in: each entity in exactly one place, whole.

A long module: the state machine at its end plays all that the tests before it do one by one.
"""

from dataclasses import replace

import msgpack
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from server.regions.atlas import Atlas
from server.regions.division import NOTICE_TICKS, Division
from server.regions.frame import RegionSpec
from server.shard.errors import CaptureRefused
from server.shard.mail import FIRST_MAIL, GROUND, Lane
from server.sim import Mail, arg
from tests.support.captures import damaged, frozen
from tests.support.country import Country
from tests.support.march import GAME, SHEEP, SKY, STONE, WALKER, Body, Going, Position, Purse, pay, region

# Two regions beside each other; the quarters of the first but its north-west one, and those of the second.
WEST, EAST = 3, 4
NE, SW, SE = 5, 6, 7
PARTS = (NE, SW, SE)
ATLAS = Atlas.grid(
    RegionSpec(WEST, -64.0, -32.0, 128.0, 64.0, 64, 8.0), columns=2, rows=1, forward_ticks=10_000, split_depth=1
)
# A place in each quarter of the first.
MIDDLES = {WEST: (-48.0, -16.0), NE: (-16.0, -16.0), SW: (-48.0, 16.0), SE: (-16.0, 16.0)}


def make(atlas=ATLAS, game=GAME):
    return lambda number: region(number, atlas=atlas, game=game)


def country(atlas=ATLAS, game=GAME):
    return Country(atlas, make(atlas, game))


def divide(on, number=WEST, *, rounds=NOTICE_TICKS + 3):
    on.tick(number, ("divide", 0, 1, 1))
    for _ in range(rounds):
        on.carry()
        on.round()
    on.carry()


def unite(on, number=WEST, *, rounds=4):
    on.tick(number, ("divide", 0, 1, 0))
    for _ in range(rounds):
        on.carry()
        on.round()
    on.carry()


def put(on, number, x, y, vx=0.0, vy=0.0, session=None, archetype=WALKER):
    """Somebody at this place, who may be played; the number."""
    machine = on.machines[number]
    if session is None:
        row = int(machine.world.spawn(archetype)[0])
    else:
        on.tick(number, ("join", session, 0, b"account", b"Ada"))
        row = int(machine.sessions.rows(np.array([session], np.uint64), machine.world)[0])
    machine.world[Position].x[row], machine.world[Position].y[row] = x, y
    if archetype is WALKER:
        machine.world[Going].vx[row], machine.world[Going].vy[row] = vx, vy
    # What was done by hand is in no journal.
    on.checkpoint(number)
    return int(machine.world.id_of(np.array([row]))[0])


def everywhere(on):
    """A sheep in each quarter of the first region: by the quarter's number."""
    return {quarter: put(on, WEST, *place, archetype=SHEEP) for quarter, place in MIDDLES.items()}


# -- dividing ----------------------------------------------------------------------------


def test_everyone_is_where_the_ground_is_and_whole():
    on = country()
    sheep = everywhere(on)
    player = put(on, WEST, -10.0, 10.0, session=7)
    west = on.machines[WEST]
    on.tick(WEST, ("Go", 7, 9, 0.0, 0.0))
    before = {n: frozen(west.world.extract(west.world.rows_by_id(np.array([n], np.uint64)))) for n in sheep.values()}
    stones = set(west.world.id_of(west.world.rows_of(STONE)).tolist())
    divide(on)
    for quarter, number in sheep.items():
        there, row = on.find(number)
        assert there == quarter
        found = on.machines[there].world.extract(np.array([row]))
        found["@crossings"] -= np.uint32(there != WEST)
        assert frozen(found) == before[number]
    assert on.find(player)[0] == SE
    assert on.players() == {7: 1}
    assert on.machines[SE].high_water(np.array([7], np.uint64)).tolist() == [9]
    found = [m.world.id_of(m.world.rows_of(STONE)).tolist() for n, m in on.machines.items() if n in (WEST, *PARTS)]
    assert sorted(n for numbers in found for n in numbers) == sorted(stones)
    for number in (WEST, *PARTS):
        assert on.machines[number].world.bounds == on.machines[number].division.ground
        assert on.machines[number].division.ground == (
            MIDDLES[number][0] - 16.0,
            MIDDLES[number][1] - 16.0,
            MIDDLES[number][0] + 16.0,
            MIDDLES[number][1] + 16.0,
        )


def test_frames_say_so_before_anybody_goes():
    on = country()
    everywhere(on)
    frames = [on.tick(WEST, ("divide", 0, 1, 1))]
    frames += [on.tick(WEST) for _ in range(NOTICE_TICKS)]
    assert all(f.divided for f in frames)
    assert [bool(f.departed.size) for f in frames] == [False] * NOTICE_TICKS + [True]
    assert sorted(set(frames[-1].departed["destination"].tolist())) == [NE, SW, SE]
    on.carry()
    assert not any(on.tick(part).divided for part in PARTS)
    assert not on.tick(EAST).divided


def test_nothing_is_said_where_nothing_is_divided():
    on = country()
    frame = on.tick(WEST)
    whole, divided = (msgpack.unpackb(replace(frame, divided=d).encode()) for d in (False, True))
    assert divided == [*whole, True]
    assert not frame.divided


def test_who_walks_on_crosses_from_quarter_to_quarter():
    on = country()
    number = put(on, WEST, -48.0, -16.0, session=7)
    divide(on)
    assert on.find(number)[0] == WEST
    visited = []
    for seq, (vx, vy) in enumerate(((4.0, 0.0), (0.0, 4.0), (-4.0, 0.0), (0.0, -4.0)), 1):
        for _ in range(12):
            there = on.find(number)
            orders = {f"r{there[0]}": [("Go", 7, seq, vx, vy)]} if there else {}
            on.round(**orders)
            found = on.find(number)
            if found and (not visited or visited[-1] != found[0]):
                visited.append(found[0])
    # The east takes the west for whole: who comes from there comes to the region first.
    assert visited == [WEST, NE, EAST, WEST, SE, SW, WEST]
    assert on.players() == {7: 1}


def test_who_comes_from_a_region_around_is_sent_on():
    on = country()
    number = put(on, EAST, 5.0, 10.0, vx=-4.0)
    divide(on)
    on.settle()
    for _ in range(8):
        on.round()
    assert on.find(number)[0] in (SE, SW)
    assert on.census()[number] == 1


def test_a_region_that_is_alone_in_its_world_is_divided_as_well():
    alone = Atlas.grid(RegionSpec(WEST, -64.0, -32.0, 64.0, 64.0, 64, 8.0), columns=1, rows=1, split_depth=1)
    number = alone.parts_of(WEST)[-1]
    on = country(alone)
    sheep = put(on, WEST, -10.0, 10.0, archetype=SHEEP)
    divide(on)
    assert on.find(sheep)[0] == number
    unite(on)
    assert on.find(sheep)[0] == WEST


def test_a_part_begins_empty_and_does_nothing():
    def bear(world, tick):
        world.spawn(STONE)

    on = country(game=replace(GAME, systems=(*GAME.systems, bear)))
    for _ in range(5):
        for part in PARTS:
            frame = on.tick(part, ("join", 9, 0, b"", b"Bob"))
            assert [tuple(refusal) for refusal in frame.refused] == [(9, "this part of the region is not in use")]
            assert on.machines[part].world.count == 0
    assert on.machines[WEST].world.count > 0


def test_newcomers_of_a_divided_region_begin_all_over_it():
    on = country()
    divide(on)
    on.tick(WEST, *(("join", session, 0, b"account %d" % session, b"Ada") for session in range(100, 140)))
    west = on.machines[WEST]
    assert west.world.bounds == west.division.ground, "its systems see its own ground"
    began = {int(west.world.id_of(np.array([row]))[0]): row for row in west.world.rows_of(WALKER).tolist()}
    places = {n: (float(west.world[Position].x[row]), float(west.world[Position].y[row])) for n, row in began.items()}
    for _ in range(4):
        on.carry()
        on.round()
    assert on.players() == dict.fromkeys(range(100, 140), 1)
    reach = ATLAS.hysteresis_units
    found = {number: on.find(number)[0] for number in places}
    # Some in every quarter; who began well within one of them is there.
    assert set(found.values()) == set(MIDDLES)
    for number, (x, y) in places.items():
        for quarter, (left, top) in MIDDLES.items():
            if abs(x - left) < 16 - reach and abs(y - top) < 16 - reach:
                assert found[number] == quarter


def test_where_no_region_may_be_divided_none_is():
    atlas = Atlas.grid(RegionSpec(WEST, -64.0, -32.0, 128.0, 64.0, 64, 8.0), columns=2, rows=1)
    on, quiet = country(atlas), country(atlas)
    on.tick(WEST, ("divide", 0, 1, 1))
    quiet.tick(WEST)
    for _ in range(NOTICE_TICKS + 2):
        assert not on.tick(WEST).divided
        quiet.tick(WEST)
    assert on.machines[WEST].digest() == quiet.machines[WEST].digest()


def test_a_world_that_may_be_divided_is_the_same_world():
    whole = Atlas.grid(RegionSpec(WEST, -64.0, -32.0, 128.0, 64.0, 64, 8.0), columns=2, rows=1, forward_ticks=10_000)
    before, after = region(WEST, atlas=whole), region(WEST, atlas=ATLAS)
    assert before.digest() == after.digest()
    after.adopt(before.capture())
    before.adopt(after.capture())


# -- uniting -----------------------------------------------------------------------------


def test_all_come_back_also_what_has_no_place():
    on = country()
    sheep = everywhere(on)
    player = put(on, WEST, -10.0, 10.0, session=7)
    count = on.machines[WEST].world.count
    divide(on)
    sky = int(on.machines[SE].world.spawn(SKY)[0])
    on.machines[SE].world[Body].health[sky] = 33
    sky = int(on.machines[SE].world.id_of(np.array([sky]))[0])
    on.checkpoint(SE)
    unite(on)
    assert {on.find(n)[0] for n in (*sheep.values(), player, sky)} == {WEST}
    assert on.machines[WEST].world[Body].health[on.find(sky)[1]] == 33
    assert on.machines[WEST].world.count == count + 1
    assert on.players() == {7: 1}
    for part in PARTS:
        assert on.machines[part].world.count == 0
        assert on.machines[part].division.ground is None
        assert not on.machines[part].division.capture()
    assert not on.machines[WEST].division.capture()
    assert on.machines[WEST].world.bounds == ATLAS[WEST].bounds
    # What has no place is in nobody's frame.
    numbers = np.concatenate([f.arrived["id"] for f in on.frames[WEST]] + [f.departed["id"] for f in on.frames[SE]])
    assert sky not in numbers.tolist()


def test_an_order_that_is_taken_back_in_time_divides_nothing():
    on = country()
    sheep = everywhere(on)
    divide(on, rounds=NOTICE_TICKS - 3)
    unite(on, rounds=NOTICE_TICKS)
    assert {on.find(n)[0] for n in sheep.values()} == {WEST}
    assert not any(f.departed.size for f in on.frames[WEST])


def test_a_command_that_came_too_late_for_a_part_counts_where_its_player_goes():
    """In the tick in which somebody comes into a part that has lost its ground, it can't be sent off yet."""
    on = country()
    number = put(on, EAST, 5.0, 10.0, vx=-4.0, session=7)
    on.tick(EAST)
    on.tick(EAST)
    on.tick(EAST)
    # As if the region were divided and the east knew: the letter is for a part that has no ground.
    (letter,) = [x for x in on.machines[EAST].post.unacked() if x.destination == WEST]
    on.letters = [(SE, letter._replace(destination=SE))]
    on.carry()
    on.tick(SE)
    part = on.machines[SE]
    assert on.machines[SE].sessions.ids == {7}
    frame = on.tick(SE, ("Go", 7, 5, 1.0, 1.0), pay(7, 6, 3, number))
    assert frame.acks.size == 0
    (home,) = [x for x in part.post.unacked() if x.destination == WEST]
    on.letters, on.acks = [(WEST, home)], []
    on.carry()
    on.tick(WEST)
    frame = on.tick(WEST, ("Go", 7, 5, 0.0, 0.0), pay(7, 6, 3, number))
    assert frame.acks.tolist() == [(7, 6)]
    assert on.machines[WEST].high_water(np.array([7], np.uint64)).tolist() == [6]


def test_a_division_under_way_lets_nobody_sleep():
    on = country()
    everywhere(on)

    def restless():
        return {number for number, machine in on.machines.items() if machine.restless}

    assert not restless()
    on.tick(WEST, ("divide", 0, 1, 1))
    for _ in range(NOTICE_TICKS):
        assert restless() == {WEST}
        on.tick(WEST)
    assert not restless()
    on.settle()
    assert not restless()
    on.tick(WEST, ("divide", 0, 1, 0))
    on.carry()
    on.machines[SE].world.spawn(SHEEP)
    on.tick(SE)
    assert not restless(), "all left in the tick in which the ground went"
    on.machines[SE].world.spawn(SHEEP)
    assert restless() == {SE}
    on.tick(SE)
    assert not restless()


# -- mail --------------------------------------------------------------------------------


def test_a_burst_from_beyond_reaches_every_part_once():
    on = country()
    sheep = everywhere(on)
    put(on, EAST, 5.0, 0.0, session=7)
    divide(on)
    on.tick(EAST, ("Burst", 7, 1, 100.0))
    on.settle()
    for quarter, number in sheep.items():
        there, row = on.find(number)
        assert there == quarter
        body = on.machines[there].world[Body]
        assert (body.scars[row, 0], body.health[row]) == (1, 93)


def test_a_burst_within_reaches_every_part_once():
    on = country()
    sheep = everywhere(on)
    put(on, WEST, -30.0, 4.0, session=7)
    divide(on)
    assert on.machines[SE].sessions.ids == {7}
    on.tick(SE, ("Burst", 7, 1, 100.0))
    on.settle()
    for number in sheep.values():
        there, row = on.find(number)
        assert on.machines[there].world[Body].scars[row, 0] == 1


def test_mail_finds_who_was_moved_by_a_division_and_back():
    on = country()
    payee = put(on, WEST, -10.0, 10.0)
    put(on, EAST, 20.0, 0.0, session=7)
    divide(on)
    on.tick(EAST, pay(7, 1, 5, payee))
    on.settle()
    there, row = on.find(payee)
    assert (there, int(on.machines[there].world[Purse].coins[row])) == (SE, 105)
    # The letter is for the part, which is no more when it comes.
    on.tick(WEST, ("divide", 0, 1, 0))
    on.carry()
    on.tick(WEST)
    on.tick(EAST, pay(7, 2, 5, payee))
    on.settle()
    there, row = on.find(payee)
    assert (there, int(on.machines[there].world[Purse].coins[row])) == (WEST, 110)


def test_mail_for_whom_a_part_has_borne_finds_it_where_it_was_united_however_long_ago():
    both = RegionSpec(WEST, -64.0, -32.0, 128.0, 64.0, 64, 8.0)
    on = country(Atlas.grid(both, columns=2, rows=1, forward_ticks=5, split_depth=1))
    put(on, EAST, 20.0, 0.0, session=7)
    divide(on)
    payee = put(on, SE, -10.0, 10.0)
    unite(on)
    for _ in range(10):
        on.round()
    on.tick(EAST, pay(7, 1, 5, payee))
    on.settle()
    there, row = on.find(payee)
    assert (there, int(on.machines[there].world[Purse].coins[row])) == (WEST, 105)


def test_a_session_that_leaves_is_followed_into_a_part():
    on = country()
    put(on, WEST, -10.0, 10.0, session=7)
    divide(on)
    on.tick(WEST, ("leave", 7, 0))
    on.settle()
    assert on.players() == {}
    assert not any(m.world.rows_of(WALKER).size for m in on.machines.values())


# -- no room, no way -----------------------------------------------------------------------


def test_who_finds_no_room_when_all_is_one_again_stays_and_comes_later():
    on = country()
    sheep = everywhere(on)
    divide(on)
    west = on.machines[WEST].world
    stones = west.spawn(STONE, west.room)
    west[Position].x[stones], west[Position].y[stones] = MIDDLES[WEST]
    on.checkpoint(WEST)
    unite(on, rounds=8)
    where = {quarter: on.find(number) for quarter, number in sheep.items()}
    assert all(found is None or found[0] in (quarter, WEST) for quarter, found in where.items())
    assert {on.census()[n] for n in sheep.values()} == {1}
    west.despawn(stones)
    on.checkpoint(WEST)
    for _ in range(4):
        on.round()
    on.settle()
    assert {on.find(n)[0] for n in sheep.values()} == {WEST}


def test_a_part_that_can_not_be_told_gets_nobody(monkeypatch):
    monkeypatch.setattr("server.shard.mail.STREAM_LETTERS_MAX", 2)
    on = country()
    sheep = everywhere(on)
    west = on.machines[WEST]
    for _ in range(2):
        west.post.send(SE, Lane.URGENT, GROUND, b"rubbish")
    on.checkpoint(WEST)
    on.tick(WEST, ("divide", 0, 1, 1))
    for _ in range(NOTICE_TICKS + 3):
        frame = on.tick(WEST)
        assert not frame.departed.size
    assert west.division.ground == ATLAS[WEST].bounds
    on.settle()
    for _ in range(4):
        on.round()
    on.settle()
    assert {quarter: on.find(n)[0] for quarter, n in sheep.items()} == {q: q for q in sheep}
    assert len(west.post.dead) == 2


class Parcel(Mail):
    returns = True
    coins: int = arg("u8")


def test_what_comes_back_to_a_part_without_ground_is_its_regions():
    nobody = EAST << 48 | 7 << 20 | 9
    due, back = [], []

    def say(world, tick):
        if world.region == NE and due:
            tick.send(Parcel, to=np.array([due.pop()]), coins=3)

    def listen(world, tick):
        if len(mail := tick.returned(Parcel)):
            back.append((world.region, mail.to.tolist(), mail.coins.tolist()))

    on = country(game=replace(GAME, systems=(listen, say, *GAME.systems), mail=(*GAME.mail, Parcel)))
    divide(on)
    due.append(nobody)
    on.tick(NE)
    parcels = [item for item in on.letters if item[1].destination == EAST]
    on.letters = [item for item in on.letters if item[1].destination != EAST]
    unite(on)
    assert on.machines[NE].division.ground is None
    on.letters += parcels
    on.settle()
    assert back == [(WEST, [nobody], [3])]


def test_only_its_region_gives_a_part_ground():
    on = country()
    on.tick(EAST)
    on.machines[EAST].post.send(SE, Lane.URGENT, GROUND, b"\x01")
    on.machines[WEST].post.send(EAST, Lane.URGENT, GROUND, b"\x01")
    on.settle()
    assert on.machines[SE].division.ground is None
    assert len(on.machines[EAST].post.dead) == len(on.machines[WEST].post.dead) == 1


# -- state -------------------------------------------------------------------------------


def test_a_division_is_state():
    on = country()
    everywhere(on)
    digests = [on.machines[WEST].digest()]
    on.tick(WEST, ("divide", 0, 1, 1))
    digests.append(on.machines[WEST].digest())
    divide(on)
    for number in (WEST, *PARTS):
        machine, other = on.machines[number], region(number, atlas=ATLAS)
        other.adopt(machine.capture())
        assert other.digest() == machine.digest()
        assert frozen(other.capture().arrays) == frozen(machine.capture().arrays)
        assert other.division.ground == machine.division.ground == other.world.bounds
        digests.append(other.digest())
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("number", [WEST, SE])
def test_a_refused_division_changes_nothing(number):
    on = country()
    divide(on)
    whole = on.machines[number].capture()
    machine = region(number, atlas=ATLAS)
    before = frozen(machine.capture().arrays)
    own = {name: a for name, a in whole.arrays.items() if name.startswith("@division.")}
    cases = [(n, a) for n, a in damaged(own) if n not in ("one too many", "@division.state missing")]
    cases.append(("no truth", {"@division.state": own["@division.state"] + 2}))
    for name, arrays in cases:
        if "@division.state" not in arrays:
            continue
        others = {n: a for n, a in whole.arrays.items() if n not in own}
        with pytest.raises(CaptureRefused):
            machine.adopt(replace(whole, arrays={**others, **arrays}))
        assert frozen(machine.capture().arrays) == before, name


def test_a_divided_region_is_refused_where_none_may_be():
    on = country()
    divide(on)
    whole = Atlas.grid(RegionSpec(WEST, -64.0, -32.0, 128.0, 64.0, 64, 8.0), columns=2, rows=1, forward_ticks=10_000)
    with pytest.raises(CaptureRefused, match="split_depth"):
        region(WEST, atlas=whole).adopt(on.machines[WEST].capture())
    unite(on)
    region(WEST, atlas=whole).adopt(on.machines[WEST].capture())


def test_a_part_knows_which_it_is():
    division = Division(ATLAS, SE)
    assert division.whole == WEST
    assert division.family == {WEST, *PARTS}
    assert Division(ATLAS, EAST).family == {EAST, 8, 9, 10}


# -- anything at all ------------------------------------------------------------------------

SITES = [r.id for r in ATLAS.sites]
WHOLE = (WEST, EAST)


class Divided(RuleBasedStateMachine):
    """Walkers and sheep about the middle of a region that is divided and united; they pay each other all the while.

    Letters are lost, repeated and late, and regions die. Nobody is ever lost or doubled, nor what they have, nor a
    coin; and what a region is after its journal is replayed is what it was.
    """

    @initialize(seed=st.integers(0, 2**32))
    def make(self, seed):
        self.country = Country(ATLAS, make(), seed=seed)
        self.everyone, self.sessions = {}, {}
        for number in WHOLE:
            machine = self.country.machines[number]
            rows = np.array([*machine.world.spawn(WALKER, 4), *machine.world.spawn(SHEEP, 4)])
            x0, _, x1, _ = machine.world.bounds
            middle = (x0 + x1) / 2
            machine.world[Position].x[rows] = middle + np.tile([-9.0, 9.0, -9.0, 9.0], 2)
            machine.world[Position].y[rows] = np.tile([-9.0, -9.0, 9.0, 9.0], 2)
            self.country.tick(number, ("join", number, 0, b"account", b"Ada"))
            alive = machine.world.rows(Position, Going)
            machine.world[Body].scars[alive, 1] = np.arange(alive.size) + 20 * number
            numbers = machine.world.id_of(alive).tolist()
            self.everyone |= dict(zip(numbers, machine.world[Body].scars[alive, 1].tolist(), strict=True))
            self.sessions[number] = 1
            self.country.checkpoint(number)
        self.seqs = dict.fromkeys(WHOLE, 0)
        self.orders = 0
        worlds = [self.country.machines[n].world for n in WHOLE]
        self.walkers = [n for w in worlds for n in w.id_of(w.rows_of(WALKER)).tolist()]
        self.coins = self._coins()

    def _coins(self):
        held = sum(int(m.world[Purse].coins[m.world.rows(Purse)].sum()) for m in self.country.machines.values())
        held += sum(int(t.arrays["Purse.coins"].sum()) for t in self.country.under_way())
        letters = self.country.mail(FIRST_MAIL)
        return held + sum(int(np.frombuffer(msgpack.unpackb(x.payload)[5][0], np.uint8).sum()) for x in letters)

    @rule(number=st.sampled_from(WHOLE), divided=st.booleans(), at_once=st.booleans())
    def divide(self, number, divided, at_once):
        self.orders += 1
        self.country.tick(number, ("divide", 0, self.orders, int(divided)))
        if at_once:
            for _ in range(NOTICE_TICKS):
                self.country.tick(number)

    @rule(
        number=st.sampled_from(SITES),
        vx=st.sampled_from([-6.0, 0.0, 6.0]),
        vy=st.sampled_from([-6.0, 0.0, 6.0]),
        ticks=st.integers(1, 4),
        sync=st.booleans(),
    )
    def walk(self, number, vx, vy, ticks, sync):
        orders = []
        for session in self.country.machines[number].sessions.known()["session"].tolist():
            self.seqs[session] += 1
            orders.append(("Go", session, self.seqs[session], vx, vy))
        for _ in range(ticks):
            self.country.tick(number, *orders, sync=sync)
            orders = []

    @rule(session=st.sampled_from(WHOLE), coins=st.integers(1, 9), pick=st.integers(0))
    def pay(self, session, coins, pick):
        """Whoever plays this session pays some walker, who may be anywhere."""
        for number, machine in self.country.machines.items():
            if machine.sessions.find(np.array([session], np.uint64))[0] >= 0:
                self.seqs[session] += 1
                payee = self.walkers[pick % len(self.walkers)]
                self.country.tick(number, pay(session, self.seqs[session], coins, payee))
                return

    @rule(lost=st.sampled_from([0.0, 0.5]), repeated=st.sampled_from([0.0, 0.5]), late=st.sampled_from([0.0, 0.5]))
    def carry(self, lost, repeated, late):
        self.country.carry(lost, repeated, late)

    @rule(times=st.integers(1, 3))
    def go_on(self, times):
        for _ in range(times):
            self.country.round()

    @rule(number=st.sampled_from(SITES))
    def send_again(self, number):
        self.country.send_again(number)

    @rule(number=st.sampled_from(SITES))
    def checkpoint(self, number):
        self.country.checkpoint(number)

    @rule(number=st.sampled_from(SITES), durable=st.booleans())
    def die(self, number, durable):
        if durable:
            self.country.sync(number)
        before = self.country.machines[number].digest()
        self.country.crash(number)
        if durable:
            assert self.country.machines[number].digest() == before, "replay equals live"

    @precondition(lambda self: hasattr(self, "country"))
    @invariant()
    def everyone_is_somewhere_once(self):
        census = self.country.census()
        assert {n: census[n] for n in self.everyone} == dict.fromkeys(self.everyone, 1)
        assert self.country.players() == self.sessions
        assert self._coins() == self.coins

    def teardown(self):
        if not hasattr(self, "country"):
            return
        for machine in self.country.machines.values():
            rows = machine.world.rows(Going)
            machine.world[Going].vx[rows] = machine.world[Going].vy[rows] = 0
        for number in self.country.machines:
            self.country.checkpoint(number)
        self.country.settle()
        for _ in range(NOTICE_TICKS + 1):
            self.country.round()
        self.country.settle()
        self.everyone_is_somewhere_once()
        reach = ATLAS.hysteresis_units
        for number, scar in self.everyone.items():
            there, row = self.country.find(number)
            world = self.country.machines[there].world
            assert world[Body].scars[row, 1] == scar
            ground = self.country.machines[there].division.ground
            assert ground is not None
            x, y = float(world[Position].x[row]), float(world[Position].y[row])
            assert ground[0] - reach <= x <= ground[2] + reach
            assert ground[1] - reach <= y <= ground[3] + reach


Divided.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestDivided = Divided.TestCase
