"""The region machine: same inputs, same bytes; who is where, who is told what, what counts."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.codec import decode_server
from server.regions.atlas import Atlas
from server.regions.borders import RULES
from server.regions.frame import SESSION_OVER, Frame
from server.regions.machine import RegionMachine
from server.shard.errors import CaptureRefused
from server.shard.inbox import Inbox
from server.shard.machine import NOTHING, PROCESSED, TickInput
from server.shard.mail import REFUSAL, Lane, Letter, unwrap_refusal
from server.sim import CapacityError
from tests.support import march
from tests.support.captures import damaged, frozen
from tests.support.orders import batch, tick_input
from tests.support.pasture import GAME, PLAYER, REGION, SHEEP, Body, Buy, Move, Position, Rang, Said, one_of_us, pasture
from tests.support.replica import PlainReplica

SESSIONS = (3, 7, 2**64 - 1)


def join(session, name=b"Ada"):
    return ("join", session, 0, b"account", name)


def step(machine, *orders):
    """A tick with these orders: (frame, receipts)."""
    effects = machine.step(tick_input(machine, *orders) if orders else NOTHING)
    assert effects.tick == machine.tick
    return Frame.decode(effects.frame, machine.game.schema), effects.receipts.tolist()


def row_of(machine, session):
    return int(machine.sessions.rows(np.array([session], np.uint64), machine.world)[0])


def events(frame):
    return [(e.sessions, e.place, (m := decode_server(e.message)).event, tuple(m.args)) for e in frame.events]


# What three players may do in a tick.
ORDERS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), st.sampled_from(SESSIONS)),
        st.tuples(st.just("leave"), st.sampled_from(SESSIONS)),
        st.tuples(st.just("presence"), st.sampled_from(SESSIONS), st.integers(0, 1)),
        st.tuples(st.just("Move"), st.sampled_from(SESSIONS), st.floats(-40, 100, width=32)),
        st.tuples(st.just("Buy"), st.sampled_from(SESSIONS), st.integers(0, 255)),
        st.tuples(
            st.just("Cull"), st.sampled_from(SESSIONS), st.builds(one_of_us, st.integers(0, 70), st.integers(1, 2))
        ),
        st.tuples(st.just("Say"), st.sampled_from(SESSIONS), st.sampled_from((b"hi", b"oh"))),
    ),
    max_size=6,
)


class Script:
    """Ticks of orders through a real inbox; it numbers them."""

    def __init__(self, ticks):
        self.ticks = ticks
        self.seq = 0

    def orders(self, orders):
        for kind, session, *args in orders:
            self.seq += 1
            if kind == "join":
                yield join(session)
            elif kind == "Move":
                yield "Move", session, self.seq, args[0], 20.0
            else:
                yield kind, session, self.seq, *args

    def play(self, machine, on_tick):
        inbox = Inbox(machine.shapes, 1000, 2)
        for orders in self.ticks:
            inbox.offer(batch(machine.shapes, self.orders(orders)))
            machine = on_tick(machine, inbox.take(machine.high_water)) or machine


@settings(max_examples=60, deadline=None)
@given(st.lists(ORDERS, min_size=1, max_size=15), st.data())
def test_the_same_inputs_give_the_same_bytes_live_replayed_and_restored(ticks, data):
    restore_at = data.draw(st.integers(1, len(ticks)))
    replica, late = PlainReplica(GAME.schema), PlainReplica(GAME.schema)
    live = pasture()
    replica.apply(live.keyframe())
    journal, frames, digests, receipts = [], [], [], []

    def tick(machine, inputs):
        effects = machine.step(inputs)
        journal.append(inputs.encode())
        frames.append(effects.frame)
        receipts.append(effects.receipts.tolist())
        digests.append(machine.digest())
        replica.apply(effects.frame)
        if late.tick >= 0:
            late.apply(effects.frame)
            assert (late.archetype, late.records) == (replica.archetype, replica.records)
        if machine.tick == restore_at:
            restored = pasture()
            step(restored, join(99), join(98))
            restored.adopt(machine.capture())
            assert frozen(restored.capture().arrays) == frozen(machine.capture().arrays)
            assert restored.keyframe() == machine.keyframe()
            late.apply(restored.keyframe())
            return restored
        return None

    Script(ticks).play(live, tick)
    # Once more from what a journal keeps, in a machine of its own.
    replayed = pasture()
    for payload, frame, digest, receipt in zip(journal, frames, digests, receipts, strict=True):
        effects = replayed.step(TickInput.decode(payload, replayed.shapes))
        assert effects.frame == frame
        assert effects.receipts.tolist() == receipt
        assert replayed.digest() == digest


def test_another_seed_is_another_world():
    assert pasture(seed=1).digest() != pasture(seed=2).digest()
    assert pasture(seed=1).digest() == pasture(seed=1).digest()


# -- coming and going --------------------------------------------------------------------


def test_who_joins_is_bound_to_an_entity_that_enters_in_the_same_frame():
    machine = pasture()
    frame, _ = step(machine, join(7, "Zoë".encode()), join(3))
    rows = [row_of(machine, s) for s in (3, 7)]
    assert frame.bound.tolist() == [(3, rows[0]), (7, rows[1])]
    assert frame.entered.tolist() == rows
    assert machine.world.owner[rows].tolist() == [3, 7]
    assert machine.world[Body].name[rows].tolist() == [b"Ada", "Zoë".encode()]
    assert machine.gauges() == {"entities": 8, "sessions": 2, "divided": 0, "to_nobody": 0}
    assert machine.high_water(np.array([3, 4, 7], np.uint64)).tolist() == [0, -1, 0]


def test_joining_twice_changes_nothing():
    machine = pasture()
    step(machine, join(7))
    frame, _ = step(machine, join(7, b"Eve"))
    assert not frame.bound.size
    assert not frame.refused
    assert machine.world.rows_of(PLAYER).size == 1


def test_a_full_region_refuses_whom_it_cannot_hold_and_says_why():
    machine = pasture()
    machine.world.spawn(SHEEP, REGION.entities_max - machine.world.count - 1)
    frame, _ = step(machine, join(3), join(7))
    assert frame.bound["session"].tolist() == [3]
    assert [session for session, _ in frame.refused] == [7]
    assert "do not fit" in frame.refused[0][1]
    assert machine.high_water(np.array([7], np.uint64)).tolist() == [-1]
    frame, _ = step(machine, ("leave", 3, 1))
    frame, _ = step(machine, join(7))
    assert frame.bound["session"].tolist() == [7], "there is room again"


def test_who_leaves_is_gone_in_that_frame_and_forgotten():
    machine = pasture()
    step(machine, join(3))
    row = row_of(machine, 3)
    frame, _ = step(machine, ("Move", 3, 1, 5.0, 30.0), ("leave", 3, 0))
    assert frame.left.tolist() == [row]
    assert frame.refused == [(3, SESSION_OVER)]
    assert frame.acks.tolist() == [(3, 1)]
    assert len(machine.sessions) == 0
    step(machine, ("leave", 3, 0), ("presence", 3, 1, 1))


def test_joining_and_leaving_in_one_tick_leaves_nothing_behind():
    machine = pasture()
    before = machine.world.count
    frame, _ = step(machine, join(3), ("leave", 3, 0))
    assert frame.bound["session"].tolist() == [3]
    assert not frame.entered.size
    assert frame.refused == [(3, SESSION_OVER)]
    assert (machine.world.count, len(machine.sessions)) == (before, 0)


def test_within_a_tick_players_come_are_here_or_away_act_and_leave():
    seen = []

    def note(what, keep=None):
        def hook(world, tick, *args):
            seen.append(what)
            return keep(world, tick, *args) if keep else None

        return hook

    def act(world, tick):
        seen.append(f"{len(tick.commands(Move))} moves")

    game = replace(
        GAME, join=note("join", GAME.join), back=note("back"), away=note("away"), leave=note("leave"), systems=(act,)
    )
    machine = pasture(game=game)
    step(machine, join(3))
    seen.clear()
    step(machine, ("leave", 3, 0), ("Move", 3, 1, 1.0, 20.0), ("presence", 3, 1, 0), ("presence", 3, 2, 1), join(7))
    assert seen == ["join", "back", "1 moves", "leave"]


def test_presence_is_told_to_the_game():
    machine = pasture()
    step(machine, join(3))
    row = row_of(machine, 3)
    for here in (0, 1):
        step(machine, ("presence", 3, here + 1, here), ("presence", 99, 1, here))
        assert machine.world[Body].heat[row] == here


def test_whose_entity_the_game_removed_is_told_once_and_forgotten():
    machine = pasture()
    step(machine, join(3), join(7))
    row = row_of(machine, 3)
    frame, _ = step(machine, ("Cull", 7, 1, one_of_us(row)))
    assert frame.refused == [(3, "removed by the game")]
    assert frame.left.tolist() == [row]
    assert (((3,), None, 0, ("farewell",))) in events(frame), "it still hears of its own end"
    assert machine.high_water(np.array([3, 7], np.uint64)).tolist() == [-1, 1]
    frame, _ = step(machine, ("Cull", 7, 2, one_of_us(row)))
    assert not frame.refused
    assert not frame.events


def test_what_a_journal_of_format_1_has_of_handles_is_about_whom_they_named():
    machine, of_before = pasture(), pasture()
    for each in (machine, of_before):
        step(each, join(3), join(7))
    row = row_of(machine, 7)
    # Of seven in one tick: the player, sheep, a stone without a body, nobody yet, nobody ever, and what was nobody's.
    handles = [row, 1, 0, 200, 255, 256, 2**32 - 1]
    kind, shape = next((k, s) for k, s in machine.shapes.items() if s.name == "Cull")
    assert shape.handles_dtype.itemsize == 16
    old = np.array([(3, 1 + n, handle) for n, handle in enumerate(handles)], shape.handles_dtype)
    now = [("Cull", 3, 1 + n, one_of_us(handle) if handle < 256 else 0) for n, handle in enumerate(handles)]
    live = tick_input(machine, *now)
    payload = replace(live, batches={kind: old}).encode()
    inputs = TickInput.decode(payload, of_before.shapes, format=1)
    assert [r["whom"] for r in inputs.batches[kind]] == handles
    machine.replay(live)
    of_before.replay(inputs)
    assert machine.digest() == of_before.digest()
    assert machine.sessions.rows(np.array([7], np.uint64), machine.world).tolist() == [-1]


def test_one_region_among_several_tells_the_rules_between_them():
    lone = pasture()
    assert "rules between regions" not in lone.fingerprint
    # Whether it may be divided is said at any start, after a kill, too.
    may_be_divided = RegionMachine(
        GAME, REGION, seed=11, tick_rate_hz=20.0, atlas=Atlas([REGION], split_depth=1, part_margin=4.0)
    )
    assert may_be_divided.fingerprint == lone.fingerprint
    for number in (region.id for region in march.ATLAS.regions):
        machine = march.region(number)
        assert machine.fingerprint == lone.fingerprint | {"rules between regions": str(RULES)}
        assert machine.capture().fingerprint == machine.fingerprint


# -- what counts -------------------------------------------------------------------------


def test_a_dead_entitys_commands_are_not_applied_though_its_numbers_count():
    def vanish(world, tick, row):
        world.despawn(np.array([row]))

    seen = []

    def watch(world, tick):
        seen.append((tick.commands(Buy).session.tolist(), tick.commands(Move).row.tolist()))

    machine = pasture(game=replace(GAME, away=vanish, systems=(watch,)))
    step(machine, join(3), join(7))
    frame, receipts = step(
        machine,
        ("presence", 3, 1, 0),
        *[("Buy", s, 4, 1) for s in (3, 7)],
        *[("Move", s, 5, 1.0, 20.0) for s in (3, 7)],
    )
    assert seen[-1] == ([7], [row_of(machine, 7)])
    assert frame.acks.tolist() == [(3, 5), (7, 5)]
    assert receipts == [(7, 4)], "what was not done has no receipt"


def test_receipts_name_each_reliable_command_done_and_no_other():
    machine = pasture()
    step(machine, join(3), join(7))
    _, receipts = step(
        machine, ("Buy", 7, 9, 1), ("Say", 3, 1, b"x"), ("Buy", 3, 4, 1), ("Buy", 3, 2, 1), ("Move", 3, 8, 1.0, 20.0)
    )
    assert receipts == [(3, 2), (3, 4), (7, 9)]
    assert machine.world.rows_of(SHEEP).size == 8
    assert step(machine, ("Say", 3, 10, b"x"))[1] == []


def test_commands_are_not_for_writing_since_a_replay_could_not():
    def scribble(world, tick):
        tick.commands(Move).x[:] = 0

    for crowd in ((3,), (3, 7)):
        machine = pasture(game=replace(GAME, systems=(scribble,)))
        step(machine, *[join(s) for s in crowd])
        with pytest.raises(ValueError, match="read-only"):
            step(machine, *[("Move", s, 1, 1.0, 20.0) for s in crowd])


# -- events ------------------------------------------------------------------------------


def test_an_event_is_heard_by_owners_by_those_who_see_its_place_or_by_all():
    machine = pasture()
    step(machine, join(3), join(7))
    frame, _ = step(machine, ("Say", 3, 1, b"hello"), ("Say", 7, 1, "Zoë".encode()))
    assert events(frame) == [((), None, 0, ("hello",)), ((), None, 0, ("Zoë",))]
    frame, _ = step(machine, ("Move", 7, 2, -31.0, 18.0), ("Buy", 7, 3, 9))
    assert events(frame) == [((), (64, 128), 1, (9,)), ((), None, 2, ())]
    frame, _ = step(machine, ("Cull", 3, 2, one_of_us(row_of(machine, 7))))
    assert events(frame) == [((7,), None, 0, ("farewell",))]


def test_events_for_entities_without_a_player_are_heard_by_nobody():
    machine = pasture()
    step(machine, join(3))
    frame, _ = step(machine, ("Cull", 3, 1, one_of_us(int(machine.world.rows_of(SHEEP)[0]))))
    assert frame.left.size == 1
    assert not frame.events


def test_nobody_is_not_the_last_row():
    """`resolve` and `known` return -1 for nobody; a player in the last row must not hear what is for nobody."""

    def tell(world, tick):
        tick.emit(Said, to=np.array([-1]), text=b"secret")
        tick.emit(Said, to=np.array([-1, world.capacity - 1, -1]), text=np.array([b"a", b"b", b"c"]))
        tick.emit(Rang, to=np.array([-1, world.capacity - 1]))

    machine = pasture(game=replace(GAME, systems=(tell,)))
    machine.world.spawn(SHEEP, REGION.entities_max - machine.world.count - 1)
    step(machine, join(3))
    assert row_of(machine, 3) == REGION.entities_max - 1
    frame, _ = step(machine)
    assert events(frame) == [((3,), None, 0, ("b",)), ((3,), None, 2, ())]


def test_an_event_without_arguments_reaches_each_it_is_for():
    def ring(world, tick):
        tick.emit(Rang)
        tick.emit(Rang, to=world.rows_of(PLAYER))
        tick.emit(Rang, at=(world[Position].x[[0, 0]], world[Position].y[[0, 0]]))
        tick.emit(Rang, to=np.zeros(0, np.int64))

    machine = pasture(game=replace(GAME, systems=(ring,)))
    frame, _ = step(machine, join(3), join(7))
    heard = [(e[0], e[1] is None) for e in events(frame)]
    assert heard == [((), True), ((3,), True), ((7,), True), ((), False), ((), False)]


def test_who_leaves_hears_no_more():
    machine = pasture()
    step(machine, join(3), join(7))
    frame, _ = step(machine, ("Cull", 7, 1, one_of_us(row_of(machine, 3))), ("leave", 3, 0))
    assert [e[0] for e in events(frame)] == [(3,)], "its entity died before it left"
    machine = pasture(game=replace(GAME, systems=(lambda world, tick: tick.emit(Rang, to=world.rows_of(PLAYER)),)))
    step(machine, join(3), join(7))
    frame, _ = step(machine, ("leave", 3, 0))
    assert [e[0] for e in events(frame)] == [(7,)]


# -- frames, captures --------------------------------------------------------------------


def test_digests_come_as_often_as_told_and_acks_are_the_numbers_processed():
    machine = pasture()
    digests = [step(machine)[0].digest is not None for _ in range(11)]
    assert digests == [n % 5 == 0 for n in range(1, 12)]
    step(machine, join(3))
    frame, _ = step(machine, ("Move", 3, 8, 1.0, 20.0), ("Move", 3, 11, 1.0, 20.0))
    assert frame.acks.tolist() == [(3, 11)]


def test_the_digest_sees_tick_sessions_and_world():
    machine = pasture()
    seen = [machine.digest()]
    step(machine)
    seen.append(machine.digest())
    step(machine, join(3))
    seen.append(machine.digest())
    machine.sessions.applied(np.array([(3, 5)], PROCESSED))
    seen.append(machine.digest())
    machine.world[Body].moves[0] += 1
    seen.append(machine.digest())
    assert len(set(seen)) == 5


def refused_captures(machine):
    whole = machine.capture()
    for name, arrays in damaged(whole.arrays):
        yield name, replace(whole, arrays=arrays)
    yield "another game", replace(whole, game="meadow")
    yield "a later version", replace(whole, simulation=whole.simulation + 1)
    for term, value in (("seed", 12), ("tick_rate_hz", 30.0), ("entities_max", 64), ("width", 64.0), ("region", 5)):
        yield term, replace(whole, terms={**whole.terms, term: value})
    # A session that plays a row which no world of this capacity has.
    rows = np.full(len(machine.sessions), 1 << 40)
    yield "row", replace(whole, arrays={**whole.arrays, "@sessions.row": rows})


def test_a_refused_capture_changes_nothing():
    other, machine = pasture(), pasture()
    step(other, join(3), join(5))
    step(machine, join(7))
    before = frozen(machine.capture().arrays)
    for name, capture in refused_captures(other):
        with pytest.raises(CaptureRefused):
            machine.adopt(capture)
        assert frozen(machine.capture().arrays) == before, name
    machine.adopt(other.capture())
    assert machine.digest() == other.digest()


def test_a_refusal_names_the_setting_that_differs():
    capture = pasture(seed=12).capture()
    with pytest.raises(CaptureRefused, match="seed is 11 here and was 12 where it was written"):
        pasture().adopt(capture)


def test_a_capture_stays_as_it_was_when_the_machine_goes_on():
    machine = pasture()
    step(machine, join(3))
    capture = machine.capture()
    before, digest = frozen(capture.arrays), machine.digest()
    step(machine, ("Move", 3, 1, 5.0, 20.0), ("Buy", 3, 2, 9), ("Cull", 3, 3, one_of_us(2)))
    assert frozen(capture.arrays) == before
    restored = pasture()
    restored.adopt(capture)
    assert (restored.digest(), restored.tick) == (digest, 1)
    # The spare's memory is used again, also where the state has grown.
    again = machine.capture(capture)
    assert frozen(again.arrays) == frozen(machine.capture().arrays)
    assert any(np.shares_memory(again.arrays[name], array) for name, array in capture.arrays.items() if array.size)


def test_a_replayed_tick_is_the_tick_and_the_next_frame_follows_it():
    live, replayed = pasture(), pasture()
    replica = PlainReplica(GAME.schema)
    orders = [[join(3)], [("Move", 3, 1, 5.0, 20.0)], [("Buy", 3, 2, 9)], [("Cull", 3, 3, one_of_us(2))], []]
    for tick in orders[:-1]:
        inputs = tick_input(live, *tick)
        live.step(inputs)
        replayed.replay(inputs)
        assert (replayed.digest(), replayed.tick) == (live.digest(), live.tick)
    assert replayed.keyframe() == live.keyframe()
    replica.apply(replayed.keyframe())
    inputs = tick_input(live, ("Say", 3, 4, b"hi"), ("Move", 3, 5, 6.0, 20.0))
    frame = replayed.step(inputs).frame
    assert frame == live.step(inputs).frame
    replica.apply(frame)


def test_a_game_that_fails_fails_aloud():
    def broken(world, tick):
        raise CapacityError("a system's, which is no join's")

    machine = pasture(game=replace(GAME, systems=(broken,)))
    with pytest.raises(CapacityError):
        machine.step(NOTHING)


# -- mail --------------------------------------------------------------------


def test_mail_of_an_unknown_kind_goes_back_and_is_a_dead_letter_of_its_sender():
    machine = pasture()
    letter = Letter(9, REGION.id, Lane.NORMAL, 1, 60_000, 3, b"cargo")
    (refusal,) = machine.step(replace(NOTHING, mail=(letter,))).mail
    assert (refusal.kind, refusal.destination) == (REFUSAL, 9)
    assert unwrap_refusal(refusal)[0] == letter
    assert machine.post.dead == ()

    sender = pasture()
    assert sender.post.send(9, Lane.NORMAL, 60_000, b"cargo")
    (sent,) = sender.post.posted
    other = pasture()
    other.post.shard = 9
    (back,) = other.step(replace(NOTHING, mail=(sent,))).mail
    assert sender.step(replace(NOTHING, mail=(back,))).mail == ()
    (dead,) = sender.post.dead
    assert dead.letter == sent
    assert dead.reason == f"{GAME.name} {GAME.version} knows no mail of kind 60000"


def test_a_refusal_that_makes_no_sense_is_kept_and_not_answered():
    machine = pasture()
    letter = Letter(9, REGION.id, Lane.NORMAL, 1, REFUSAL, 3, b"rubbish")
    assert machine.step(replace(NOTHING, mail=(letter,))).mail == ()
    assert [dead.letter for dead in machine.post.dead] == [letter]


def test_an_operators_word_on_dead_letters_is_input_like_any_other():
    machine = pasture()
    for n in (1, 2, 3):
        machine.post.bury(Letter(REGION.id, 9, Lane.NORMAL, n, 60_000, 3, b"%d" % n), "no")
    orders = [("drop_letter", 0, 1, 1), ("drop_letter", 0, 2, 3), ("replay_letter", 0, 3, 2)]
    (sent,) = machine.step(tick_input(machine, *orders)).mail
    assert (sent.destination, sent.payload) == (9, b"2")
    assert machine.post.dead == ()


def test_mail_is_state():
    machine, silent = pasture(), pasture()
    machine.post.send(9, Lane.BULK, 60_000, b"cargo")
    assert machine.digest() != silent.digest()
    capture = machine.capture()
    silent.adopt(capture)
    assert silent.digest() == machine.digest()
    assert silent.post.unacked() == machine.post.unacked()
    for what, arrays in damaged({n: a for n, a in capture.arrays.items() if n.startswith("@mail.")})[:-1]:
        whole = {n: a for n, a in capture.arrays.items() if not n.startswith("@mail.")}
        with pytest.raises(CaptureRefused):
            silent.adopt(replace(capture, arrays={**whole, **arrays}))
        assert silent.digest() == machine.digest(), what
