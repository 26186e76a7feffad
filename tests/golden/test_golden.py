"""Journals and checkpoints of released versions replay to the states that they were."""

import json
import shutil
import zlib

import msgpack
import pytest

from server.host.errors import RecoveryError, UpgradeRefused
from server.host.recovery import rebuild, recover
from server.regions.borders import RULES
from server.shard.checkpoint import decode
from server.shard.errors import ShardError
from server.shard.machine import TickInput
from server.store.checkpoint_files import FileCheckpoints
from server.store.memory_checkpoints import MemoryCheckpoints
from server.store.sqlite import SqliteJournal
from tests.golden import vale
from tests.golden.make import CHECKPOINTS, DIGESTS, HERE, TICKS, VALE, WORLDS
from tests.support.clock import VirtualClock
from tests.support.life import SHARD

GOLDEN = sorted(path.parent.relative_to(HERE).as_posix() for path in HERE.glob(f"*/*/{DIGESTS}"))


class Kept:
    """A copy of a golden directory: who reads one may write in it, too."""

    def __init__(self, directory, name):
        self.directory = directory
        self.told = json.loads((directory / DIGESTS).read_text())
        self.digests = {int(tick): int(digest, 16) for tick, digest in self.told["digests"].items()}
        self.make = WORLDS[name.partition("/")[2]]
        self.version, _, self.world = name.partition("/")

    def why(self, found):
        """What to do about a replay that came to other digests, or None where it did not."""
        wrong = [tick for tick, digest in self.digests.items() if found.get(tick) != digest]
        if not wrong:
            return None
        if self.world == "frontier":
            return (
                f"the frontier does something else from tick {wrong[0]} on than what it did as version "
                f"{self.told['version']}. If that is meant, raise its version in games/frontier/__init__.py, and make "
                f"its golden anew: python -m tests.golden.make {self.version} frontier"
            )
        return (
            f"this engine makes another state of a journal of {self.version}, from tick {wrong[0]} on: players' worlds "
            "would not come back. The change has to go, or to wait for a version that reads no such journal"
        )


@pytest.fixture(params=GOLDEN)
def kept(request, tmp_path):
    shutil.copytree(HERE / request.param, tmp_path / "data")
    kept = Kept(tmp_path / "data", request.param)
    game = kept.make().game
    assert (kept.told["game"], kept.told["version"]) == (game.name, game.version), (
        f"{game.name} is version {game.version} now: python -m tests.golden.make {kept.version} {kept.world}"
    )
    return kept


def test_there_are_golden_journals_of_the_frozen_game_and_of_the_sample():
    assert "0.1.0/glen" in GOLDEN
    assert {name.partition("/")[2] for name in GOLDEN} == set(WORLDS)
    files = [path for path in HERE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in files) < 300 * 1024


def vales():
    """What was journalled of the vale under the rules of today, by the version that did."""
    read = {
        path.parent.parent.name: msgpack.unpackb(zlib.decompress(path.read_bytes()), strict_map_key=False)
        for path in sorted(HERE.glob(f"*/vale/{VALE}"))
    }
    return {version: told for version, told in read.items() if told["rules"] == RULES}


def test_there_is_a_golden_country_of_the_rules_of_today():
    """Without one, what regions do to each other might change, and no journal would tell."""
    assert vales(), "make it: python -m tests.golden.make VERSION vale"


@pytest.mark.parametrize("version", vales())
def test_regions_among_others_replay_to_the_states_that_they_were(version):
    told = vales()[version]
    machines = {number: vale.region(number) for number in told["journals"]}
    grounds = set()
    for number, machine in machines.items():
        for payload, digest in zip(told["journals"][number], told["digests"][number], strict=True):
            machine.replay(TickInput.decode(payload, machine.shapes, told["format"]))
            assert machine.digest() == digest, (
                f"region {number} makes another state of its journal from tick {machine.tick} on. If that is meant, "
                "raise RULES in server/regions/borders.py, and make it anew: python -m tests.golden.make VERSION vale"
            )
            grounds.add((number, machine.division.ground))
    # It has all that it is for.
    whole = {region.id for region in vale.ATLAS.regions}
    assert {number for number, ground in grounds if ground is not None} > whole, "it was divided"
    assert sum(machine.world.foreign()[0].size for machine in machines.values()) > 10
    assert sum(machine.gauges()["to_nobody"] for machine in machines.values()) > 3


async def test_the_journal_replays_from_its_first_tick_to_its_digests(kept):
    journal = await SqliteJournal.open(kept.directory)
    found = {}

    def note(machine):
        found[machine.tick] = machine.digest()

    try:
        machine, report = await rebuild(
            kept.make, journal, MemoryCheckpoints(), VirtualClock(), to_tick=TICKS, on_tick=note
        )
    except (ShardError, RecoveryError) as error:
        pytest.fail(f"{kept.why(found) or error}")
    finally:
        await journal.close()
    assert kept.why(found) is None, kept.why(found)
    assert machine.tick == TICKS
    assert report.digests_checked > 10
    assert report.records_replayed > 60


async def test_its_checkpoints_are_the_states_of_their_ticks(kept):
    checkpoints = FileCheckpoints(kept.directory)
    manifests = await checkpoints.manifests(SHARD)
    assert [m.tick for m in manifests] == [*reversed(CHECKPOINTS), 0]
    for manifest in manifests:
        chunks = {c.name: await checkpoints.chunk(SHARD, manifest.tick, c.name) for c in manifest.chunks}
        machine = kept.make()
        machine.adopt(decode(manifest, chunks))
        assert machine.tick == manifest.tick
        assert machine.digest() == manifest.digest == kept.digests.get(manifest.tick, kept.make().digest())
    await checkpoints.close()


async def test_a_server_starts_on_it_and_is_where_it_was(kept):
    journal, checkpoints = await SqliteJournal.open(kept.directory), FileCheckpoints(kept.directory)
    try:
        (newest, *_) = await checkpoints.manifests(SHARD)
        if newest.fingerprint != kept.make().fingerprint:
            # Another numpy than the golden's: about that no promise is made, and it is told.
            with pytest.raises(UpgradeRefused, match=r"is .* here and was"):
                await recover(kept.make, journal, checkpoints, VirtualClock())
            return
        back = await recover(kept.make, journal, checkpoints, VirtualClock())
    finally:
        await checkpoints.close()
        await journal.close()
    assert back.report.checkpoint_tick == CHECKPOINTS[-1]
    assert back.report.passed_over == []
    assert back.machine.tick > TICKS - 20
    assert back.machine.digest() == kept.digests[back.machine.tick]


def test_a_game_that_does_something_else_is_caught(kept):
    """That these tests can fail: one creature, one unit aside, at one tick."""
    assert kept.why(kept.digests) is None
    assert "from tick 70 on" in kept.why({**kept.digests, 70: kept.digests[70] ^ 1})
