"""The host's contract: journal, then tick, then what may leave; receipts only once durable; time gives way."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from structlog.testing import capture_logs

from server.bus.memory import MemoryBus
from server.host.host import HostOptions, ShardHost
from server.host.reception import ReceptionOptions
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.regions.frame import Frame
from server.shard.envelope import unseal
from server.shard.machine import CLAIM, NOTHING, PROCESSED, TickInput, encode_batches
from server.shard.ports import commands_topic, frames_topic, keyframes_topic, receipts_topic, uplink_topic
from server.shard.uplink import Outgoing
from server.sim import Mail
from server.store.errors import Fenced, StoreFailed
from server.store.memory import MemoryJournal
from tests.support.captures import frozen
from tests.support.clock import VirtualClock
from tests.support.orders import batch
from tests.support.pasture import GAME, REGION, SHEEP, Body, one_of_us, pasture
from tests.support.replica import PlainReplica

SHARD = REGION.id
OPTIONS = HostOptions(
    tick_rate_hz=20.0,
    catch_up_ticks_max=5,
    inbox_max=1000,
    commands_per_tick_max=8,
    durability="pipelined",
    simulation=GAME.version,
    journal_backlog_max=4,
    # Commands come from nowhere: no gateway speaks for a session.
    reception=ReceptionOptions(gateway_silence_s=1e9, grace_s=1e9),
)


class NotingJournal(MemoryJournal):
    """A memory journal that notes when it was given what."""

    def __init__(self, notes, **options):
        super().__init__(**options)
        self.notes = notes

    def append(self, record, on_durable):
        self.notes.append(("journal", record.tick))

        def durable():
            self.notes.append(("durable", record.tick))
            on_durable()

        super().append(record, durable)


class Rig:
    """A pasture that ticks on a virtual clock, and notes of everything that happens, in order."""

    def __init__(self, *, hold=True, game=GAME, journal=None, epoch=None, **options):
        # ("journal" | "durable" | "step" | "frame" | "keyframe", tick), ("receipts", [(session, seq), ...]).
        self.notes = []
        self.clock = VirtualClock()
        self.bus = MemoryBus()
        self.journal = journal or NotingJournal(self.notes, hold=hold, keep_max=10_000)

        def note_step(world, tick):
            self.notes.append(("step", tick.number))

        noting = replace(game, systems=(*game.systems, note_step))
        self.machine = pasture(game=noting)
        self.metrics = Metrics()
        self.health = Health(self.clock.now_s)
        self.replica = PlainReplica(GAME.schema)
        self.replica.apply(self.machine.keyframe())
        self.host = ShardHost(
            self.machine,
            self.journal,
            self.bus,
            self.clock,
            replace(OPTIONS, **options),
            self.metrics,
            self.health,
            claim=self.journal.claim_now(SHARD, epoch),
        )
        self.bus.subscribe(frames_topic(SHARD), self.on_frame)
        self.bus.subscribe(receipts_topic(SHARD), self.on_receipts)
        self.digests = {}
        self.host.after_tick.append(
            lambda times, took_s: self.digests.update({self.machine.tick: self.machine.digest()})
        )

    def on_frame(self, data):
        epoch, sealed = unseal(data)
        assert epoch == self.host.epoch
        frame = Frame.decode(sealed, GAME.schema)
        self.notes.append(("keyframe" if frame.key else "frame", frame.tick))
        if not frame.key:
            self.replica.apply(sealed)

    def on_receipts(self, data):
        self.notes.append(("receipts", np.frombuffer(data, PROCESSED).tolist()))

    def send(self, *orders):
        self.bus.publish(commands_topic(SHARD), batch(self.machine.shapes, orders))

    def tick(self, *orders):
        """One tick, with these orders; returns what was noted of it."""
        if orders:
            self.send(*orders)
        self.notes.clear()
        self.host.tick_once()
        return list(self.notes)

    def sync(self, records_max=None):
        self.notes.clear()
        self.journal.sync(records_max)
        return list(self.notes)

    async def run_for(self, ticks, on_turn=lambda: None, turns_max=20_000):
        """Let `run` run until so many ticks are made."""
        until = self.machine.tick + ticks
        task = asyncio.create_task(self.host.run())
        try:
            for _ in range(turns_max):
                if self.machine.tick >= until or task.done():
                    break
                on_turn()
                await asyncio.sleep(0)
            if task.done():
                task.result()
            assert self.machine.tick >= until, "the ticks stand still"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def metric(self, name, **labels):
        return self.metrics.registry.get_sample_value(name, labels)


JOIN = ("join", 7, 0, b"account", b"Ada")


class Baa(Mail):
    """What sheep say to each other."""


def buy(seq, wool=5):
    return ("Buy", 7, seq, wool)


# -- the seam ------------------------------------------------------------------------------


def test_the_journal_has_the_record_before_the_tick_is_made():
    rig = Rig()
    assert rig.tick(JOIN)[:2] == [("journal", 1), ("step", 1)]
    assert rig.tick(buy(1))[:2] == [("journal", 2), ("step", 2)]
    assert rig.tick() == [("step", 3), ("frame", 3)], "a tick without input has no record"


def test_pipelined_frames_leave_at_once_and_receipts_once_durable():
    rig = Rig()
    rig.tick(JOIN)
    assert rig.tick(buy(1)) == [("journal", 2), ("step", 2), ("frame", 2)]
    assert rig.tick() == [("step", 3), ("frame", 3)]
    assert rig.tick(buy(2)) == [("journal", 4), ("step", 4), ("frame", 4)]
    assert rig.sync(1) == [("durable", 1)]
    assert rig.sync(1) == [("durable", 2), ("receipts", [(7, 1)])]
    assert rig.sync() == [("durable", 4), ("receipts", [(7, 2)])]
    assert rig.sync() == []


def test_strict_frames_leave_with_the_receipts_in_order_of_ticks():
    rig = Rig(durability="strict")
    assert rig.tick(JOIN) == [("journal", 1), ("step", 1)]
    assert rig.tick() == [("step", 2)], "an empty tick does not overtake a held one"
    assert rig.tick(buy(1)) == [("journal", 3), ("step", 3)]
    assert rig.sync(1) == [("durable", 1), ("frame", 1), ("frame", 2)]
    assert rig.sync() == [("durable", 3), ("frame", 3), ("receipts", [(7, 1)])]
    assert rig.tick() == [("step", 4), ("frame", 4)]


@pytest.mark.parametrize("durability", ["pipelined", "strict"])
def test_with_a_store_that_is_durable_at_once_everything_leaves_with_its_tick(durability):
    rig = Rig(hold=False, durability=durability)
    assert rig.tick(
        JOIN,
    ) == [("journal", 1), ("durable", 1), ("step", 1), ("frame", 1)]
    bought = [("journal", 2), ("durable", 2), ("step", 2), ("frame", 2), ("receipts", [(7, 1)])]
    assert rig.tick(buy(1)) == bought
    assert rig.tick() == [("step", 3), ("frame", 3)]


def test_a_refused_record_means_no_tick():
    rig = Rig()
    rig.tick(JOIN)
    rig.send(buy(1))
    rig.journal.fail("disk full")
    with pytest.raises(StoreFailed, match="disk full"):
        rig.host.tick_once()
    assert rig.machine.tick == 1
    assert rig.machine.world.rows_of(SHEEP).size == 5


def test_a_stale_owner_collides_in_the_journal_and_makes_no_tick():
    journal = MemoryJournal(keep_max=100)
    stale, owner = Rig(journal=journal), Rig(journal=journal)
    owner.tick(JOIN)
    stale.send(JOIN)
    with pytest.raises(Fenced):
        stale.host.tick_once()
    assert stale.machine.tick == 0
    assert [(r.tick, r.epoch) for r in journal.records(SHARD)] == [(1, 2)]


def test_a_record_says_who_wrote_what_for_which_version():
    rig = Rig(hold=False, epoch=9)
    rig.tick(JOIN, buy(1))
    (record,) = rig.journal.records(SHARD)
    assert (record.shard, record.tick, record.epoch, record.simulation) == (SHARD, 1, 9, GAME.version)
    # Its session was a stranger when the input was taken: the JOIN alone is the input.
    assert list(TickInput.decode(record.payload, rig.machine.shapes, record.format).batches) == [1]


@pytest.mark.parametrize("durability", ["pipelined", "strict"])
def test_the_replayed_journal_gives_what_was_live(durability):
    """Recovery in miniature: records and the empty ticks between them, in a fresh machine."""
    rig = Rig(hold=False, durability=durability)
    rig.tick(JOIN)
    for n in range(1, 120):
        orders = [("Move", 7, 4 * n, n % 90, 20.0), buy(4 * n + 1), ("Say", 7, 4 * n + 2, b"x")]
        if n % 5 == 4:
            orders = [*orders, *orders, ("Cull", 7, 4 * n + 3, one_of_us(n % 30 + 7))]
        rig.tick(*orders[: n % 5 * 2])
    live = rig.machine
    replayed = pasture(game=replace(GAME, systems=(*GAME.systems, lambda world, tick: None)))
    records = rig.journal.records(SHARD)
    assert sum(bool(record.payload) for record in records) == 97 < live.tick == 120
    for record in records:
        while replayed.tick < record.tick - 1:
            replayed.step(NOTHING)
            assert replayed.digest() == rig.digests[replayed.tick]
        assert record.digest in (None, replayed.digest())
        replayed.step(TickInput.decode(record.payload, replayed.shapes, record.format) if record.payload else NOTHING)
        assert replayed.digest() == rig.digests[record.tick]
    while replayed.tick < live.tick:
        replayed.step(NOTHING)
    assert frozen(replayed.capture().arrays) == frozen(live.capture().arrays)
    rig.sync()
    assert rig.replica.digest() == live._frames.digest()


def test_every_so_many_ticks_a_record_carries_the_digest_of_the_state_before_it():
    rig = Rig(hold=False, digest_every_ticks=10)
    for n in range(35):
        rig.tick(*([buy(n)] if n in (9, 10, 25) else [JOIN] if n == 3 else []))
    records = {record.tick: record for record in rig.journal.records(SHARD)}
    # The first of a run, every tenth whether it has input or not, and those with input.
    assert list(records) == [1, 4, 10, 11, 21, 26, 31]
    assert [t for t, record in records.items() if record.digest is not None] == [1, 11, 21, 31]
    assert [t for t, record in records.items() if not record.payload] == [1, 21, 31]
    for tick in (11, 21, 31):
        assert records[tick].digest == rig.digests[tick - 1]


# -- time ----------------------------------------------------------------------------------


async def test_ticks_come_at_their_rate():
    rig = Rig(hold=False)
    starts = []
    rig.host.after_tick.append(lambda times, took_s: starts.append(times))
    await rig.run_for(100)
    assert [t.start_s for t in starts] == pytest.approx([0.05 * n for n in range(1, 101)])
    assert [t.lateness_s for t in starts] == pytest.approx([0] * 100)
    assert rig.metric("everstep_ticks_total") == 100
    assert rig.metric("everstep_tick_rate_hz", region=str(rig.machine.shard)) == pytest.approx(20)
    assert rig.metric("everstep_dilation", region=str(rig.machine.shard)) == pytest.approx(1)
    assert rig.metric("everstep_entities", region=str(rig.machine.shard)) == 6
    assert rig.health.judge().ready


async def test_ticks_too_heavy_for_real_time_dilate_it_and_lose_nothing():
    rig = Rig(hold=False)
    sent = 0

    def work():
        nonlocal sent
        rig.clock.work(0.1)
        sent += 1
        rig.send(("Move", 7, sent, float(sent % 90), 20.0))

    rig.tick(JOIN)
    rig.host.before_tick.append(work)
    lateness = []
    rig.host.after_tick.append(lambda times, took_s: lateness.append(times.lateness_s))
    await rig.run_for(400)
    assert max(lateness) < 0.31
    assert rig.metric("everstep_dilation", region=str(rig.machine.shard)) == pytest.approx(0.5)
    assert rig.metric("everstep_tick_rate_hz", region=str(rig.machine.shard)) == pytest.approx(10)
    assert rig.machine.tick == sent + 1
    assert rig.machine.high_water(np.array([7], np.uint64)).tolist() == [sent]
    assert rig.machine.world[Body].moves[6] == sent


@pytest.mark.parametrize("durability", ["pipelined", "strict"])
async def test_a_store_that_falls_behind_slows_time_and_loses_no_input(durability):
    rig = Rig(durability=durability, commands_per_tick_max=1000)
    rig.tick(JOIN)
    rig.sync()
    rig.notes.clear()
    seq = 0

    def players():
        nonlocal seq
        seq += 2
        rig.send(("Say", 7, seq - 1, b"x"), buy(seq))

    # Each tick has input: four may wait to be durable, then time waits.
    rig.host.before_tick.append(players)
    with pytest.raises(AssertionError, match="stand still"):
        await rig.run_for(10, turns_max=300)
    rig.host.before_tick.clear()
    assert rig.journal.backlog == OPTIONS.journal_backlog_max
    assert (rig.machine.tick, seq) == (1 + 4, 8)
    stopped_s = rig.clock.now_s()
    assert stopped_s > 1.0 / 20 * 4, "time goes by"
    assert rig.metric("everstep_dilation", region=str(rig.machine.shard)) < 0.9, "an operator sees it"
    assert rig.metric("everstep_journal_backlog") == OPTIONS.journal_backlog_max
    frames = [n for n in rig.notes if n[0] == "frame"]
    assert len(frames) == (4 if durability == "pipelined" else 0)
    assert not [n for n in rig.notes if n[0] == "receipts"]

    # Players go on meanwhile; then the store comes back.
    for n in range(100, 120):
        rig.send(("Say", 7, 20_000 + n, b"later"))
    applied = rig.machine.high_water(np.array([7], np.uint64)).tolist()
    rig.notes.clear()
    rig.journal.sync()
    receipts = [seq for kind, told in rig.notes if kind == "receipts" for _, seq in told]
    assert receipts == [2, 4, 6, 8]
    await rig.run_for(1)
    assert applied < [20_119] == rig.machine.high_water(np.array([7], np.uint64)).tolist()
    assert rig.host.inbox.depth == 0
    assert +rig.host.inbox.dropped == {}


async def test_a_quiet_world_ticks_on_while_its_store_is_away_and_holds_a_bounded_number():
    """Ticks without input add nothing to the journal's backlog, and must not pile up behind one that waits."""
    rig = Rig()
    rig.tick(JOIN)
    await rig.run_for(200)
    assert len(rig.host._held) <= 1
    strict = Rig(durability="strict")
    strict.tick(JOIN)
    with pytest.raises(AssertionError, match="stand still"):
        await strict.run_for(200, turns_max=400)
    assert len(strict.host._held) == OPTIONS.journal_backlog_max
    strict.sync()
    assert strict.replica.tick == strict.machine.tick
    await strict.run_for(200)
    assert strict.replica.tick == strict.machine.tick


async def test_a_system_that_fails_ends_the_run_by_raising():
    def fail(world, tick):
        if tick.number == 3:
            raise ZeroDivisionError("a game's mistake")

    rig = Rig(game=replace(GAME, systems=(fail,)))
    with pytest.raises(ZeroDivisionError):
        await rig.run_for(10)
    assert [n for n in rig.notes if n[0] == "frame"] == [("frame", 1), ("frame", 2)]


async def test_a_store_that_refuses_ends_the_run_by_raising():
    rig = Rig()
    rig.tick(JOIN)
    rig.journal.fail("disk full")
    with pytest.raises(StoreFailed, match="disk full"):
        await rig.run_for(10)
    assert rig.machine.tick == 1, "not even a tick without input"
    assert [n for n in rig.notes if n[0] == "receipts"] == []


async def test_a_host_without_a_claim_claims_its_shard_before_it_ticks():
    rig = Rig(hold=False)
    host = ShardHost(rig.machine, rig.journal, rig.bus, rig.clock, OPTIONS, rig.metrics, rig.health)
    rig.host, stale = host, rig.host
    rig.send(JOIN)
    await rig.run_for(3)
    assert [(r.tick, r.epoch, r.previous) for r in rig.journal.records(SHARD)] == [(1, 2, 0)]
    rig.send(buy(1))
    with pytest.raises(Fenced):
        stale.tick_once()


# -- arrivals ------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["pipelined", "strict"])
def test_who_asks_for_a_keyframe_gets_one_after_the_next_frame(durability):
    rig = Rig(hold=False, durability=durability)
    rig.tick(JOIN)
    rig.bus.publish(keyframes_topic(SHARD), b"")
    rig.bus.publish(keyframes_topic(SHARD), b"")
    assert rig.tick()[-2:] == [("frame", 2), ("keyframe", 2)]
    assert rig.tick()[-1:] == [("frame", 3)], "once"


def test_a_strict_keyframe_shows_nothing_that_is_not_durable_and_comes_however_busy_the_world():
    rig = Rig(durability="strict")
    rig.tick(JOIN)
    rig.bus.publish(keyframes_topic(SHARD), b"")
    # There is always a record that waits: each becomes durable when the next is taken.
    noted = []
    for n in range(1, 6):
        noted += [note for note in rig.tick(buy(n)) + rig.sync(1) if note[0] in ("frame", "keyframe")]
    assert noted == [("frame", 1), ("frame", 2), ("keyframe", 2), ("frame", 3), ("frame", 4), ("frame", 5)]


def test_a_replica_that_starts_from_a_keyframe_follows_from_there():
    rig = Rig(hold=False)
    late, heard = PlainReplica(GAME.schema), []
    rig.bus.subscribe(frames_topic(SHARD), lambda data: heard.append(unseal(data)[1]))
    for n in range(20):
        if n == 6:
            rig.bus.publish(keyframes_topic(SHARD), b"")
        rig.tick(*([JOIN] if n == 0 else [buy(n), ("Move", 7, n + 100, n, 20)] if n % 3 else []))
    keyframe = next(i for i, data in enumerate(heard) if Frame.decode(data, GAME.schema).key)
    for data in heard[keyframe:]:
        late.apply(data)
    assert (late.tick, late.archetype, late.records) == (20, rig.replica.archetype, rig.replica.records)


def test_garbage_from_the_bus_is_logged_and_hurts_nobody():
    rig = Rig(hold=False)
    with capture_logs() as logs:
        rig.bus.publish(commands_topic(SHARD), b"\xc1")
        rig.send(JOIN)
        rig.bus.publish(commands_topic(SHARD), b"\x91\x92\x63\xc4\x01a")
    assert [(line["event"], line["shard"]) for line in logs] == [("command batch refused", SHARD)] * 2
    rig.tick()
    assert len(rig.machine.sessions) == 1


def test_commands_gathered_before_a_tick_are_in_it():
    rig = Rig(hold=False)
    rig.host.before_tick.append(lambda: rig.send(JOIN))
    rig.tick()
    assert len(rig.machine.sessions) == 1


def test_dropped_inputs_are_counted_once_by_reason():
    rig = Rig(hold=False, inbox_max=3)
    rig.tick(JOIN)
    rig.send(buy(1), buy(1), ("Buy", 99, 1, 1))
    rig.send(buy(2))
    for _ in range(60):
        rig.tick()
    for reason in ("duplicate", "unknown_session", "inbox_full"):
        assert rig.metric("everstep_inputs_dropped_total", reason=reason) == 1, reason


def test_what_the_reception_noticed_is_counted_for_the_operator():
    rig = Rig(hold=False, reception=ReceptionOptions(gateway_silence_s=0.5, grace_s=1.0))
    rig.tick(JOIN)
    claim = encode_batches({CLAIM: np.array([(7, 1, 0)], rig.machine.shapes[CLAIM].dtype)})
    rig.bus.publish(uplink_topic(SHARD), Outgoing(3).send(claim, 0.0))
    for _ in range(60):
        rig.clock.work(0.05)
        rig.tick()
    for event in ("gateway_silent", "grace_over"):
        assert rig.metric("everstep_reception_total", region=str(SHARD), event=event) == 1, event


def test_messages_to_nobody_are_counted_and_those_of_before_this_host_are_not():
    def shout(world, tick):
        if tick.number <= 3:
            tick.send(Baa, to=np.array([0], np.uint64))

    game = replace(GAME, systems=(*GAME.systems, shout), mail=(Baa,))
    rig = Rig(hold=False, game=game)
    rig.tick()
    rig.host.close()
    # As after a recovery, which replays what was counted before.
    later = ShardHost(
        rig.machine,
        rig.journal,
        rig.bus,
        rig.clock,
        OPTIONS,
        rig.metrics,
        rig.health,
        claim=rig.journal.claim_now(SHARD),
    )
    for _ in range(40):
        later.tick_once()
    assert rig.metric("everstep_mail_to_nobody_total", region=str(SHARD)) == 2
    assert rig.metric("everstep_mail_total", region=str(SHARD), event="dead_dropped") == 0


def test_a_closed_host_listens_no_more_and_is_not_missed():
    rig = Rig()
    rig.host.close()
    rig.send(JOIN)
    assert rig.host.inbox.depth == 0
    assert rig.health.judge().reasons == ("no region runs here",)
    rig.host.close()


def test_reliable_commands_are_done_exactly_once_however_often_they_are_sent():
    rig = Rig(hold=False, commands_per_tick_max=2)
    rig.tick(JOIN)
    told = []
    for _ in range(6):
        notes = rig.tick(*[buy(seq, seq) for seq in (1, 2, 3, 4, 5)] * 2)
        told += [seq for kind, seqs in notes if kind == "receipts" for _, seq in seqs]
    # Told again whenever it is asked again, in order of when it was done.
    assert list(dict.fromkeys(told)) == [1, 2, 3, 4, 5]
    sheep = rig.machine.world.rows_of(SHEEP)[5:]
    assert rig.machine.world[Body].wool[sheep].tolist() == [1, 2, 3, 4, 5]


async def test_a_reliable_command_that_comes_again_is_receipted_again_once_it_is_durable():
    rig = Rig()
    rig.tick(("join", 7, 0, b"p", b"Ada"))
    notes = rig.tick(("Buy", 7, 1, 5))
    # It did not hear of it yet, and sends it again: no receipt before the first is durable.
    notes += rig.tick(("Buy", 7, 1, 5))
    assert [n for n in notes if n[0] == "receipts"] == []
    assert [n for n in rig.sync() if n[0] == "receipts"] == [("receipts", [(7, 1)])] * 2
