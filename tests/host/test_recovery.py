"""A shard comes back at the exact tick, or says why not."""

from dataclasses import replace

import numpy as np
import pytest

from games import frontier
from protocol.schema import Wire
from server.bus.memory import MemoryBus
from server.host.errors import NoWayBack, RecoveryDiverged, UpgradeRefused
from server.host.follower import Follower
from server.host.host import HostOptions, ShardHost
from server.host.recovery import rebuild, recover
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.shard.errors import CaptureRefused, JournalDamaged
from server.shard.journal import JournalRecord
from server.shard.machine import NOTHING
from server.shard.ports import Claim, commands_topic
from server.sim import U8, Archetype, Component, Migration, column, fingerprint
from server.store.errors import Fenced
from server.store.memory import MemoryJournal
from server.store.memory_checkpoints import MemoryCheckpoints
from tests.games.play import Play
from tests.support.captures import frozen
from tests.support.clock import VirtualClock
from tests.support.life import SHARD, Life, live, orders
from tests.support.orders import batch
from tests.support.pasture import GAME, PLAYER, SHEEP, SKY, Body, Position, pasture


def row(digests, ticks):
    return [digests[t] for t in ticks]


# -- back at the exact tick ------------------------------------------------------------------


@pytest.mark.parametrize("checkpoint_at", [(), (60,), (5, 60, 100), (120,)])
async def test_what_was_killed_comes_back_as_it_was(checkpoint_at):
    async with Life() as first:
        assert first.report.fresh
        await live(first, 120, checkpoint_at)
    async with first.next() as second:
        report = second.report
        assert report.checkpoint_tick == max(checkpoint_at, default=0)
        # The last record: a tick with input, or one that only carried a digest.
        assert 110 < report.tick == second.machine.tick <= 120
        assert second.machine.digest() == first.digests[report.tick]
        assert report.ticks_replayed == report.tick - report.checkpoint_tick
        assert second.recovered.claim.epoch == first.recovered.claim.epoch + 1
        await live(second, 60)
    async with Life() as unbroken:
        await live(unbroken, second.machine.tick)
    after = range(report.tick + 1, second.machine.tick + 1)
    assert row(second.digests, after) == row(unbroken.digests, after)


async def test_it_comes_back_again_and_again():
    life = Life(every_s=2.0)
    for _ in range(6):
        async with life:
            for _ in range(7):
                await live(life, 10)
                await life.checkpoints.settle()
        assert life.checkpoints.tick is not None
        life = life.next()
    async with life, Life() as unbroken:
        assert life.machine.tick > 400
        await live(unbroken, life.machine.tick)
        assert frozen(life.machine.capture().arrays) == frozen(unbroken.machine.capture().arrays)
        # Neither checkpoints nor journal grow without end.
        assert len(await life.store.manifests(SHARD)) <= 2
        assert (await life.journal.spans())[SHARD].after_tick > 200


def frontier_region():
    region = RegionSpec(0, 0.0, 0.0, 256.0, 256.0, 20_000)
    return RegionMachine(frontier.GAME, region, seed=3, tick_rate_hz=20.0)


async def test_a_replay_of_the_frontier_is_the_frontier_at_every_tick():
    play = Play(frontier.GAME, size=256, seed=3)
    journal, digests = MemoryJournal(keep_max=1000), {}
    clock, bus = VirtualClock(), MemoryBus()
    options = HostOptions(20.0, 5, 10_000, 8, "pipelined", frontier.GAME.version, digest_every_ticks=7)
    host = ShardHost(
        play.machine, journal, bus, clock, options, Metrics(), Health(clock.now_s), claim=await journal.claim(0)
    )
    rng = np.random.default_rng(4)
    for n in range(1, 150):
        found = [("join", s, 0, b"", b"Ann") for s in (1, 2, 3)] if n == 1 else []
        for s in (1, 2, 3) if n % 30 < 20 else ():
            dx, dy = rng.uniform(-1, 1, 2)
            found += [("Move", s, 4 * n, dx, dy), ("Shoot", s, 4 * n + 1, dx, dy, n), ("Harvest", s, 4 * n + 2)]
        if found:
            bus.publish(commands_topic(0), batch(play.machine.shapes, found))
        host.tick_once()
        digests[n] = play.machine.digest()
    seen = {}
    machine, report = await rebuild(
        frontier_region, journal, MemoryCheckpoints(), clock, on_tick=lambda m: seen.update({m.tick: m.digest()})
    )
    assert machine.tick > 140
    assert report.digests_checked >= 20
    assert {t: d for t, d in seen.items() if t} == {t: digests[t] for t in range(1, machine.tick + 1)}


# -- what clients rely on ----------------------------------------------------------------------


async def test_a_command_repeated_after_the_crash_is_not_applied_twice():
    async with Life() as first:
        first.tick(("join", 7, 0, b"account", b"Ada"))
        first.tick(("Buy", 7, 1, 9))
        sheep = first.machine.world.rows_of(SHEEP).size
    async with first.next() as second:
        assert second.machine.high_water(np.array([7, 8], np.uint64)).tolist() == [1, -1]
        second.tick(("Buy", 7, 1, 9))
        assert second.machine.world.rows_of(SHEEP).size == sheep
        second.tick(("Buy", 7, 2, 9))
        assert second.machine.world.rows_of(SHEEP).size == sheep + 1


async def test_who_comes_back_is_the_writer_and_the_one_before_is_not():
    async with Life() as first:
        first.tick(*orders(2))
        async with Life(journal=first.journal, checkpoints=first.store) as second:
            second.tick(*orders(2))
            with pytest.raises(Fenced):
                first.tick(("Move", 7, 1, 1.0, 20.0))


# -- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["manifest", "Position.x#0", "@archetype#0", "@sessions.seq#0"])
async def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_a_longer_replay(harm):
    async with Life() as first:
        await live(first, 120, checkpoint_at=(40, 100))
        first.store.damage(SHARD, 100, harm)
    async with first.next() as second:
        assert second.report.checkpoint_tick == 40
        assert second.report.ticks_replayed == second.report.tick - 40 > 70
        assert second.machine.digest() == first.digests[second.machine.tick]
        if harm != "manifest":
            assert harm in second.report.passed_over[0]


async def test_a_checkpoint_whose_state_is_not_what_its_digest_says_is_passed_over():
    async with Life() as first:
        await live(first, 120, checkpoint_at=(40, 100))
        (newest, *_) = await first.store.manifests(SHARD)
        kept = first.store._manifests
        kept[SHARD, 100] = replace(newest, digest=newest.digest ^ 1).encode()
    async with first.next() as second:
        assert second.report.checkpoint_tick == 40
        assert "digest" in second.report.passed_over[0]


@pytest.mark.parametrize("harm", ["manifest", "Position.x#0"])
async def test_without_a_whole_checkpoint_and_without_the_journals_beginning_there_is_no_way_back(harm):
    async with Life() as first:
        await live(first, 120, checkpoint_at=(40, 100))
        for tick in (40, 100):
            first.store.damage(SHARD, tick, harm)
    with pytest.raises(NoWayBack, match="after tick 40" if harm == "manifest" else "Position"):
        async with first.next():
            pass


async def test_with_the_whole_journal_a_damaged_first_checkpoint_does_no_harm():
    async with Life() as first:
        await live(first, 60, checkpoint_at=(40,))
        first.store.damage(SHARD, 40, "Position.x#0")
    async with first.next() as second:
        assert second.report.checkpoint_tick == 0
        assert second.machine.digest() == first.digests[second.machine.tick]


async def test_checkpoints_all_damaged_and_the_journal_behind_them_gone_is_no_new_world():
    async with Life() as first:
        await live(first, 60, checkpoint_at=(60,))
        first.store.damage(SHARD, 60, "Position.x#0")
        await first.journal.trim(SHARD, 60)
    with pytest.raises(NoWayBack, match="Position"):
        async with first.next():
            pass


async def test_a_checkpoint_of_records_that_the_journal_has_lost_is_no_way_around_the_damage():
    """Gone on from it, the journal would have a hole that a replay from an older checkpoint takes for idle ticks."""
    async with Life() as first:
        await live(first, 60, checkpoint_at=(30, 60))
        last = first.journal.records(SHARD, 30)[-1]
        kept = first.journal._kept[SHARD]
        kept.pop()
        first.journal._last[SHARD] = Claim(1, last.previous)
    with pytest.raises(JournalDamaged, match=f"tick {last.tick}: the checkpoint of tick 60 was made of it"):
        async with first.next():
            pass
    # The same where no journal is left at all.
    with pytest.raises(JournalDamaged, match="is not here: 0 comes before"):
        async with Life(checkpoints=first.store):
            pass


# -- owners that follow each other ---------------------------------------------------------------------


async def stopped_while_idle(first):
    """It was paused, and another has followed; it goes on through ticks without input, and is stopped cleanly."""
    for _ in range(6):
        first.tick()
    assert await first.checkpoints.take()


async def test_a_checkpoint_of_an_owner_that_had_lost_the_shard_is_passed_over():
    """It is newer than any other, and knows nothing of what the next owner's players did meanwhile."""
    async with Life() as first:
        await live(first, 61, checkpoint_at=(40,))
        async with first.next() as second:
            second.tick()
            second.tick(("Move", 7, 10**6, 5.0, 5.0))
            await stopped_while_idle(first)
            for _ in range(2):
                second.tick()
            newest = (await second.store.manifests(SHARD))[0]
            assert newest.tick == 67 > second.machine.tick
            assert newest.digest != second.machine.digest()
        async with second.next() as third:
            assert "epoch 1 made it without the record of tick 63" in third.report.passed_over[0]
            assert third.report.checkpoint_tick == 40
            assert third.machine.tick == 63
            assert third.machine.digest() == second.digests[63]
        # The same once records follow beyond it, and for whoever replays to a tick there.
        async with third.next() as fourth:
            await live(fourth, 20)
            machine, report = await rebuild(pasture, fourth.journal, fourth.store, fourth.clock, to_tick=70)
            assert machine.digest() == fourth.digests[70]
            assert report.passed_over
        async with fourth.next() as fifth:
            assert fifth.machine.digest() == fourth.digests[fifth.machine.tick]


async def test_a_newer_owners_checkpoint_counts_before_an_older_ones_of_a_later_tick():
    async with Life() as first:
        await live(first, 61, checkpoint_at=(40,))
        async with first.next() as second:
            second.tick(("Move", 7, 10**6, 5.0, 5.0))
            assert await second.checkpoints.take()
            await stopped_while_idle(first)
        async with second.next() as third:
            assert (third.report.checkpoint_tick, third.report.passed_over) == (62, [])
            assert third.machine.digest() == second.machine.digest()


async def test_what_a_lost_shards_owner_wrote_of_the_same_history_is_as_good():
    """The next one had no tick yet: the first of an owner always has a record."""
    async with Life() as first:
        await live(first, 61, checkpoint_at=(40,))
        async with first.next() as second:
            await stopped_while_idle(first)
        async with second.next() as third:
            assert (third.report.checkpoint_tick, third.report.passed_over) == (67, [])
            assert third.machine.digest() == first.digests[67]


async def test_a_journal_that_lost_its_end_is_no_shorter_world():
    """Its owner's claim knows of a tick that reading does not find."""
    async with Life() as first:
        await live(first, 60)
        first.journal._kept[SHARD].clear()
    with pytest.raises(NoWayBack, match="knows of"):
        async with first.next():
            pass


async def test_a_replay_that_makes_another_state_stops_at_its_first_digest():
    async with Life() as first:
        await live(first, 120, checkpoint_at=(40,))

    def wander(world, tick):
        if tick.number == 73:
            world[Position].x[world.rows_of(PLAYER)] += 1

    def make():
        return pasture(game=replace(GAME, systems=(*GAME.systems, wander)))

    with pytest.raises(RecoveryDiverged) as refused:
        async with first.next(make=make):
            pass
    assert refused.value.tick == 80


# -- time travel ---------------------------------------------------------------------------------


@pytest.mark.parametrize("to_tick", [0, 1, 39, 40, 41, 77, 100])
async def test_any_tick_that_is_kept_can_be_seen(to_tick):
    async with Life() as first:
        await live(first, 120, checkpoint_at=(40,))
        machine, report = await rebuild(pasture, first.journal, first.store, first.clock, to_tick=to_tick)
        assert machine.tick == report.tick == to_tick
        assert machine.digest() == first.digests.get(to_tick, pasture().digest())
        # Who looks is no writer: the living one goes on.
        first.tick(("Move", 7, 9999, 1.0, 20.0))


async def test_a_tick_that_is_not_kept_is_refused():
    async with Life() as first:
        await live(first, 120, checkpoint_at=(40, 100))
        for to_tick in (39, 500):
            with pytest.raises(NoWayBack):
                await rebuild(pasture, first.journal, first.store, first.clock, to_tick=to_tick)


# -- other versions, other machines ----------------------------------------------------------------


class Hungry(Component):
    level: U8 = column(np.uint8, default=5, wire=Wire("u8"))


def to_4(saved):
    saved.add_field("Hungry", "level", np.uint8)
    saved.fill("Hungry", "level", 9, "sheep")
    saved.rename_archetype("stone", "boulder")


BOULDER = Archetype("boulder", Position)


def next_version():
    """The pasture's next version: sheep are hungry, and stones are boulders."""
    # Systems of the game spawn SHEEP by name, so the archetype that has a new component is another object here.
    systems = tuple(s for s in GAME.systems if s.__name__ != "trade")
    sheep = Archetype("sheep", Position, Body, Hungry)
    game = replace(
        GAME,
        version=4,
        archetypes=(PLAYER, sheep, BOULDER, SKY),
        systems=systems,
        setup=lambda world, tick: None,
        migrations=(Migration(3, 4, to_4),),
    )
    return pasture(game=game)


async def stopped(first):
    """A clean end: a checkpoint with nothing after it."""
    await live(first, 57)
    assert await first.checkpoints.take()


async def test_an_upgrade_begins_with_the_checkpoint_of_a_clean_end():
    async with Life() as first:
        await stopped(first)
        players = first.machine.world.rows_of(PLAYER).size
    async with first.next(make=next_version) as second:
        assert (second.report.migrated_from, second.report.upgraded) == (3, True)
        sheep = second.machine.game.archetypes[1]
        assert set(second.machine.world[Hungry].level[second.machine.world.rows_of(sheep)].tolist()) == {9}
        assert second.machine.world.rows_of(PLAYER).size == players
        assert await second.checkpoints.take()
        # The old version's stays: there is a way back.
        assert [m.simulation for m in await second.store.manifests(SHARD)] == [4, 3]
        await live(second, 30)
    async with second.next() as third:
        assert third.report.migrated_from is None
        assert third.machine.digest() == second.digests[third.machine.tick]


async def test_an_upgrade_that_a_standby_takes_over_leaves_the_old_versions_checkpoint_too():
    async with Life() as first:
        await stopped(first)
    journal, checkpoints = first.journal.reopened(), first.store
    follower = await Follower.begin(next_version, journal, checkpoints, first.clock)
    taken = await follower.take_over(first.recovered.claim.epoch + 1)
    assert taken.report.upgraded
    assert taken.report.tick == taken.machine.tick
    # The first checkpoint of the new version is not of the tick of the last one of the old.
    assert [manifest.tick < taken.machine.tick for manifest in await checkpoints.manifests(SHARD)] == [True]


def back_to_3(saved):
    saved.remove_component("Hungry")
    saved.rename_archetype("boulder", "stone")


def version_that_knows_the_way_back():
    return pasture(game=replace(GAME, migrations=(Migration(3, 4, to_4, back=back_to_3),)))


async def test_a_clean_end_leads_back_too_to_a_version_that_knows_the_way():
    async with Life() as first:
        await stopped(first)
    async with first.next(make=next_version) as second:
        assert await second.checkpoints.take()
        await live(second, 20)
        assert await second.checkpoints.take()
    async with second.next(make=version_that_knows_the_way_back) as third:
        assert third.report.migrated_from == 4
        assert third.machine.world.count == second.machine.world.count
        at = third.machine.tick
        await live(third, 20)
    async with third.next() as fourth:
        # The third left no checkpoint of its own: the same way back once more, its journal, and a tick for the upgrade.
        assert fourth.report.checkpoint_tick == at - 1
        assert fourth.machine.tick == third.machine.tick + 1
        third.machine.replay(NOTHING)
        assert fourth.machine.digest() == third.machine.digest()


async def test_a_journal_of_another_version_is_not_replayed():
    async with Life() as first:
        await live(first, 60, checkpoint_at=(40,))
    with pytest.raises(UpgradeRefused, match="version 3 of the game wrote it, and this is version 4"):
        async with first.next(make=next_version):
            pass
    # Nothing is spoilt by having tried.
    async with first.next() as second:
        assert second.machine.digest() == first.digests[second.machine.tick]


async def test_without_a_migration_another_version_is_refused():
    async with Life() as first:
        await stopped(first)
    with pytest.raises(CaptureRefused, match="no migration leads from version 3 towards 9"):
        async with first.next(make=lambda: pasture(game=replace(GAME, version=9))):
            pass


async def test_a_machine_that_computes_differently_begins_only_where_nothing_is_to_be_replayed(monkeypatch):
    async with Life() as first:
        await live(first, 60, checkpoint_at=(40,))
    other = {**fingerprint.fingerprint(), "numpy": "9.9"}
    monkeypatch.setattr("server.regions.machine.fingerprint", lambda: other)
    with pytest.raises(UpgradeRefused, match=r"numpy is 9\.9 here and was"):
        async with first.next():
            pass
    monkeypatch.undo()
    async with first.next() as second:
        await stopped(second)
    monkeypatch.setattr("server.regions.machine.fingerprint", lambda: other)
    async with second.next() as third:
        assert third.report.upgraded
        third.tick(("Move", 7, 10**6, 1.0, 20.0))


async def test_a_world_of_other_settings_is_refused_by_name():
    async with Life() as first:
        await live(first, 60, checkpoint_at=(40,))
    with pytest.raises(CaptureRefused, match="seed is 12 here and was 11"):
        async with first.next(make=lambda: pasture(seed=12)):
            pass


# -- overtaken -------------------------------------------------------------------------------


class Overtaken(MemoryCheckpoints):
    """Where another takes the shard, and goes on with it, while somebody reads what there is."""

    def __init__(self, rival):
        super().__init__()
        self.rival = rival

    async def manifests(self, shard):
        claim = await self.rival.claim(shard)
        record = JournalRecord(shard, claim.tick + 50, claim.epoch, GAME.version, b"", claim.tick, None)
        self.rival.append(record, lambda: None)
        return await super().manifests(shard)


async def test_who_is_overtaken_while_it_recovers_is_fenced_and_nothing_is_damaged():
    async with Life() as first:
        await live(first, 60)
    store = Overtaken(first.journal.reopened())
    with pytest.raises(Fenced) as fenced:
        await recover(first.make, first.journal.reopened(), store, first.clock)
    assert fenced.value.newest == first.recovered.claim.epoch + 2
