"""Mail as games declare and send it. Commands and events: tests/sim/test_game.py."""

from dataclasses import replace

import numpy as np
import pytest

from server.sim import U8, U64, DeclarationError, Mail, Tick, arg
from server.sim.game import despawn_on_leave
from tests.support.march import GAME, Bell, Coins, Hit


class Word(Mail):
    said: bytes = arg("utf8", size=6)
    loud: U8 = arg("bool")
    by: U64 = arg("entity")


def tick():
    return Tick(7, 0.05, 1, {})


def test_an_entity_is_named_by_its_number_in_every_region():
    assert [d.str for d in Word.dtypes()] == ["|S6", "|u1", "<u8"]
    none = Word.none()
    assert len(none) == 0
    assert (none.by.dtype, none.said.dtype) == (np.dtype("<u8"), np.dtype("S6"))
    assert (none.row.dtype, none.source.dtype, none.radius.dtype) == (np.int64, np.uint32, np.float32)


def test_no_mail_is_empty_mail():
    assert len(tick().mail(Hit)) == 0
    one = Hit(
        np.array([3]),
        np.array([7], np.uint64),
        np.array([1], np.uint32),
        (np.zeros(1, np.float32),) * 3,
        (np.array([9], np.uint8),),
    )
    letters = Tick(7, 0.05, 1, {}, letters={Hit: one})
    assert letters.mail(Hit) is one
    assert len(letters.mail(Coins)) == 0


def test_mail_to_entities():
    t = tick()
    ids = np.array([2**63, 5], np.uint64)
    t.send(Coins, to=ids, coins=np.array([1, 2]), payer=9, lane="bulk")
    ids[:] = 0
    (sent,) = t.sent
    assert (sent.kind, sent.lane, sent.n, sent.at, sent.region) == (Coins, "bulk", 2, None, None)
    assert sent.to.tolist() == [2**63, 5], "a copy: what was handed in may be a column"
    assert [(v.tolist(), v.dtype.str) for v in sent.values] == [([1, 2], "|u1"), ([9, 9], "<u8")]
    t.send(Coins, to=ids, region=np.array([3, 4]), coins=1, payer=9)
    assert t.sent[1].region.tolist() == [3, 4]


def test_mail_to_places():
    t = tick()
    x = np.array([1.0, 2.0], np.float32)
    t.send(Hit, at=(x, x + 1, 5.0), here=False, damage=3)
    x[:] = 0
    (sent,) = t.sent
    assert [v.tolist() for v in sent.at] == [[1.0, 2.0], [2.0, 3.0], [5.0, 5.0]]
    assert (sent.n, sent.here, sent.lane, sent.to) == (2, False, "normal", None)


def test_mail_to_regions():
    t = tick()
    t.send(Bell, region=4)
    t.send(Bell, region=np.array([4, 5]))
    assert [s.region.tolist() for s in t.sent] == [[4], [4, 5]]


def test_mail_to_nobody_is_not_sent():
    t = tick()
    nothing = np.zeros(0)
    t.send(Hit, at=(nothing, nothing, 5.0), damage=3)
    t.send(Coins, to=nothing, coins=1, payer=0)
    t.send(Bell, region=nothing)
    assert not t.sent


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"to": [1], "at": ([0.0], [0.0], [0.0])},
        {"region": 3, "at": ([0.0], [0.0], [0.0])},
    ],
)
def test_mail_says_whom_it_is_for(arguments):
    with pytest.raises(DeclarationError, match="for entities, for places, or for regions"):
        tick().send(Bell, **arguments)


def test_mail_has_the_arguments_that_it_declares():
    with pytest.raises(DeclarationError, match="Hit takes"):
        tick().send(Hit, region=3)
    with pytest.raises(DeclarationError, match="Bell takes"):
        tick().send(Bell, region=3, damage=1)
    with pytest.raises(DeclarationError, match="has no bounds"):
        type("Bounded", (Mail,), {"n": arg("u8", max=3)})


@pytest.mark.parametrize("name", ["row", "source", "x", "radius", "to", "at", "region", "here", "lane", "class"])
def test_an_argument_of_mail_has_a_name_of_its_own(name):
    with pytest.raises(DeclarationError):
        replace(GAME, mail=(type("Odd", (Mail,), {name: arg("u8")}),))


def test_mail_has_a_name_that_nothing_else_has():
    with pytest.raises(DeclarationError, match="names of their own"):
        replace(GAME, mail=(type("Rang", (Mail,), {}),))


def test_randomness_of_regions_among_several_is_their_own():
    rows = np.arange(5)
    alone, here, there = (Tick(7, 0.05, 1, {}, system="s", place=p) for p in ("", "@3", "@4"))
    draws = [t.random("x").bits(rows).tolist() for t in (alone, here, there)]
    assert len({tuple(d) for d in draws}) == 3


def test_the_engine_keeps_names_of_streams_for_itself():
    def arrive(world, tick):
        despawn_on_leave(world, tick, 0)

    with pytest.raises(DeclarationError, match="arrive"):
        replace(GAME, systems=(arrive,))
