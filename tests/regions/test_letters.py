"""A game's mail: each message once, in every region it is for, and after the entity it is for wherever that goes."""

from dataclasses import replace

import numpy as np
import pytest

from server.regions.letters import Letters
from server.shard.mail import FIRST_MAIL, Lane
from server.sim import DeclarationError, Mail, Migration, arg
from tests.support.country import Country
from tests.support.march import COINS, GAME, SHEEP, WALKER, Bell, Body, Coins, Going, Hit, Position, Purse, pay, region

WEST, EAST, SOUTH_WEST, SOUTH_EAST = 3, 4, 5, 6


class Note(Mail):
    """Not among the game's."""

    text: bytes = arg("utf8", size=8)


def country_that_sends(call, **changes):
    """Regions in which the west's systems send, once, what `call(world, tick)` does; and what each region hears."""
    heard = {n: [] for n in (WEST, EAST, SOUTH_WEST, SOUTH_EAST)}

    def say(world, tick):
        if world.region == WEST and tick.number == 1:
            call(world, tick)

    def listen(world, tick):
        for kind in (Coins, Hit, Bell):
            if len(mail := tick.mail(kind)):
                heard[world.region].append((tick.number, mail))

    game = replace(GAME, systems=(listen, say, *GAME.systems), **changes)
    return Country(make=lambda n: region(n, game=game)), heard


def test_a_circle_is_heard_in_every_region_it_touches_once_and_its_own_too():
    country, heard = country_that_sends(
        lambda world, tick: tick.send(Hit, at=(np.array([-5.0, -60.0]), np.array([-40.0, -60.0]), 10.0), damage=[7, 9])
    )
    for _ in range(3):
        country.round()
    country.settle()
    assert [len(heard[n]) for n in heard] == [1, 1, 0, 0]
    (tick, west), (_, east) = heard[WEST][0], heard[EAST][0]
    assert tick == 2, "its own region hears it a tick later, like the others"
    assert west.x.tolist() == [-5.0, -60.0]
    assert (east.x.tolist(), east.y.tolist(), east.radius.tolist()) == ([-5.0], [-40.0], [10.0])
    assert (east.row.tolist(), east.source.tolist(), east.damage.tolist()) == ([-1], [WEST], [7])


def test_a_circle_over_a_corner_is_heard_in_all_four():
    country, heard = country_that_sends(lambda _, tick: tick.send(Hit, at=([-1.0], [-1.0], [4.0]), damage=1))
    country.settle()
    country.round()
    country.settle()
    assert [len(heard[n]) for n in heard] == [1, 1, 1, 1]


def test_what_was_done_here_already_goes_only_to_the_others():
    country, heard = country_that_sends(
        lambda _, tick: tick.send(Hit, at=([-1.0], [-40.0], [4.0]), here=False, damage=1)
    )
    country.round()
    country.settle()
    assert [len(heard[n]) for n in heard] == [0, 1, 0, 0]


def test_a_blast_reaches_who_is_past_the_border_and_not_yet_handed_over():
    country, _ = country_that_sends(lambda _, tick: tick.send(Hit, at=([3.0], [-30.0], [1.6]), damage=1))
    machine = country.machines[WEST]
    row = machine.world.spawn(SHEEP)[0]
    machine.world[Position].x[row], machine.world[Position].y[row] = 1.5, -30.0
    country.round()
    country.settle()
    assert machine.world[Body].health[row] == 99


def test_mail_for_regions_goes_to_each_and_needs_no_arguments():
    country, heard = country_that_sends(lambda _, tick: tick.send(Bell, region=np.array([EAST, SOUTH_EAST, EAST])))
    country.round()
    country.settle()
    assert [sum(len(mail) for _, mail in heard[n]) for n in heard] == [0, 2, 0, 1]
    assert np.isnan(heard[EAST][0][1].x).all()
    assert any(f.events for f in country.frames[EAST])


def test_mail_for_entities_finds_them_here_and_where_they_were_born():
    ids = []
    country, heard = country_that_sends(lambda _, tick: tick.send(Coins, to=np.array(ids), coins=5, payer=ids[0]))
    for number in (WEST, EAST):
        machine = country.machines[number]
        ids += machine.world.id_of(machine.world.spawn(WALKER)).tolist()
    country.round()
    country.settle()
    for number in ids:
        where, row = country.find(number)
        assert country.machines[where].world[Purse].coins[row] == COINS + 5
    assert heard[EAST][0][1].payer.tolist() == [ids[0]]
    assert heard[EAST][0][1].payer.dtype == np.uint64


def test_mail_follows_an_entity_over_border_after_border():
    country = Country()
    east = country.machines[EAST]
    row = int(east.world.spawn(WALKER)[0])
    number = int(east.world.id_of(np.array([row]))[0])
    east.world[Position].x[row], east.world[Position].y[row] = 10.0, -10.0
    # It walks round the corner, and a player in the west pays it at every tick, knowing only who it is.
    country.tick(WEST, ("join", 7, 0, b"a", b"b"))
    west = country.machines[WEST].world
    (payer,) = west.rows_of(WALKER).tolist()
    west[Position].x[payer] = west[Position].y[payer] = -50.0
    visited = set()
    for n, (vx, vy) in enumerate([(0.0, 3.0)] * 8 + [(-3.0, 0.0)] * 10 + [(0.0, -3.0)] * 10):
        if found := country.find(number):
            visited.add(found[0])
            world = country.machines[found[0]].world
            world[Going].vx[found[1]], world[Going].vy[found[1]] = vx, vy
        country.round(r3=[pay(7, n + 1, 1, number)])
    country.settle()
    assert len(visited) == 4
    where, row = country.find(number)
    assert country.machines[where].world[Purse].coins[row] == COINS + 28
    assert west[Purse].coins[payer] == COINS - 28


def test_mail_never_overtakes_the_entity_it_follows():
    country, heard = country_that_sends(lambda *_: None)
    west = country.machines[WEST].world
    row = int(west.spawn(WALKER)[0])
    number = west.id_of(np.array([row]))
    west[Position].x[row], west[Position].y[row] = 9.0, -30.0
    country.tick(WEST)
    # Mail from elsewhere comes to the west when it is gone.
    south = country.machines[SOUTH_WEST]
    sent = []
    game = south.game

    def pay(world, tick):
        if not sent:
            sent.append(tick.send(Coins, to=number, coins=9, payer=0, lane="bulk"))

    south.game = replace(game, systems=(*game.systems, pay))
    country.tick(SOUTH_WEST)
    handoff = [item for item in country.letters if item[1].source == WEST]
    country.letters = [item for item in country.letters if item[1].source == SOUTH_WEST]
    country.carry()
    country.tick(WEST)
    country.carry()
    country.tick(EAST)
    assert not heard[EAST], "it waits in its stream for the handoff"
    country.letters += handoff
    country.carry()
    country.tick(EAST)
    assert heard[EAST][0][1].coins.tolist() == [9]


def test_mail_to_one_who_is_dead_is_nobodys():
    country, heard = country_that_sends(
        lambda world, tick: tick.send(Coins, to=np.array([dead, 0, 2**63]), coins=5, payer=0)
    )
    world = country.machines[WEST].world
    rows = world.spawn(WALKER)
    dead = int(world.id_of(rows)[0])
    world.despawn(rows)
    country.round()
    country.settle()
    assert not any(heard.values())
    assert not any(m.post.dead for m in country.machines.values())


class Parcel(Mail):
    """Comes back."""

    returns = True
    coins: int = arg("u8")


def country_that_has_parcels(call, **changes):
    """As `country_that_sends`; and what of the west's parcels came back, by region."""
    back = {n: [] for n in (WEST, EAST, SOUTH_WEST, SOUTH_EAST)}
    heard = {n: [] for n in back}

    def say(world, tick):
        if world.region == WEST and tick.number == 1:
            call(world, tick)

    def listen(world, tick):
        for found, mail in ((heard, tick.mail(Parcel)), (back, tick.returned(Parcel))):
            if len(mail):
                found[world.region].append(mail)

    game = replace(GAME, systems=(listen, say, *GAME.systems), mail=(*GAME.mail, Parcel), **changes)
    return Country(make=lambda n: region(n, game=game)), heard, back


def settle(country):
    for _ in range(4):
        country.round()
    country.settle()


def test_mail_to_nobody_comes_back_where_its_kind_says_so():
    native_of_the_east = 4 << 48 | 7 << 20 | 5
    country, heard, back = country_that_has_parcels(
        lambda world, tick: tick.send(Parcel, to=np.array([dead, 0, native_of_the_east, alive]), coins=[5, 6, 7, 8])
    )
    world = country.machines[WEST].world
    rows = world.spawn(WALKER, 2)
    dead, alive = world.id_of(rows).tolist()
    world.despawn(rows[:1])
    settle(country)
    assert [(m.to.tolist(), m.coins.tolist()) for m in heard[WEST]] == [([alive], [8])]
    came = {
        to: (coins, source)
        for m in back[WEST]
        for to, coins, source in zip(m.to.tolist(), m.coins.tolist(), m.source.tolist(), strict=True)
    }
    assert came == {dead: (5, WEST), 0: (6, WEST), native_of_the_east: (7, EAST)}
    assert all((m.row == -1).all() and np.isnan(m.x).all() for m in back[WEST])
    assert not any(back[n] or heard[n] for n in (EAST, SOUTH_WEST, SOUTH_EAST))
    assert sum(m.gauges()["to_nobody"] for m in country.machines.values()) == 3


def test_mail_that_is_refused_comes_back():
    country, heard, back = country_that_has_parcels(
        lambda _, tick: (tick.send(Parcel, region=EAST, coins=9), tick.send(Parcel, region=WEST, coins=4))
    )
    east = country.machines[EAST]
    east._game_mail._game = replace(east.game, version=9)
    settle(country)
    assert not any(m.post.dead for m in country.machines.values())
    assert not heard[EAST]
    assert [m.coins.tolist() for m in heard[WEST]] == [[4]]
    (mail,) = back[WEST]
    assert (mail.coins.tolist(), mail.to.tolist(), mail.row.tolist()) == ([9], [0], [-1])


def test_mail_that_comes_back_is_not_for_places():
    country, _, _ = country_that_has_parcels(lambda _, tick: tick.send(Parcel, at=([5.0], [-30.0], [2.0]), coins=4))
    with pytest.raises(DeclarationError, match="Parcel comes back: it can be for entities or regions, not for places"):
        country.tick(WEST)


def test_mail_for_which_there_is_no_room_comes_back(monkeypatch):
    monkeypatch.setattr("server.shard.mail.STREAM_LETTERS_MAX", 1)
    country, _, back = country_that_has_parcels(
        lambda _, tick: [tick.send(Parcel, region=EAST, coins=c) for c in (1, 2)]
    )
    for _ in range(3):
        country.tick(WEST)
        country.letters = [item for item in country.letters if item[1].destination == WEST]
        country.carry()
    assert [m.coins.tolist() for m in back[WEST]] == [[2]]
    assert not country.machines[WEST].post.dead


def test_what_cannot_even_come_back_is_a_dead_letter_of_who_would_send_it():
    country, _, back = country_that_has_parcels(
        lambda _, tick: tick.send(Parcel, to=np.array([4 << 48 | 7 << 20 | 5]), coins=7)
    )
    country.tick(WEST)
    west, east = country.machines[WEST], country.machines[EAST]
    country.carry()
    country.tick(EAST)
    west._game_mail._game = replace(west.game, version=9)
    settle(country)
    assert not back[WEST]
    (dead,) = east.post.dead
    assert dead.reason == "Parcel of march 1, and this is 9"
    # Once the versions are the same again, an operator has it sent.
    west._game_mail._game = west.game
    country.tick(EAST, ("replay_letter", 1, 1, dead.number))
    settle(country)
    assert [m.coins.tolist() for m in back[WEST]] == [[7]]


def test_only_mail_that_says_so_comes_back():
    def ask(world, tick):
        tick.returned(Bell)

    country = Country(make=lambda n: region(n, game=replace(GAME, systems=(ask,))))
    with pytest.raises(DeclarationError, match="Bell does not come back: it lacks `returns = True`"):
        country.tick(WEST)


def test_what_is_not_for_this_world_is_refused_aloud():
    for call in (
        lambda _, tick: tick.send(Bell, region=99),
        lambda _, tick: tick.send(Note, region=EAST, text=b"hi"),
    ):
        country, _ = country_that_sends(call)
        with pytest.raises(DeclarationError):
            country.tick(WEST)


def test_mail_of_another_version_becomes_a_dead_letter_of_its_sender():
    country, heard = country_that_sends(lambda _, tick: tick.send(Bell, region=EAST))
    east = country.machines[EAST]
    east._game_mail._game = replace(east.game, version=9)
    country.round()
    country.settle()
    (dead,) = country.machines[WEST].post.dead
    assert dead.reason == "Bell of march 1, and this is 9"
    assert not heard[EAST]
    # Replayed by an operator when the versions are the same again, it arrives.
    east._game_mail._game = east.game
    country.tick(WEST, ("replay_letter", 1, 1, dead.number))
    country.settle()
    assert len(heard[EAST]) == 1
    assert not country.machines[WEST].post.dead


def test_mail_that_the_way_has_no_room_for_becomes_a_dead_letter_of_its_sender(monkeypatch):
    def say(_, tick):
        for _ in range(3):
            tick.send(Bell, region=EAST)

    country, heard = country_that_sends(say)
    monkeypatch.setattr("server.shard.mail.STREAM_LETTERS_MAX", 2)
    country.round()
    west = country.machines[WEST]
    (dead,) = west.post.dead
    assert (dead.reason, dead.letter.source, west.post.unsent) == ("the way to region 4 is blocked", WEST, 1)
    # And is kept as others are.
    country.checkpoint(WEST)
    country.crash(WEST)
    country.settle()
    country.tick(WEST, ("replay_letter", 1, 1, dead.number))
    country.settle()
    assert sum(len(mail) for _, mail in heard[EAST]) == 3
    assert not country.machines[WEST].post.dead


def as_it_is(_saved):
    """Of another version, and the same."""


STEP = Migration(1, 2, as_it_is, as_it_is, same_mail=True)


def test_what_is_under_way_when_a_world_is_upgraded_arrives_where_the_step_says_that_mail_is_the_same():
    country, heard = country_that_sends(lambda _, tick: tick.send(Hit, at=([-1.0], [-1.0], [4.0]), damage=[7]))
    country.tick(WEST)
    older = country.machines
    newer = replace(older[WEST].game, version=2, migrations=(STEP,), mail=(*GAME.mail, Note))
    country = Country(make=lambda n: region(n, game=newer))
    for number, machine in country.machines.items():
        machine.adopt(machine.migrated(older[number].capture()))
    country.settle()
    assert [[mail.damage.tolist() for _, mail in heard[n]] for n in heard] == [[[7]]] * 4
    assert not any(m.post.dead for m in country.machines.values())


@pytest.mark.parametrize("behind", [WEST, EAST])
def test_while_regions_are_upgraded_one_by_one_mail_goes_both_ways(behind):
    country, heard = country_that_sends(lambda _, tick: tick.send(Bell, region=EAST), migrations=(STEP,))
    machine = country.machines[WEST + EAST - behind]
    machine._game_mail._game = replace(machine.game, version=2, mail=(*GAME.mail, Note))
    country.round()
    country.settle()
    assert len(heard[EAST]) == 1


def test_mail_that_a_version_refused_can_be_sent_again_to_a_later_one_that_knows_better():
    country, heard = country_that_sends(lambda _, tick: tick.send(Bell, region=EAST))
    east = country.machines[EAST]
    east._game_mail._game = replace(east.game, version=2, migrations=(replace(STEP, same_mail=False),))
    country.round()
    country.settle()
    (dead,) = country.machines[WEST].post.dead
    assert not heard[EAST]
    steps = (STEP, Migration(2, 3, as_it_is, same_mail=True))
    east._game_mail._game = replace(east.game, version=3, migrations=steps)
    country.tick(WEST, ("replay_letter", 1, 1, dead.number))
    country.settle()
    assert len(heard[EAST]) == 1


def test_mail_that_a_step_wrongly_takes_for_the_same_is_refused_where_it_does_not_fit():
    country, heard = country_that_sends(lambda _, tick: tick.send(Coins, region=EAST, coins=7, payer=0))
    east = country.machines[EAST]
    swapped = replace(east.game, version=2, migrations=(STEP,), mail=(Hit, Coins, Bell))
    east._game_mail = Letters(swapped, east.division, EAST)
    country.round()
    country.settle()
    (dead,) = country.machines[WEST].post.dead
    assert dead.reason.startswith("not mail")
    assert not heard[EAST]


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (99, b""),
        (FIRST_MAIL, b"\xff"),
        (FIRST_MAIL, b"\x91\x01"),
        (FIRST_MAIL + 2, b"\x96\x01\x03\x07\x00\x90\x90"),
        (FIRST_MAIL + 1, b"\x96\x01\x03\x02\x01\x90\x91\xc4\x01\x01"),
        (FIRST_MAIL + 1, b"\x96\x01\x03\x00\x02\x90\x91\xc4\x01\x01"),
        (FIRST_MAIL + 2, b"\x96\x01\xa1x\x00\x01\x90\x90"),
        (FIRST_MAIL + 2, b"\x96\x01\xff\x00\x01\x90\x90"),
        (FIRST_MAIL + 2, b"\x96\x01\x03\x00\xa1x\x90\x90"),
        (FIRST_MAIL + 2, b"\x96\x01\x03\x00\xff\x90\x90"),
        (FIRST_MAIL + 2, b"\x96\x01\x03\x00\xcf\x00\x00\x0f\x00\x00\x00\x00\x00\x90\x90"),
    ],
    ids=[
        "no such kind",
        "no msgpack",
        "too few parts",
        "for nothing known",
        "no place",
        "too few values",
        "from nowhere",
        "from before the first",
        "no number of messages",
        "fewer than none",
        "more than any memory holds",
    ],
)
def test_letters_that_are_no_mail_are_refused(kind, payload):
    country = Country()
    country.tick(WEST)
    west = country.machines[WEST]
    west.post.send(EAST, Lane.NORMAL, kind, payload)
    country.settle()
    assert [d.letter.payload for d in west.post.dead] == [payload]


def test_a_long_letter_is_several(monkeypatch):
    monkeypatch.setattr("server.regions.letters.LETTER_BYTES_MAX", 1024)
    n = 100
    country, heard = country_that_sends(
        lambda _, tick: tick.send(Hit, at=(np.zeros(n), np.full(n, -30.0), 1.0), here=False, damage=np.arange(n))
    )
    country.tick(WEST)
    assert len(country.letters) == 3
    country.settle()
    (_, mail) = heard[EAST][0]
    assert mail.damage.tolist() == list(range(n))


@pytest.mark.parametrize("lane", ["urgent", "normal", "bulk"])
def test_mail_from_where_an_entity_has_just_left_goes_behind_it_whatever_its_lane(lane):
    country, heard = country_that_sends(
        lambda world, tick: tick.send(Coins, to=number, region=EAST, coins=9, payer=0, lane=lane)
    )
    west = country.machines[WEST].world
    row = int(west.spawn(WALKER)[0])
    number = west.id_of(np.array([row]))
    # It goes over the border in the very tick in which somebody there pays it.
    west[Position].x[row], west[Position].y[row] = 9.0, -30.0
    country.tick(WEST)
    lanes = sorted({(letter.destination, letter.lane) for _, letter in country.letters})
    assert lanes == [(EAST, Lane.URGENT)], "on another lane it would come before the one it is for, and be nobody's"
    country.settle()
    assert [len(mail) for _, mail in heard[EAST]] == [1]
    assert heard[EAST][0][1].row[0] >= 0
