"""Over borders: each entity is in exactly one place, whole, whatever becomes of letters and regions.

A long module: the state machine at its end plays all that the tests before it do one by one.
"""

import struct
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from server.regions.atlas import Atlas
from server.regions.frame import RegionSpec
from server.shard.errors import CaptureRefused, MailError
from server.shard.mail import FIRST_MAIL, HANDOFF, WHEREABOUTS, Lane, Letter
from server.sim import Migration
from tests.support.captures import damaged, frozen
from tests.support.country import Country
from tests.support.march import ATLAS, COINS, GAME, SHEEP, STONE, WALKER, Body, Going, Position, Purse, pay, region

WEST, EAST, SOUTH_WEST, SOUTH_EAST = 3, 4, 5, 6
WORLD = RegionSpec(WEST, -64.0, -64.0, 128.0, 128.0, 64, 8.0)


def join(session):
    return ("join", session, 0, b"account", b"Ada")


def walker(country, number, x, y, vx=0.0, vy=0.0, session=None, archetype=WALKER):
    """A walker at this place, which may be played; its number."""
    machine = country.machines[number]
    if session is None:
        row = int(machine.world.spawn(archetype)[0])
    else:
        country.tick(number, join(session))
        row = int(machine.sessions.rows(np.array([session], np.uint64), machine.world)[0])
    machine.world[Position].x[row], machine.world[Position].y[row] = x, y
    machine.world[Going].vx[row], machine.world[Going].vy[row] = vx, vy
    # What was done by hand is in no journal.
    country.checkpoint(number)
    return int(machine.world.id_of(np.array([row]))[0])


# -- going over --------------------------------------------------------------------------


def test_who_goes_over_a_border_leaves_and_arrives_whole():
    country = Country()
    number = walker(country, WEST, -1.0, -30.0, vx=4.0, session=7)
    west, east = country.machines[WEST], country.machines[EAST]
    country.tick(WEST, pay(7, 5, 0, 0), ("Go", 7, 9, 4.0, 0.0), sync=False)
    _, row = country.find(number) or (None, None)
    assert row is None, "3 units past the border, and 2 are let pass"
    frame = country.frames[WEST][-1]
    assert frame.departed["id"].tolist() == [number]
    assert frame.departed["session"].tolist() == [7]
    assert frame.departed["destination"].tolist() == [EAST]
    assert frame.departed["row"].tolist() == frame.left.tolist()
    assert frame.acks.tolist() == [(7, 9)], "what it did before it went counts"
    assert west.high_water(np.array([7], np.uint64)).tolist() == [-1]
    country.sync(WEST)
    country.carry()
    frame = country.tick(EAST)
    there, row = country.find(number)
    assert there == EAST
    assert frame.arrived.tolist() == [(row, number, WEST)]
    assert frame.entered.tolist() == [row]
    assert frame.bound.tolist() == [(7, row)]
    assert east.high_water(np.array([7], np.uint64)).tolist() == [9], "its inputs go on where they were"
    assert east.world[Position].x[row] == np.float32(7.0), "it walks on in the tick in which it comes"
    assert east.sessions.known()["player"].tolist() == [b"account"]
    assert east.sessions.known()["name"].tolist() == [b"Ada"]


def test_who_is_on_the_way_is_known_to_whoever_sent_it_until_it_came_for_good():
    country = Country()
    walker(country, WEST, -1.0, -30.0, vx=4.0, session=7)

    def sending(number, session=7, player=b"account"):
        return country.machines[number].sending(session, player)

    assert not sending(WEST), "it is here"
    country.tick(WEST, sync=False)
    for session, player in ((7, b""), (0, b"account"), (9, b"account")):
        assert country.machines[WEST].find(session, player) is None
        assert sending(WEST, session, player), "though the tick is not durable, and nothing has left"
    assert not sending(WEST, 9, b"acc")
    assert not sending(WEST, 8, b"")
    country.sync(WEST)
    country.carry()
    country.tick(EAST, sync=False)
    assert country.machines[EAST].find(7, b"") is not None
    # It came in a tick that is not durable, and is gone again.
    country.crash(EAST)
    assert country.machines[EAST].find(7, b"") is None
    assert sending(WEST)
    country.send_again(WEST)
    country.carry()
    country.tick(EAST)
    country.carry()
    country.tick(WEST)
    assert country.machines[EAST].find(7, b"") is not None
    assert not sending(WEST)
    assert not sending(EAST)


def test_all_columns_are_the_same_before_and_after_private_ones_too():
    country = Country()
    number = walker(country, WEST, 3.0, -30.0)
    west = country.machines[WEST]
    row = country.find(number)[1]
    west.world[Body].scars[row] = [3, 4, 5]
    west.world[Body].health[row] = 77
    west.world[Purse].coins[row] = 2**40
    before = west.world.extract(np.array([row]))
    country.round()
    travellers = next(country.under_way())
    before["@crossings"] += np.uint32(1)
    assert frozen(travellers.arrays) == frozen(before)
    country.round()
    there, row = country.find(number)
    assert there == EAST
    assert frozen(country.machines[EAST].world.extract(np.array([row]))) == frozen(before)


def test_what_refers_to_the_region_left_is_the_games_to_clear():
    """Tick numbers are moved to the clock of the region it comes to; references there name somebody else."""
    country = Country()
    for _ in range(40):
        country.tick(EAST)
    number = walker(country, WEST, 3.0, -30.0)
    purse = country.machines[WEST].world[Purse]
    row = country.find(number)[1]
    purse.filled_tick[row], purse.beside[row] = 1, 99
    country.tick(WEST)
    country.carry()
    country.tick(EAST)
    there, row = country.find(number)
    purse = country.machines[there].world[Purse]
    assert purse.beside[row] == 0
    # It left at tick 1 of the west (walker() made none) and came at tick 41 of the east.
    assert purse.filled_tick[row] == 1 + 41 - country.machines[WEST].tick


def test_who_strolls_along_a_border_stays_with_its_region():
    country = Country()
    number = walker(country, WEST, -1.0, -30.0)
    for n in range(60):
        row = country.find(number)[1]
        country.machines[WEST].world[Going].vx[row] = 2.5 if n % 2 else -2.5
        country.round()
        assert country.find(number)[0] == WEST
    assert not any(f.departed.size for frames in country.frames.values() for f in frames)


def test_who_turns_round_after_crossing_does_not_bounce():
    country = Country()
    number = walker(country, WEST, -1.0, -30.0, vx=1.0)
    crossings, at = 0, WEST
    for n in range(80):
        found = country.find(number)
        if found:
            crossings += found[0] != at
            at, row = found
            # There and back over the border itself, every third tick.
            if n > 20:
                country.machines[at].world[Going].vx[row] = -1.0 if n // 3 % 2 else 1.0
        country.round()
    assert crossings == 1


def test_a_corner_is_crossed_at_once():
    country = Country()
    number = walker(country, WEST, -1.0, -1.0, vx=5.0, vy=5.0)
    country.round()
    country.round()
    assert country.find(number)[0] == SOUTH_EAST


def test_who_is_already_past_the_next_border_is_shown_before_it_goes_on():
    country = Country()
    number = walker(country, WEST, -1.0, -5.0, vx=5.0, vy=5.0)
    row = country.find(number)[1]
    country.machines[WEST].world[Going].vy[row] = 0.0
    country.tick(WEST)
    travellers = next(country.under_way())
    assert travellers.arrays["Position.y"].tolist() == [-5.0]
    country.carry()
    # Somebody pushes it as it comes.
    east = country.machines[EAST]

    def push(world, tick, rows, ticks):
        world[Going].vy[rows] = 20.0

    east.game = replace(east.game, arrive=push)
    frame = country.tick(EAST)
    assert frame.arrived["id"].tolist() == [number]
    assert frame.entered.tolist() == frame.arrived["row"].tolist()
    assert not frame.departed.size
    assert country.tick(EAST).departed["destination"].tolist() == [SOUTH_EAST]


def test_who_is_born_outside_is_shown_before_it_goes():
    def bear(world, tick):
        if tick.number == 1 and world.region == WEST:
            rows = world.spawn(SHEEP)
            world[Position].x[rows], world[Position].y[rows] = 9.0, -30.0

    game = replace(GAME, systems=(*GAME.systems, bear))
    country = Country(make=lambda n: region(n, game=game))
    first, second = country.tick(WEST), country.tick(WEST)
    assert first.entered.size == 1
    assert not first.departed.size
    assert second.departed["row"].tolist() == second.left.tolist() == first.entered.tolist()


def test_many_go_in_one_letter_each_way():
    country = Country()
    west = country.machines[WEST]
    rows = west.world.spawn(SHEEP, 20)
    west.world[Position].x[rows] = np.where(np.arange(20) % 2, 5.0, -30.0)
    west.world[Position].y[rows] = np.where(np.arange(20) % 2, -30.0, 5.0)
    frame = country.tick(WEST)
    assert len(country.letters) == 2
    assert sorted(frame.departed["destination"].tolist()) == [EAST] * 10 + [SOUTH_WEST] * 10
    assert frame.departed["row"].tolist() == sorted(rows.tolist())


def test_who_has_no_place_and_who_is_past_the_worlds_edge_goes_nowhere():
    country = Country()
    world = country.machines[WEST].world
    row = world.spawn(STONE)[0]
    world[Position].x[row], world[Position].y[row] = -90.0, -90.0
    frames = [country.tick(WEST) for _ in range(3)]
    assert not any(f.departed.size for f in frames)
    assert world.archetype[row] != 255


def test_a_region_alone_has_no_border_to_cross():
    machine = region(3, atlas=Atlas([RegionSpec(3, 0.0, 0.0, 64.0, 64.0, 64)]))
    country = Country(machine.atlas, lambda _: region(3, atlas=machine.atlas))
    number = walker(country, 3, 60.0, 30.0, vx=9.0)
    for _ in range(5):
        country.round()
    assert country.find(number)[0] == 3
    assert "atlas" not in country.machines[3].capture().terms


# -- no room -----------------------------------------------------------------------------


def fill(machine, room):
    rows = machine.world.spawn(STONE, machine.world.room - room)
    machine.world[Position].x[rows], machine.world[Position].y[rows] = machine.world.bounds[:2]


def test_who_finds_no_room_is_back_at_the_border_and_plays_on():
    country = Country()
    fill(country.machines[EAST], 0)
    number = walker(country, WEST, 1.0, -30.0, vx=3.0, session=7)
    country.tick(WEST, ("Go", 7, 4, 3.0, 0.0))
    country.carry()
    assert country.find(number) is None
    assert country.census()[number] == 1
    country.tick(EAST)
    assert country.machines[EAST].sending(7, b""), "it sends it back"
    country.carry()
    frame = country.tick(WEST)
    there, row = country.find(number)
    west = country.machines[WEST].world
    assert there == WEST
    assert west[Position].x[row] == np.float32(-2.0 + 3.0), "put two inside, and walking on"
    assert frame.arrived.tolist() == [(row, number, EAST)]
    assert frame.bound.tolist() == [(7, row)]
    assert west.owner[row] == 7
    country.tick(WEST, ("Go", 7, 5, 0.0, 0.0))
    assert country.machines[WEST].high_water(np.array([7], np.uint64)).tolist() == [5]


def test_of_many_those_who_are_played_go_first_where_not_all_fit():
    country = Country()
    fill(country.machines[EAST], 3)
    numbers = [walker(country, WEST, -20.0, -30.0, session=s) for s in (None, None, 7, None, 8)]
    world = country.machines[WEST].world
    rows = world.rows_by_id(np.array(numbers, np.uint64))
    world[Position].x[rows] = 10.0
    country.round()
    country.round()
    assert [country.find(n) is not None and country.find(n)[0] == EAST for n in numbers] == [
        True,
        False,
        True,
        False,
        True,
    ]
    country.round()
    assert [country.find(n)[0] for n in numbers] == [EAST, WEST, EAST, WEST, EAST]
    assert country.players() == {7: 1, 8: 1}


def test_who_is_turned_away_and_finds_the_own_region_full_waits_for_room():
    country = Country()
    fill(country.machines[EAST], 0)
    number = walker(country, WEST, 5.0, -30.0, session=7)
    country.round()
    fill(country.machines[WEST], 0)
    country.checkpoint(WEST)
    country.round()
    for _ in range(3):
        country.round()
        assert country.find(number) is None
        assert country.census()[number] == 1
    assert country.machines[WEST].borders.waiting == 1
    assert country.machines[WEST].sending(7, b"")
    # What the engine wants of its session waits with it.
    country.tick(WEST, ("leave", 7, 0))
    country.crash(WEST)
    assert country.census()[number] == 1
    west = country.machines[WEST].world
    west.despawn(west.rows_of(STONE)[:5])
    # What ends makes room at the end of the tick.
    country.round()
    country.round()
    assert country.machines[WEST].borders.waiting == 0
    assert country.players() == {}, "it came in, and left"
    assert country.census()[number] == 0


def test_a_way_that_is_blocked_keeps_them_where_they_are(monkeypatch):
    monkeypatch.setattr("server.shard.mail.STREAM_LETTERS_MAX", 1)
    country = Country()
    first, second = (walker(country, WEST, -10.0 * n, -30.0, vx=8.0) for n in (1, 2))
    for _ in range(6):
        country.tick(WEST)
    assert country.find(first) is None
    assert country.find(second)[0] == WEST, "the first letter is not acknowledged yet"
    country.settle()
    country.tick(WEST)
    country.settle()
    assert country.find(second)[0] == EAST
    assert country.census()[first] == country.census()[second] == 1


# -- while a game is upgraded ----------------------------------------------------------------


def upgraded(saved):
    saved.column("Body", "health")[saved.rows("walker")] = 99


def test_who_comes_from_an_older_version_is_migrated():
    new = replace(GAME, version=2, migrations=(Migration(1, 2, upgraded),))
    country = Country(make=lambda n: region(n, game=new if n == EAST else GAME))
    number = walker(country, WEST, 5.0, -30.0, session=7)
    country.tick(WEST)
    country.settle()
    there, row = country.find(number)
    assert there == EAST
    assert country.machines[EAST].world[Body].health[row] == 99
    assert country.players() == {7: 1}


def test_who_comes_from_a_version_that_nothing_leads_from_goes_back():
    new = replace(GAME, version=2, migrations=(Migration(1, 2, upgraded),))
    country = Country(make=lambda n: region(n, game=new if n == WEST else GAME))
    number = walker(country, WEST, 5.0, -30.0, session=7)
    country.tick(WEST)
    country.settle()
    there, row = country.find(number)
    assert there == WEST
    assert country.machines[WEST].world[Position].x[row] == np.float32(-2.0)
    assert country.players() == {7: 1}


def test_who_finds_no_room_in_a_newer_version_comes_back_to_the_older_one():
    new = replace(GAME, version=2, migrations=(Migration(1, 2, upgraded),))
    country = Country(make=lambda n: region(n, game=new if n == EAST else GAME))
    fill(country.machines[EAST], 1)
    numbers = [walker(country, WEST, 5.0, -30.0, session=session) for session in (7, None)]
    country.tick(WEST)
    country.settle()
    assert [country.find(n)[0] for n in numbers] == [EAST, WEST]
    there, row = country.find(numbers[1])
    assert country.machines[there].world[Body].health[row] == 100, "as it was"
    assert not country.machines[WEST].post.dead


def test_travellers_that_nobody_can_read_are_kept_for_an_operator():
    country = Country()
    country.tick(WEST)
    west = country.machines[WEST]
    west.post.send(EAST, Lane.URGENT, HANDOFF, b"nobody")
    country.settle()
    (dead,) = west.post.dead
    assert dead.letter.payload == b"nobody"
    assert "not travellers" in dead.reason


# -- after those who left ------------------------------------------------------------------


def test_a_session_that_leaves_late_is_followed():
    country = Country()
    walker(country, WEST, 5.0, -30.0, session=7)
    country.tick(WEST)
    # The gateway does not know yet that it went.
    country.tick(WEST, ("presence", 7, 1, 0), ("leave", 7, 0))
    country.carry()
    country.tick(EAST)
    assert country.players() == {}
    east = country.machines[EAST].world
    assert not east.rows_of(WALKER).size


def test_who_is_said_to_leave_both_where_it_was_and_where_it_is_leaves_once():
    left = []

    def leave(world, tick, row):
        left.append((world.region, row))
        GAME.leave(world, tick, row)

    country = Country(make=lambda n: region(n, game=replace(GAME, leave=leave)))
    walker(country, WEST, 5.0, -30.0, session=7)
    country.round()
    country.round()
    country.tick(WEST, ("leave", 7, 0))
    country.carry()
    frame = country.tick(EAST, ("leave", 7, 0))
    assert len(left) == 1
    assert left[0][0] == EAST
    assert [session for session, _ in frame.refused] == [7]


def test_a_session_that_leaves_is_followed_back_from_a_region_that_was_full():
    country = Country()
    fill(country.machines[EAST], 0)
    walker(country, WEST, 5.0, -30.0, session=7)
    country.tick(WEST)
    country.tick(WEST, ("leave", 7, 0))
    country.settle()
    assert country.players() == {}
    assert not country.machines[WEST].world.rows_of(WALKER).size


def test_who_is_back_is_not_elsewhere():
    country = Country()
    number = walker(country, WEST, -1.0, -30.0, vx=4.0)
    ids = np.array([number], np.uint64)
    country.round()
    assert country.machines[WEST].borders.whereabouts(ids).tolist() == [EAST]
    country.round()
    world = country.machines[EAST].world
    world[Going].vx[country.find(number)[1]] = -6.0
    for _ in range(5):
        country.round()
    assert country.find(number)[0] == WEST
    assert country.machines[WEST].borders.whereabouts(ids).tolist() == [-1]
    assert country.machines[EAST].borders.whereabouts(ids).tolist() == [WEST]


def test_presence_reaches_the_game_where_the_player_is_and_follows_nobody():
    country = Country()
    number = walker(country, WEST, -1.0, -30.0, session=7)
    country.tick(WEST, ("Go", 7, 1, 4.0, 0.0), ("presence", 7, 2, 0))
    # It went, and its gateway does not know yet. By mail that would come after what is said there.
    country.tick(WEST, ("presence", 7, 3, 0))
    country.carry()
    country.tick(EAST)
    there, row = country.find(number)
    assert there == EAST
    assert country.machines[EAST].world[Body].scars[row, 2] == 1


def test_who_joined_and_went_over_does_not_join_twice():
    country = Country()
    walker(country, WEST, 5.0, -30.0, session=7)
    country.tick(WEST)
    country.tick(WEST, join(7))
    country.settle()
    assert country.players() == {7: 1}


def whereabouts(country, region_number, number):
    return country.machines[region_number].borders.whereabouts(np.array([number], np.uint64)).tolist()[0]


def moved(country, number, x, y):
    """Have an entity go where it is put, and all hear of it."""
    there, row = country.find(number)
    position = country.machines[there].world[Position]
    position.x[row], position.y[row] = x, y
    country.checkpoint(there)
    for _ in range(3):
        country.round()


def in_time(country):
    """So long that what is to be forgotten is forgotten, and who is to be told is told."""
    for _ in range(2 * ATLAS.forward_ticks + 1):
        country.round()
    country.settle()


def test_where_another_regions_native_went_is_forgotten_in_time_and_told_to_its_home():
    country = Country()
    payee = walker(country, WEST, 5.0, -30.0)
    moved(country, payee, 5.0, -30.0)
    moved(country, payee, 5.0, 5.0)
    assert country.find(payee)[0] == SOUTH_EAST
    assert (whereabouts(country, EAST, payee), whereabouts(country, WEST, payee)) == (SOUTH_EAST, EAST)
    in_time(country)
    assert whereabouts(country, EAST, payee) == -1
    assert not country.machines[EAST].borders.capture()
    assert whereabouts(country, WEST, payee) == SOUTH_EAST


@pytest.mark.parametrize("payer", [WEST, EAST, SOUTH_WEST, SOUTH_EAST])
def test_mail_finds_who_lives_however_long_ago_she_went(payer):
    country = Country()
    payee = walker(country, WEST, 5.0, -30.0)
    moved(country, payee, 5.0, -30.0)
    moved(country, payee, 5.0, 5.0)
    for _ in range(3 * ATLAS.forward_ticks):
        country.round()
    x0, y0, x1, y1 = ATLAS[payer].bounds
    walker(country, payer, (x0 + x1) / 2, (y0 + y1) / 2, session=8)
    country.tick(payer, pay(8, 1, 30, payee))
    country.settle()
    there, row = country.find(payee)
    assert (there, country.machines[there].world[Purse].coins[row]) == (SOUTH_EAST, COINS + 30)
    assert [m.gauges()["to_nobody"] for m in country.machines.values()] == [0, 0, 0, 0]


def test_mail_for_one_who_ended_abroad_is_nobodys_and_her_home_forgets_her():
    country = Country()
    payee = walker(country, WEST, 5.0, -30.0)
    walker(country, SOUTH_WEST, -30.0, 30.0, session=8)
    moved(country, payee, 5.0, -30.0)
    there, row = country.find(payee)
    assert (there, whereabouts(country, WEST, payee)) == (EAST, EAST)
    country.machines[EAST].world.despawn(np.array([row]))
    country.tick(EAST)
    country.tick(SOUTH_WEST, pay(8, 1, 30, payee))
    country.settle()
    assert country.machines[EAST].gauges()["to_nobody"] == 1
    in_time(country)
    assert not country.machines[WEST].borders.capture()
    country.tick(SOUTH_WEST, pay(8, 2, 30, payee))
    country.settle()
    assert country.machines[WEST].gauges()["to_nobody"] == 1


def test_a_word_that_is_overtaken_by_a_later_one_is_void():
    country = Country()
    native = walker(country, WEST, 5.0, -30.0)
    moved(country, native, 5.0, -30.0)
    west = country.machines[WEST]
    letter = Letter(EAST, WEST, int(Lane.URGENT), 1, WHEREABOUTS, 1, b"")

    def hear(region_number, crossings, number=native):
        west.borders.hear(letter._replace(payload=struct.pack("<QII", number, region_number, crossings)))

    hear(SOUTH_WEST, 3)
    hear(SOUTH_EAST, 2)
    assert whereabouts(country, WEST, native) == SOUTH_WEST
    # Of one who is here, or never was, nothing is learnt.
    hear(EAST, 9, native + 1)
    assert whereabouts(country, WEST, native + 1) == -1
    hear(0, 4)
    assert not west.borders.capture()
    with pytest.raises(MailError, match="whereabouts of 15 bytes"):
        west.borders.hear(letter._replace(payload=bytes(15)))


def test_to_be_sent_back_is_to_cross_again():
    """So that what the full region says of her is later than that she went there."""
    country = Country()
    traveller = walker(country, SOUTH_WEST, -30.0, 30.0)
    moved(country, traveller, -30.0, -30.0)
    assert country.find(traveller)[0] == WEST
    fill(country.machines[EAST], 0)
    moved(country, traveller, 5.0, -30.0)
    there, row = country.find(traveller)
    assert (there, country.machines[WEST].world.crossings(np.array([row])).tolist()) == (WEST, [3])
    for _ in range(2 * ATLAS.forward_ticks):
        country.round()
    country.settle()
    assert whereabouts(country, SOUTH_WEST, traveller) == WEST


def cull(saved):
    saved.despawn(saved.rows("sheep"))


CULLED = replace(GAME, version=2, migrations=(Migration(1, 2, cull, same_mail=True),))


def culled(country):
    """Upgrade all regions to a version that has no sheep."""
    for number, older in list(country.machines.items()):
        machine = country.machines[number] = region(number, game=CULLED)
        machine.adopt(machine.migrated(older.capture()))


def nobody(country):
    return sum(int(machine.gauges()["to_nobody"]) for machine in country.machines.values())


def test_the_home_of_one_whom_a_migration_ended_abroad_is_told():
    country = Country()
    sheep = walker(country, WEST, 5.0, -30.0, archetype=SHEEP)
    payer = walker(country, SOUTH_WEST, -30.0, 30.0, session=8)
    moved(country, sheep, 5.0, -30.0)
    assert (country.find(sheep)[0], country.find(payer)[0]) == (EAST, SOUTH_WEST)
    culled(country)
    in_time(country)
    assert [m.borders.capture() for m in country.machines.values()] == [{}] * 4
    country.tick(SOUTH_WEST, pay(8, 1, 30, sheep))
    country.settle()
    assert nobody(country) == 1


def test_the_home_of_one_whom_a_migration_ended_on_the_way_is_told():
    country = Country()
    sheep = walker(country, WEST, 5.0, -30.0, archetype=SHEEP)
    country.tick(WEST)
    assert whereabouts(country, WEST, sheep) == EAST
    culled(country)
    in_time(country)
    assert not country.census()[sheep]
    assert [m.borders.capture() for m in country.machines.values()] == [{}] * 4


def test_mail_for_one_whom_a_migration_ended_while_it_waited_for_room_is_nobodys():
    country = Country()
    walker(country, SOUTH_WEST, -30.0, 30.0, session=8)
    fill(country.machines[EAST], 0)
    sheep = walker(country, WEST, 5.0, -30.0, archetype=SHEEP)
    country.round()
    fill(country.machines[WEST], 0)
    for _ in range(4):
        country.round()
    assert (country.machines[WEST].borders.waiting, whereabouts(country, WEST, sheep)) == (1, WEST)
    culled(country)
    country.round()
    country.tick(SOUTH_WEST, pay(8, 1, 30, sheep))
    country.settle()
    assert nobody(country) == 1


def test_that_one_is_no_more_is_told_when_the_way_home_is_open_again(monkeypatch):
    country = Country()
    payee = walker(country, WEST, 5.0, -30.0)
    walker(country, EAST, 30.0, -30.0, session=8)
    moved(country, payee, 5.0, -30.0)
    east = country.machines[EAST]
    east.world.despawn(np.array([country.find(payee)[1]]))
    monkeypatch.setattr("server.shard.mail.STREAM_LETTERS_MAX", 0)
    for _ in range(ATLAS.forward_ticks):
        country.tick(EAST)
    country.tick(EAST, pay(8, 1, 30, payee))
    assert (whereabouts(country, WEST, payee), nobody(country)) == (EAST, 1)
    monkeypatch.undo()
    in_time(country)
    assert [m.borders.capture() for m in country.machines.values()] == [{}] * 4


def test_words_of_before_crossings_were_counted_are_believed():
    country = Country()
    native = walker(country, WEST, 5.0, -30.0)
    moved(country, native, 5.0, -30.0)
    west = country.machines[WEST]
    west.borders._moved["crossings"] = 0
    word = struct.pack("<QII", native, SOUTH_EAST, 0)
    west.borders.hear(Letter(EAST, WEST, int(Lane.URGENT), 1, WHEREABOUTS, 1, word))
    assert whereabouts(country, WEST, native) == SOUTH_EAST


def test_what_is_sent_in_a_circle_is_buried_in_the_end():
    """As where one region of two was set back."""
    country = Country()
    payee = walker(country, WEST, 5.0, -30.0)
    walker(country, SOUTH_WEST, -30.0, 30.0, session=8)
    moved(country, payee, 5.0, -30.0)
    there, row = country.find(payee)
    # Gone without a word to her home.
    world = country.machines[there].world
    world.despawn(np.array([row]))
    world.end_tick()
    country.checkpoint(there)
    country.tick(SOUTH_WEST, pay(8, 1, 30, payee))
    country.settle(rounds=150)
    dead = [d for m in country.machines.values() for d in m.post.dead]
    assert [d.reason for d in dead] == ["sent on 64 times"]


def test_what_comes_for_somebody_who_is_long_on_the_way_is_sent_on_all_the_same():
    country = Country()
    walker(country, WEST, -30.0, -30.0, session=8)
    payee = walker(country, SOUTH_WEST, -5.0, 5.0)
    moved(country, payee, -5.0, -30.0)
    assert country.find(payee)[0] == WEST
    position = country.machines[WEST].world[Position]
    position.x[country.find(payee)[1]] = 5.0
    country.checkpoint(WEST)
    country.tick(WEST)
    for _ in range(3 * ATLAS.forward_ticks):
        # Nobody reaches the other region.
        country.tick(WEST)
    assert whereabouts(country, WEST, payee) == EAST
    country.tick(WEST, pay(8, 1, 30, payee))
    country.settle()
    east = country.machines[EAST].world
    assert country.find(payee)[0] == EAST
    assert east[Purse].coins[country.find(payee)[1]] == COINS + 30
    # And once it has come it is forgotten as anybody else.
    for _ in range(2 * ATLAS.forward_ticks):
        country.round()
    country.settle()
    assert not country.machines[WEST].borders.capture()


# -- state -------------------------------------------------------------------------------


def crowded():
    """A region of which some left, and to which one came back and waits."""
    country = Country()
    fill(country.machines[EAST], 0)
    walker(country, WEST, 5.0, -30.0, session=7)
    walker(country, WEST, -30.0, 5.0)
    country.round()
    fill(country.machines[WEST], 0)
    country.round()
    country.round()
    machine = country.machines[WEST]
    assert machine.borders.waiting == 1
    return machine


def test_borders_are_state():
    machine, other = crowded(), region(WEST)
    other.adopt(machine.capture())
    assert other.digest() == machine.digest()
    assert frozen(other.capture().arrays) == frozen(machine.capture().arrays)
    machine.borders._waiting.clear()
    without = machine.digest()
    machine.borders._moved["crossings"] += np.uint32(1)
    assert len({other.digest(), without, machine.digest()}) == 3


def test_refused_borders_change_nothing():
    whole = crowded().capture()
    machine = region(WEST)
    before = frozen(machine.capture().arrays)
    own = {name: a for name, a in whole.arrays.items() if name.startswith("@borders.")}
    cases = [(n, a) for n, a in damaged(own) if n not in ("one too many", "@borders.crossings missing")]
    cases.append(("out of order", {**own, "@borders.id": own["@borders.id"][::-1].copy()}))
    for name, arrays in cases:
        others = {n: a for n, a in whole.arrays.items() if n not in own}
        with pytest.raises(CaptureRefused):
            machine.adopt(replace(whole, arrays={**others, **arrays}))
        assert frozen(machine.capture().arrays) == before, name


def test_borders_of_before_crossings_were_counted_are_of_none():
    machine, other = crowded(), region(WEST)
    capture = machine.capture()
    del capture.arrays["@borders.crossings"]
    other.adopt(capture)
    assert other.capture().arrays["@borders.crossings"].tolist() == [0, 0]


def test_another_atlas_is_another_world():
    capture = region(WEST).capture()
    halves = Atlas.grid(RegionSpec(3, -64.0, -64.0, 128.0, 128.0, 64, 8.0), columns=2, rows=2, hysteresis_units=3.0)
    with pytest.raises(CaptureRefused, match="atlas"):
        region(WEST, atlas=halves).adopt(capture)


def test_regions_of_one_world_do_not_look_alike():
    worlds = [region(n).world for n in (WEST, EAST)]
    offsets = [w[Position].x[w.rows_of(STONE)] - w.bounds[0] for w in worlds]
    assert offsets[0].tolist() != offsets[1].tolist()


def test_a_region_without_a_session_for_whom_it_is_given_again_lets_the_second_go():
    """A gateway's fault; nobody is left standing without a player."""
    country = Country()
    walker(country, WEST, 5.0, -30.0, session=7)
    country.tick(EAST, join(7))
    country.tick(WEST)
    country.settle()
    assert country.players() == {7: 1}
    assert sum(m.world.rows_of(WALKER).size for m in country.machines.values()) == 1


# -- anything at all ------------------------------------------------------------------------


class Wanderers(RuleBasedStateMachine):
    """Walkers and sheep about a corner of four regions, some regions full; walkers pay each other, wherever they are.

    Letters are lost, repeated and late, and regions die. Nobody is ever lost or doubled, nor what they have, nor a
    coin.
    """

    @initialize(seed=st.integers(0, 2**32), full=st.sets(st.sampled_from([WEST, EAST, SOUTH_WEST, SOUTH_EAST])))
    def make(self, seed, full):
        # Whoever was not born there is forgotten at once, and whoever was never.
        atlas = Atlas.grid(WORLD, columns=2, rows=2, forward_ticks=2)
        self.country = Country(atlas, lambda n: region(n, atlas=atlas), seed=seed)
        self.everyone, self.sessions = {}, {}
        self.full = full
        for number, machine in self.country.machines.items():
            rows = [*machine.world.spawn(WALKER, 3), *machine.world.spawn(SHEEP, 3)]
            x0, y0, x1, y1 = machine.world.bounds
            machine.world[Position].x[rows] = np.clip(0.0, x0, x1 - 1)
            machine.world[Position].y[rows] = np.clip(0.0, y0, y1 - 1)
            self.country.tick(number, join(number))
            if number in full:
                fill(machine, 2)
            machine.world[Body].scars[rows, 1] = np.arange(6) + 10 * number
            alive = machine.world.rows(Position, Going)
            self.everyone |= {
                n: int(machine.world[Body].scars[r, 1])
                for n, r in zip(machine.world.id_of(alive).tolist(), alive.tolist(), strict=True)
            }
            self.sessions[number] = 1
            self.seqs = dict.fromkeys(self.country.machines, 0)
            self.country.checkpoint(number)
        worlds = [m.world for m in self.country.machines.values()]
        self.walkers = [n for w in worlds for n in w.id_of(w.rows_of(WALKER)).tolist()]
        self.coins = self._coins()

    def _coins(self):
        held = sum(int(m.world[Purse].coins[m.world.rows(Purse)].sum()) for m in self.country.machines.values())
        held += sum(int(t.arrays["Purse.coins"].sum()) for t in self.country.under_way())
        letters = self.country.mail(FIRST_MAIL)
        return held + sum(int(np.frombuffer(msgpack.unpackb(x.payload)[5][0], np.uint8).sum()) for x in letters)

    @rule(
        number=st.sampled_from([WEST, EAST, SOUTH_WEST, SOUTH_EAST]),
        vx=st.sampled_from([-6.0, 0.0, 6.0]),
        vy=st.sampled_from([-6.0, 0.0, 6.0]),
        ticks=st.integers(1, 4),
        sync=st.booleans(),
    )
    def walk(self, number, vx, vy, ticks, sync):
        machine = self.country.machines[number]
        here = machine.sessions.known()["session"].tolist()
        orders = []
        for session in here:
            self.seqs[session] += 1
            orders.append(("Go", session, self.seqs[session], vx, vy))
        self.country.tick(number, *orders, sync=sync)
        for _ in range(ticks - 1):
            self.country.tick(number, sync=sync)

    @rule(session=st.sampled_from([WEST, EAST, SOUTH_WEST, SOUTH_EAST]), coins=st.integers(1, 9), pick=st.integers(0))
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

    @rule(number=st.sampled_from([WEST, EAST, SOUTH_WEST, SOUTH_EAST]))
    def send_again(self, number):
        self.country.send_again(number)

    @rule(number=st.sampled_from([WEST, EAST, SOUTH_WEST, SOUTH_EAST]))
    def checkpoint(self, number):
        self.country.checkpoint(number)

    @rule(number=st.sampled_from([WEST, EAST, SOUTH_WEST, SOUTH_EAST]))
    def die(self, number):
        self.country.crash(number)

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
        # A region that is full turns people away, who come again: let them stand still.
        for machine in self.country.machines.values():
            rows = machine.world.rows(Going)
            machine.world[Going].vx[rows] = machine.world[Going].vy[rows] = 0
        for number in self.country.machines:
            self.country.checkpoint(number)
        self.country.settle()
        assert self.full or not list(self.country.under_way())
        self.everyone_is_somewhere_once()
        for number, scar in self.everyone.items():
            if found := self.country.find(number):
                assert self.country.machines[found[0]].world[Body].scars[found[1], 1] == scar


Wanderers.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestWanderers = Wanderers.TestCase
