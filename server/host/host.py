"""The host: one shard's ticks, in real time.

Per tick: gather what gateways hold, take the input, journal it, step, carry out effects. The order of
effects is the contract: the journal has the record before `step` is called; receipts and mail leave
when the record is durable; frames leave at once ("pipelined") or with the receipts ("strict").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
import structlog

from server.host.pacer import Pacer, TickTime
from server.host.postman import MailOptions, Postman
from server.host.reception import Reception, ReceptionOptions
from server.host.slumber import Slumber
from server.host.worldtime import WorldTime
from server.observe.health import Health
from server.observe.metrics import Metrics, Tally
from server.regions.worldclock import clock_order
from server.shard.envelope import seal
from server.shard.errors import BatchError
from server.shard.inbox import Inbox
from server.shard.journal import JournalRecord
from server.shard.machine import NOTHING, Effects, Machine, Records, TickInput
from server.shard.mail import Letter
from server.shard.ports import (
    Bus,
    Claim,
    Clock,
    JournalStore,
    commands_topic,
    frames_topic,
    keyframes_topic,
    receipts_topic,
)

_log = structlog.get_logger(__name__)

# Seconds of ticks that a shard's load is the mean of.
_LOAD_S: Final = 10.0
# Seconds between two looks at a store that falls behind: part of a tick, and little work for many shards.
_HELD_UP_S: Final = 0.005
# Seconds that a region's clock may be behind the world's.
_APART_S: Final = 1.0


@dataclass(slots=True)
class _Held:
    """Effects that wait for their tick, and every tick before it, to be durable."""

    durable: bool = False
    # With `durability = "strict"`: the tick's frame, and the keyframe after it if one is wanted.
    frames: Sequence[bytes] = ()
    receipts: Records = field(default_factory=lambda: NOTHING.processed)
    # What the tick sent, and what it took: the one leaves, the other is acknowledged.
    posted: Sequence[Letter] = ()
    taken: Sequence[Letter] = ()

    @property
    def anything(self) -> bool:
        """Whether something waits."""
        return bool(self.frames or self.receipts.size or self.posted or self.taken)


@dataclass(frozen=True, slots=True)
class HostOptions:
    """What a host is told beside its parts; see config/settings.py for meaning and units."""

    tick_rate_hz: float
    catch_up_ticks_max: int
    inbox_max: int
    commands_per_tick_max: int
    durability: Literal["pipelined", "strict"]
    # Game version, written into each record.
    simulation: int
    # Ticks between two digests in the journal; a tick without input has a record where one is due.
    digest_every_ticks: int = 20
    # Records, and ticks whose effects are held, that may wait to be durable before time waits for the store.
    journal_backlog_max: int = 64
    mail: MailOptions = field(default_factory=MailOptions)
    # Seconds in which nobody looks and nothing is to be done, after which it makes no ticks until something comes; 0:
    # never.
    hibernate_after_s: float = 0.0
    reception: ReceptionOptions = field(default_factory=ReceptionOptions)


class ShardHost:
    """Runs one machine. Not started by its constructor: call `run`, or `tick_once` with a clock of one's own."""

    def __init__(
        self,
        machine: Machine,
        journal: JournalStore,
        bus: Bus,
        clock: Clock,
        options: HostOptions,
        metrics: Metrics,
        health: Health,
        *,
        claim: Claim | None = None,
        jitter: Callable[[], float] = lambda: 1.0,
        world_time: WorldTime | None = None,
    ) -> None:
        self.machine = machine
        # Shared by the regions of one world; without it this one's clock is the world's.
        self._world_time = world_time or WorldTime()
        self._world_time.hear(machine.world_tick)
        self.inbox = Inbox(machine.shapes, options.inbox_max, options.commands_per_tick_max)
        self.postman = Postman(machine, bus, clock, options.mail, jitter)
        self.reception = Reception(machine, self.inbox, bus, clock, options.reception, lambda: self._written_as)
        after_s = options.hibernate_after_s
        self.slumber = Slumber(machine.shard, bus, clock, after_s, self._looked_at, self._under_way)
        self.pacer = Pacer(options.tick_rate_hz, options.catch_up_ticks_max, clock.now_s())
        self._journal = journal
        self._bus = bus
        self._clock = clock
        self._options = options
        self._metrics = metrics
        self._health = health
        # As whom records are written, and what the next one follows. None until `run` claims the shard.
        self._claim = claim
        # What was found at the start is durable.
        self._durable_tick = claim.tick if claim else 0
        # The first record of a run tells what state it began with.
        self._digest_due = True
        # Whether this is the last tick.
        self._ends = False
        self._held: deque[_Held] = deque()
        # Part of the time that its ticks take, 1 is all there is: the mean of so many ticks.
        self.load = 0.0
        self._load_ticks = 0
        self._keyframe_wanted = False
        shard = machine.shard
        self._dropped = Tally(metrics.inputs_dropped_total)
        self._received = Tally(metrics.reception_total, shard)
        self._mail = Tally(metrics.mail_total, shard, since=self._mail_counts())
        self._to_nobody = machine.gauges().get("to_nobody", 0)
        # Called just before a tick takes its input: gateways of this process send what they hold.
        self.before_tick: list[Callable[[], None]] = []
        # Called after each tick with its times; benchmarks and tests listen here.
        self.after_tick: list[Callable[[TickTime, float], None]] = []
        # Whether somebody wants the next tick's record to carry a digest.
        self.digest_wanted: Callable[[], bool] = lambda: False
        # Called between two ticks, where a digest is due, with the digest of the state.
        self.on_digest: list[Callable[[int], None]] = []
        # Whether somebody needs a tick yet before it may fall asleep.
        self.stay_awake: Callable[[], bool] = lambda: False
        # Whether the tick that begins is the last one before it sleeps.
        self.falls_asleep = False
        # Called when a record has become durable.
        self.after_durable: list[Callable[[], None]] = []
        self._unsubscribe = [
            bus.subscribe(commands_topic(shard), self._on_commands),
            bus.subscribe(keyframes_topic(shard), self._on_keyframe_wanted),
        ]
        metrics.dilation.labels(shard).set(1.0)
        metrics.asleep.labels(shard).set(0)

    async def run(self) -> None:
        """Tick until cancelled. Raises what a system of the game raises: the state is then not to be trusted."""
        if self._claim is None:
            self._claim = await self._journal.claim(self.machine.shard)
            self._durable_tick = self._claim.tick
        # Before that, whoever made it may wait for the store, and no tick is late.
        self._health.expect(self.machine.shard)
        self.pacer = Pacer(self._options.tick_rate_hz, self._options.catch_up_ticks_max, self._clock.now_s())
        if self.machine.tick:
            # It comes from another process, and its players have waited for more than a tick.
            self.pacer.rest(self._clock.now_s())
        while True:
            await self._clock.sleep_until(self.pacer.due_s)
            self._check_journal()
            if max(self._journal.backlog, len(self._held)) >= self._options.journal_backlog_max:
                # The store falls behind: time waits for it, and no input is lost.
                self._observe_time()
                self._health.holds(self.machine.shard, "its store falls behind")
                await self._clock.sleep_until(self._clock.now_s() + _HELD_UP_S)
                continue
            self.tick_once()
            if self.slumber.due() and self._settled():
                await self._sleep()

    async def _sleep(self) -> None:
        """A last tick, and then none until something comes. No time has passed in between."""
        self._digest_due = self.falls_asleep = True
        self.tick_once()
        self.falls_asleep = False
        if self._looked_at() or self._under_way():
            return
        shard = self.machine.shard
        self._rest(asleep=True)
        self._health.sleeps(shard)
        self._metrics.tick_rate_hz.labels(shard).set(0)
        try:
            slept_s = await self.slumber.sleep()
        finally:
            self._rest(asleep=False)
            self._health.wakes(shard)
        # In that time it took nothing.
        self.load *= max(0.0, 1.0 - slept_s / _LOAD_S)
        # If another has taken the shard meanwhile, its journal says so at once.
        self._digest_due = True

    def _rest(self, *, asleep: bool) -> None:
        self._metrics.asleep.labels(self.machine.shard).set(asleep)
        self.pacer.rest(self._clock.now_s())

    def _looked_at(self) -> bool:
        """Whether a gateway or a player is there, or is about to be. Mostly the first of these says so."""
        return bool(self.reception.heard or self._keyframe_wanted or self.inbox.depth or self.machine.attending())

    def _under_way(self) -> bool:
        """Whether something is to be brought to its end, mail most often."""
        return bool(self.stay_awake() or self.postman.busy or self.machine.restless or self.machine.post.unacked())

    def _settled(self) -> bool:
        """Whether nothing waits to be durable."""
        return not self._held and self._durable_tick == self.journalled_tick

    def show(self) -> None:
        """Publish the state as it is, before the first tick.

        Whoever comes early meets a world, and who watched its last owner goes on with this one.
        """
        self._keyframe_wanted = False
        self._publish_frames([self.machine.keyframe()])

    def tick_once(self) -> Effects:
        """One tick, now. Raises StoreError where the journal refuses it: nothing of the tick has then left."""
        self._check_journal()
        times = self.pacer.begin(self._clock.now_s())
        for gather in self.before_tick:
            gather()
        self.reception.sweep()
        self._keep_time()
        inputs = self._take()
        tick = self.machine.tick + 1
        digest = self._digest(quiet=inputs.empty)
        held = _Held()
        recorded = not inputs.empty or digest is not None
        if recorded:
            self._append(tick, b"" if inputs.empty else inputs.encode(), digest, held)
        effects = self.machine.step(inputs)
        self._world_time.hear(self.machine.world_tick)
        if inputs.empty and not effects.mail:
            # It has nothing to lose: its effects wait for no record of its own.
            held.durable = True
        elif not recorded:
            # Mail must not leave a tick that a recovery would make anew, perhaps with input: the letter under this
            # number would be another then.
            self._append(tick, b"", None, held)
        frames = [effects.frame]
        if self._keyframe_wanted:
            self._keyframe_wanted = False
            frames.append(self.machine.keyframe())
        if self._options.durability == "strict":
            held.frames = frames
        else:
            self._publish_frames(frames)
        held.receipts, held.posted, held.taken = effects.receipts, effects.mail, inputs.mail
        if self.inbox.repeated.size:
            # Applied before: told again, once this tick's turn comes, and so that of the tick that applied them.
            held.receipts = np.concatenate([held.receipts, self.inbox.repeated])
        # What has nothing to wait with does not wait: a quiet world keeps nothing, however long its store is away.
        if held.anything:
            self._held.append(held)
        self._release()
        self._observe(times)
        return effects

    def finish(self) -> Effects:
        """The last tick of an orderly end: its record carries the state's digest, so whoever follows has every tick.

        Raises as `tick_once`.
        """
        self._digest_due = self._ends = True
        effects = self.tick_once()
        self.ticks_no_more()
        return effects

    def ticks_no_more(self) -> None:
        """No tick is to come, however long what is left to do with the store takes."""
        self._health.forget(self.machine.shard)

    def _keep_time(self) -> None:
        """Have the tick that begins move the machine's clock on, where it has fallen behind the world's."""
        options, machine = self._options, self.machine
        behind_ticks = self._world_time.behind_ticks(machine.world_tick + 1)
        # What a region may make up for is not lost yet. Given and made up for, it would drive the others forward, and
        # the world's clock would run fast wherever ticks are late now and then.
        if behind_ticks > max(options.tick_rate_hz * _APART_S, options.catch_up_ticks_max):
            self.inbox.offer(clock_order(machine.world_tick - machine.tick + behind_ticks))

    def _take(self) -> TickInput:
        """The next tick's input."""
        inputs = self.inbox.take(self.machine.high_water)
        mail, acks = self.postman.take(self.machine.tick + 1)
        return replace(inputs, mail=mail, acks=acks) if mail or acks.size else inputs

    def deafen(self) -> None:
        """Hear no more, and answer nobody: who makes no ticks any more must not stand between others and who does."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self.postman.close()
        self.slumber.close()
        self.reception.close()

    def close(self) -> None:
        """Listen no more, and be told of no more."""
        self.deafen()
        self.ticks_no_more()
        self._metrics.forget(self.machine.shard)

    # -- the journal -----------------------------------------------------------

    @property
    def epoch(self) -> int:
        """As whom records are written."""
        assert self._claim is not None, "nobody claimed the shard yet"
        return self._claim.epoch

    @property
    def journalled_tick(self) -> int:
        """Tick of the last record handed to the journal; those after it had no input."""
        assert self._claim is not None, "nobody claimed the shard yet"
        return self._claim.tick

    @property
    def measured_s(self) -> float:
        """Of how many seconds of ticks `load` is the mean: few where it has just begun."""
        return self._load_ticks / self._options.tick_rate_hz

    @property
    def _written_as(self) -> int:
        """What others are told of it: 0 before it claimed the shard."""
        return self._claim.epoch if self._claim else 0

    @property
    def durable_tick(self) -> int:
        """Tick of the last record that would survive a power cut."""
        return self._durable_tick

    def _digest(self, *, quiet: bool) -> int | None:
        """The state's digest, where one is due before the next tick. `quiet`: which has no input."""
        if not (self._digest_due or self.digest_wanted()) and self.machine.tick % self._options.digest_every_ticks:
            return None
        if quiet and not self._ends and self._durable_tick < self.journalled_tick:
            # However long its store is away, a quiet world does not fill its queue with nothing.
            return None
        self._digest_due = False
        digest = self.machine.digest()
        for observer in self.on_digest:
            observer(digest)
        return digest

    def _append(self, tick: int, payload: bytes, digest: int | None, held: _Held) -> None:
        assert self._claim is not None, "a shard that nobody claimed has no ticks"
        epoch, previous = self._claim.epoch, self._claim.tick
        record = JournalRecord(self.machine.shard, tick, epoch, self._options.simulation, payload, previous, digest)
        self._journal.append(record, lambda: self._on_durable(tick, held))
        self._claim = Claim(epoch, tick)

    def _check_journal(self) -> None:
        # A tick without input would not meet the failure, and time would wait for ever for a store that is gone.
        if self._journal.failure is not None:
            raise self._journal.failure

    # -- effects ---------------------------------------------------------------

    def _on_durable(self, tick: int, held: _Held) -> None:
        # A store that is durable at once calls during `append`: the tick is then not made yet, nor among the held.
        held.durable = True
        self._durable_tick = tick
        self.postman.durable(tick)
        self._release()
        for observer in self.after_durable:
            observer()

    def _release(self) -> None:
        """Let go, in order of ticks, of what is durable."""
        while self._held and self._held[0].durable:
            held = self._held.popleft()
            self._publish_frames(held.frames)
            if held.receipts.size:
                self._bus.publish(receipts_topic(self.machine.shard), held.receipts.tobytes())
            self.postman.release(held.posted, held.taken)
        self.postman.deliver()

    def _publish_frames(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            self._bus.publish(frames_topic(self.machine.shard), seal(self._written_as, frame))

    # -- arrivals --------------------------------------------------------------

    def _on_commands(self, data: bytes) -> None:
        try:
            self.inbox.offer(data)
        except BatchError as error:
            _log.warning("command batch refused", shard=self.machine.shard, reason=str(error))

    def _on_keyframe_wanted(self, _data: bytes) -> None:
        self._keyframe_wanted = True

    def _observe(self, times: TickTime) -> None:
        took_s = self._clock.now_s() - times.start_s
        rate_hz = self._options.tick_rate_hz
        self._load_ticks = min(self._load_ticks + 1, round(_LOAD_S * rate_hz))
        self.load += (took_s * rate_hz - self.load) / self._load_ticks
        shard, metrics = self.machine.shard, self._metrics
        metrics.tick_seconds.labels(shard).observe(took_s)
        metrics.tick_lateness_seconds.observe(max(0.0, times.lateness_s))
        metrics.ticks_total.inc()
        self._health.ticked(shard, self.machine.tick)
        a_second = self.machine.tick % round(self._options.tick_rate_hz) == 0
        if a_second:
            self._observe_time()
        # Who sleeps tells before what it came to: letters wake it for a few ticks at a time, and never for a second.
        if a_second or self.falls_asleep:
            metrics.entities.labels(shard).set(self.machine.gauges()["entities"])
            metrics.inbox_depth.labels(shard).set(self.inbox.depth)
            self._dropped.tell(self.inbox.dropped)
            self._received.tell(self.reception.counts)
            self._observe_mail()
        for observer in self.after_tick:
            observer(times, took_s)

    def _observe_mail(self) -> None:
        shard, metrics, postman = self.machine.shard, self._metrics, self.postman
        metrics.mail_unacked.labels(shard).set(postman.unacked)
        metrics.mail_waiting.labels(shard).set(postman.waiting)
        metrics.mail_dead.labels(shard).set(len(self.machine.post.dead))
        self._mail.tell(self._mail_counts())
        to_nobody = self.machine.gauges().get("to_nobody", 0)
        metrics.mail_to_nobody_total.labels(shard).inc(to_nobody - self._to_nobody)
        self._to_nobody = to_nobody

    def _mail_counts(self) -> dict[str, int]:
        """What the postman counted since this host's start, and the state since the world's."""
        post = self.machine.post
        return {**self.postman.counts, "unsent": post.unsent, "dead_dropped": post.dead_dropped}

    def _observe_time(self) -> None:
        now_s = self._clock.now_s()
        shard = self.machine.shard
        self._metrics.tick_rate_hz.labels(shard).set(self.pacer.measured_hz(now_s))
        self._metrics.dilation.labels(shard).set(self.pacer.dilation(now_s))
        self._metrics.journal_backlog.set(self._journal.backlog)
