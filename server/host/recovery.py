"""Recovery: the newest checkpoint that is whole, and the journal after it, replayed and checked.

    checkpoints newest first:  of this journal? whole? adopted? its digest holds?    no: the one before, a longer replay
    none of them:              a fresh machine, if the journal reaches back to its first tick
    then every record:         ticks without input in between; the digest that it carries; its input

A checkpoint names the last record that its state was made of, and so does the record that follows. Where the two
differ the state is of another history: its owner had lost the shard while it was paused, say, and went on through
ticks without input until it noticed; the next owner's had some. Of two owners' checkpoints the newer's count first.

What a replay makes is compared with every digest the journal has. A state that differs ends recovery loudly: going on
would be another world than the one that players were shown.

Only the version that wrote a journal replays it, on a machine that computes as the one did. An upgrade
is a checkpoint with nothing after it: what a clean shutdown leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import structlog

from server.host.errors import NoWayBack, RecoveryDiverged, UpgradeRefused
from server.host.retention import order
from server.shard.checkpoint import Manifest, decode
from server.shard.errors import BatchError, CheckpointDamaged, JournalDamaged
from server.shard.journal import JournalRecord
from server.shard.machine import NOTHING, Capture, Machine, TickInput, differences
from server.shard.ports import CheckpointReader, CheckpointStore, Claim, Clock, JournalReader, JournalStore
from server.store.errors import Fenced

_log = structlog.get_logger(__name__)

M = TypeVar("M", bound=Machine)

# Ticks after which a replay lets others have a turn: it can take minutes.
_TURN_TICKS: Final = 64


@dataclass(slots=True)
class Report:
    """What recovery found and did."""

    shard: int
    # Tick of the checkpoint it began with; 0 where it began with a fresh machine.
    checkpoint_tick: int = 0
    # The game version that wrote the checkpoint, where it was another.
    migrated_from: int | None = None
    # How the machine that wrote it differs from this one; no word where it does not.
    written_elsewhere: list[str] = field(default_factory=list)
    # Checkpoints that were passed over, each with the reason.
    passed_over: list[str] = field(default_factory=list)
    # The tick that the machine is at.
    tick: int = 0
    # Tick of the last record that its state was made of; 0: none.
    last_record: int = 0
    ticks_replayed: int = 0
    records_replayed: int = 0
    digests_checked: int = 0
    load_s: float = 0.0
    replay_s: float = 0.0

    @property
    def fresh(self) -> bool:
        """There was nothing to come back to: a new world."""
        return self.checkpoint_tick == 0 and self.records_replayed == 0

    @property
    def upgraded(self) -> bool:
        """What goes on from here must not be replayed on top of what was."""
        return self.migrated_from is not None or bool(self.written_elsewhere)


@dataclass(frozen=True, slots=True)
class Recovered(Generic[M]):
    """A machine at the last tick the journal knows, and as whom to go on writing."""

    machine: M
    claim: Claim
    report: Report


async def recover(
    make: Callable[[], M],
    journal: JournalStore,
    checkpoints: CheckpointStore,
    clock: Clock,
    *,
    epoch: int | None = None,
    on_progress: Callable[[], None] = lambda: None,
) -> Recovered[M]:
    """Bring a shard back and become its writer. `make`: a fresh machine at tick 0.

    `on_progress`: called when the store has made it ours, and from then on as it comes on.

    Raises NoWayBack, RecoveryDiverged, UpgradeRefused; JournalDamaged, CaptureRefused; Fenced and other StoreErrors.
    """
    # First of all: from now on nobody else writes what is about to be read.
    claim = await journal.claim(make().shard, epoch)
    on_progress()
    try:
        machine, report = await rebuild(
            make, journal, checkpoints, clock, claimed_tick=claim.tick, on_progress=on_progress
        )
        check_end(report, claim)
    except (NoWayBack, JournalDamaged) as error:
        try:
            await journal.claim(make().shard, claim.epoch)
        except Fenced as fenced:
            if fenced.newest > claim.epoch:
                # Nothing is wrong: another claimed the shard since, and writes and trims what was read here.
                raise fenced from error
        raise
    return taken_over(machine, claim, report)


def taken_over(machine: M, claim: Claim, report: Report) -> Recovered[M]:
    """The machine, ready to go on. Of an upgrade a tick more is made."""
    if report.upgraded:
        # The checkpoint of the new kind then has a tick of its own, and the old one stays: there is a way back.
        machine.replay(NOTHING)
    report.tick = machine.tick
    return Recovered(machine, claim, report)


def check_end(report: Report, claim: Claim) -> None:
    """Raise NoWayBack where the state was not made of the very records that the journal has."""
    if report.last_record != claim.tick:
        raise NoWayBack(
            f"the journal of shard {report.shard} has tick {report.last_record} as its last here, "
            f"and knows of {claim.tick}"
        )


async def rebuild(
    make: Callable[[], M],
    journal: JournalReader,
    checkpoints: CheckpointReader,
    clock: Clock,
    *,
    from_tick: int | None = None,
    to_tick: int | None = None,
    on_tick: Callable[[M], None] | None = None,
    claimed_tick: int | None = None,
    on_progress: Callable[[], None] = lambda: None,
) -> tuple[M, Report]:
    """What `recover` does, without becoming the writer: the machine as it was at `to_tick` (None: at the last).

    `from_tick`: begin no later than there; None: as late as can be. `claimed_tick`: of the journal's last record, where
    it is known from a claim. `on_tick`: called after each tick replayed, and for the state it begins with.
    `on_progress`: called for each chunk and record that the store gives, and now and then between two records.

    Raises as `recover`; NoWayBack also for a tick that no checkpoint reaches, and one that is not journalled yet.
    """
    began_s = clock.now_s()
    machine, report = await _begin(
        make, journal, checkpoints, to_tick if from_tick is None else from_tick, claimed_tick, on_progress
    )
    report.load_s = clock.now_s() - began_s
    if on_tick is not None:
        on_tick(machine)
    replay = Replay(machine, report, on_tick, on_progress)
    async for record in journal.read(machine.shard, machine.tick):
        if to_tick is not None and record.tick > to_tick:
            await replay.idle(to_tick)
            break
        await replay.record(record)
    if to_tick is not None and machine.tick != to_tick:
        raise NoWayBack(f"shard {machine.shard} has tick {machine.tick} as its last, and {to_tick} is asked for")
    report.tick = machine.tick
    report.replay_s = clock.now_s() - began_s - report.load_s
    return machine, report


async def _begin(
    make: Callable[[], M],
    journal: JournalReader,
    checkpoints: CheckpointReader,
    to_tick: int | None,
    claimed_tick: int | None,
    on_progress: Callable[[], None],
) -> tuple[M, Report]:
    """A machine at the best checkpoint, or a fresh one."""
    machine = make()
    report = Report(machine.shard)
    manifests = sorted(await checkpoints.manifests(machine.shard), key=order, reverse=True)
    for manifest in manifests:
        if to_tick is not None and manifest.tick > to_tick:
            continue
        try:
            await _belongs(manifest, journal, claimed_tick)
            capture = await _load(checkpoints, manifest, on_progress)
            same = capture.simulation == machine.simulation
            machine.adopt(capture if same else machine.migrated(capture))
            if same and machine.digest() != manifest.digest:
                raise CheckpointDamaged("digest", "its state is not the one that was")
        except CheckpointDamaged as error:
            _log.warning("checkpoint passed over", shard=machine.shard, tick=manifest.tick, reason=str(error))
            report.passed_over.append(f"tick {manifest.tick}: {error}")
            machine = make()
            continue
        report.checkpoint_tick, report.last_record = manifest.tick, manifest.previous
        report.migrated_from = None if same else capture.simulation
        report.written_elsewhere = list(differences(capture.fingerprint, machine.fingerprint))
        return machine, report
    span = (await journal.spans()).get(machine.shard)
    if span is not None and span.after_tick > 0:
        wanted = "" if to_tick is None else f" at or before tick {to_tick}"
        raise NoWayBack(
            f"no checkpoint of shard {machine.shard}{wanted} is whole, and its journal begins after tick "
            f"{span.after_tick}: " + ("; ".join(report.passed_over) or "there is none")
        )
    if span is None and report.passed_over:
        raise NoWayBack(f"no checkpoint of shard {machine.shard} is whole: {'; '.join(report.passed_over)}")
    return machine, report


async def _belongs(manifest: Manifest, journal: JournalReader, claimed_tick: int | None) -> None:
    """Raise CheckpointDamaged where the journal tells another history, JournalDamaged where it has lost its end."""
    shard, tick, previous = manifest.shard, manifest.tick, manifest.previous
    follows: int | None = None
    async for record in journal.read(shard, tick):
        follows = record.previous
        break
    if follows is None:
        # Nothing does, so what is last has to be what it was made of. To ask for that takes a look at every record.
        follows = claimed_tick if claimed_tick is not None else await _last_tick(journal, shard)
        if follows is not None and follows > tick:
            # The end is missing: whoever claimed it tells.
            return
    if follows is None or follows == previous:
        return
    if follows < previous:
        raise JournalDamaged(
            shard, previous, f"the checkpoint of tick {tick} was made of it, and it is not here: {follows} comes before"
        )
    raise CheckpointDamaged(
        "manifest",
        f"epoch {manifest.epoch} made it without the record of tick {follows}: it had lost the shard by then",
    )


async def _last_tick(journal: JournalReader, shard: int) -> int | None:
    span = (await journal.spans()).get(shard)
    return None if span is None else span.last_tick


async def _load(checkpoints: CheckpointReader, manifest: Manifest, on_progress: Callable[[], None]) -> Capture:
    chunks: dict[str, bytes] = {}
    for info in manifest.chunks:
        data = await checkpoints.chunk(manifest.shard, manifest.tick, info.name)
        on_progress()
        if data is not None:
            chunks[info.name] = data
    return await asyncio.to_thread(decode, manifest, chunks)


class Replay(Generic[M]):
    """Records into a machine, in order."""

    def __init__(
        self,
        machine: M,
        report: Report,
        on_tick: Callable[[M], None] | None = None,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.on_progress = on_progress
        self._machine = machine
        self._report = report
        self._on_tick = on_tick

    async def record(self, record: JournalRecord) -> None:
        """The ticks up to it, its digest, its own tick."""
        self.on_progress()
        machine, report = self._machine, self._report
        refusal = "; ".join(report.written_elsewhere)
        if record.simulation != machine.simulation:
            refusal = f"version {record.simulation} of the game wrote it, and this is version {machine.simulation}"
        if refusal:
            raise UpgradeRefused(
                f"the journal of shard {machine.shard} from tick {record.tick} on can't be replayed here: {refusal}. "
                "Start it once as it was and stop it cleanly: that leaves a checkpoint with nothing after it, "
                "with which this can begin"
            )
        if record.previous != report.last_record:
            # A standby meets it that began with the checkpoint of an owner which had lost the shard.
            raise JournalDamaged(
                machine.shard,
                record.tick,
                f"it follows tick {record.previous}, and this state was made of records up to {report.last_record}",
            )
        await self.idle(record.tick - 1)
        if record.digest is not None:
            report.digests_checked += 1
            if (found := machine.digest()) != record.digest:
                raise RecoveryDiverged(machine.shard, machine.tick, record.digest, found)
        try:
            inputs = TickInput.decode(record.payload, machine.shapes, record.format) if record.payload else NOTHING
        except BatchError as error:
            raise JournalDamaged(machine.shard, record.tick, str(error)) from error
        report.records_replayed += 1
        report.last_record = record.tick
        await self._tick(inputs)

    async def idle(self, up_to_tick: int) -> None:
        """Ticks without input."""
        while self._machine.tick < up_to_tick:
            await self._tick(NOTHING)

    async def _tick(self, inputs: TickInput) -> None:
        self._machine.replay(inputs)
        self._report.ticks_replayed += 1
        if self._on_tick is not None:
            self._on_tick(self._machine)
        if self._report.ticks_replayed % _TURN_TICKS == 0:
            self.on_progress()
            await asyncio.sleep(0)
