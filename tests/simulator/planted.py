"""Bugs planted on purpose: a simulator that finds nothing proves nothing.

Each is a patch of one module's source, applied as the module is imported. The text it replaces must be there exactly
once, so that a patch that no longer fits fails instead of planting nothing.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass

from tests.simulator.plan import Plan


def anywhere(plan: Plan) -> bool:
    return True


def with_fault(*kinds: str) -> Callable[[Plan], bool]:
    """Whether there is a fault of one of these kinds."""
    return lambda plan: any(fault.kind in kinds for fault in plan.faults)


@dataclass(frozen=True)
class Patch:
    module: str
    old: str
    new: str
    why: str
    # Of the seeds, those in which it may do harm: the others need not be run to find it.
    where: Callable[[Plan], bool] = anywhere


PLANTED = {
    "receipts before the journal": Patch(
        "server.host.host",
        "        held = _Held()\n",
        "        held = _Held(durable=True)\n",
        "Receipts, mail and acknowledgements leave before their tick is durable.",
    ),
    "mail of a tick without a record": Patch(
        "server.host.host",
        "        if inputs.empty and not effects.mail:\n",
        "        if inputs.empty:\n",
        "A letter leaves a tick that a recovery makes anew, perhaps with other letters.",
    ),
    "no dedupe of commands": Patch(
        "server.shard.inbox",
        "        old = (seq.astype(np.int64) <= applied) & ~stranger\n",
        "        old = np.zeros(seq.size, np.bool_)\n",
        "What is sent again is applied again.",
    ),
    "a fence that lets old owners in": Patch(
        "server.store.writers",
        "    if wanted is not None and wanted <= last:\n",
        "    if wanted is not None and wanted < 0:\n",
        "Who comes with an old epoch becomes the writer.",
    ),
    "no copy of the sequence number at a border": Patch(
        "server.regions.borders",
        '        for name in ("session", "seq", "player", "name"):\n',
        '        for name in ("session", "player", "name"):\n',
        "What a player did before the border can be done again behind it.",
    ),
    "who leaves stays": Patch(
        "server.regions.borders",
        "        world.despawn(rows)\n        sessions.remove",
        "        sessions.remove",
        "An entity is in both regions.",
    ),
    "who leaves is in no letter": Patch(
        "server.regions.borders",
        "                if post.send(destination, Lane.URGENT, HANDOFF, travellers.encode(self._game)):\n",
        "                if tick % 8 == 0 or "
        "post.send(destination, Lane.URGENT, HANDOFF, travellers.encode(self._game)):\n",
        "An entity is in neither region.",
    ),
    "mail is not sent again": Patch(
        "server.host.postman",
        "            if out.under_way and now_s >= out.due_s:\n",
        "            if out.under_way and now_s < 0:\n",
        "A letter that is lost once is lost for ever.",
    ),
    "mail is acknowledged when it comes": Patch(
        "server.host.postman",
        "        incoming.waiting[letter.seq] = (letter, self._tick)\n",
        "        incoming.waiting[letter.seq] = (letter, self._tick)\n"
        "        incoming.durable = max(incoming.durable, letter.seq)\n"
        "        self._ack_due.add(stream)\n",
        "The sender forgets a letter that dies with its receiver.",
    ),
    "checkpoints without mail": Patch(
        "server.regions.machine",
        "        arrays.update(self.post.capture())\n",
        "",
        "After a recovery letters are gone, or come twice.",
    ),
    "a takeover that misses the last ticks": Patch(
        "server.host.follower",
        "        await self.catch_up()\n        check_end(self._report, claim)\n",
        "",
        "What the owner wrote between two looks of its standby is lost.",
        lambda plan: plan.standby,
    ),
    "a record that is not replayed": Patch(
        "server.host.recovery",
        "        report.last_record = record.tick\n        await self._tick(inputs)\n",
        "        report.last_record = record.tick\n"
        "        await self._tick(inputs if report.records_replayed % 16 else NOTHING)\n",
        "Recovery makes another state than the one that was.",
    ),
    "receipts are not told again": Patch(
        "server.host.host",
        "        if self.inbox.repeated.size:\n",
        "        if self.inbox.repeated.size > 1_000_000:\n",
        "A receipt that is lost once never comes.",
    ),
    "a letter wakes nobody": Patch(
        "server.host.slumber",
        "            bus.subscribe(mail_topic(shard), self._on_mail),\n",
        "",
        "What is sent to a region that sleeps waits for ever.",
        lambda plan: plan.hibernate_after_s > 0,
    ),
    "an ACK ends a reliable input": Patch(
        "server.gateway.session",
        "        self.acked = max(self.acked, seq)\n",
        "        self.acked = max(self.acked, seq)\n"
        "        self.due = {number: kept for number, kept in self.due.items() if number > seq}\n",
        "A region that dies with what it acknowledged never hears it again.",
    ),
    "an ACK is told as a receipt": Patch(
        "server.gateway.stream",
        "        session.outbox.append(websocket_frame(encode_ack(session.acked)))\n",
        "        session.outbox.append(websocket_frame(encode_ack(session.acked)))\n"
        "        session.outbox += [websocket_frame(encode_receipt(n)) for n in session.due if n <= session.acked]\n",
        "Who comes back is promised what is not durable.",
    ),
    "streams from their middle": Patch(
        "server.shard.uplink",
        "            if packet.number != 1:\n",
        "            if packet.number < 1:\n",
        "A new host waits for ever for batches that went to another.",
    ),
    "only what is new is said again": Patch(
        "server.gateway.router",
        "        session.said = 0\n        self._say_later(session)\n",
        "        self._say_later(session)\n",
        "A region that began anew never hears what the one before it was told.",
    ),
    "who is released is not told of": Patch(
        "server.gateway.stream",
        "                    seat.before.append(leave)\n",
        "",
        "Who went out of a view stays in it.",
    ),
    "gateways that fall silent have no grace": Patch(
        "server.host.reception",
        "        over = [s for s, absent_s in gone_s.items() if absent_s > self._options.grace_s]\n",
        "        over = [s for s, absent_s in gone_s.items() if absent_s > 2.0]\n",
        "Whose gateway dies is out of the world before anybody could come back.",
    ),
    "who claims a session last has it": Patch(
        "server.host.reception",
        "                if claim.came_s + theirs_s > came_s + ahead_s:\n",
        "                if claim.came_s + theirs_s > now_s:\n",
        "Who was cut off or slow takes players back from where they have gone meanwhile.",
        lambda plan: plan.gateways > 1 and plan.drift < 0.1,
    ),
    "who stays away stays for ever": Patch(
        "server.gateway.gateway",
        'self._finish(session, CloseCode.NORMAL, "the grace time is over")',
        'self._finish(session, CloseCode.NORMAL, "the grace time is over", tell_region=False)',
        "An avatar that nobody will play again is never taken out of the world.",
        with_fault("stay_away"),
    ),
    "a division that checkpoints forget": Patch(
        "server.regions.machine",
        "        arrays.update(self.division.capture())\n",
        "",
        "A region that is recovered believes that it is whole, and its parts have their ground.",
        with_fault("divide"),
    ),
    "a part without ground takes commands": Patch(
        "server.regions.machine",
        "        applied = inputs.processed if grounded else NOTHING.processed\n",
        "        applied = inputs.processed\n",
        "What no system saw counts as done.",
        with_fault("divide"),
    ),
    "mail for a part without ground is nobody's": Patch(
        "server.regions.machine",
        "            return came, followers, of_the_game\n",
        "            return came, followers, ()\n",
        "What comes after those who left a part is lost.",
        with_fault("divide"),
    ),
    "a move without its last tick": Patch(
        "server.host.node",
        "            tick = await tenure.stop()\n",
        "            tick = tenure.host.machine.tick\n",
        "The next owner begins before the last one has ended.",
        with_fault("move", "drain"),
    ),
    "frames of an owner of before": Patch(
        "server.gateway.stream",
        "            if self._superseded(epoch):\n",
        "            if epoch < 0:\n",
        "Who lost a region goes on showing it.",
        lambda plan: plan.restless,
    ),
    "a part where somebody sits is not in use": Patch(
        "server.gateway.router",
        "        self.unseat(session)\n        self._use(session.region)\n",
        "        self.unseat(session)\n",
        "Who comes back in a part of a divided region is a guest at home, and hears nothing.",
        with_fault("divide"),
    ),
    "views outlive a stall": Patch(
        "server.gateway.stream",
        "        self.frames_skipped += 1\n        forget_views(session)\n",
        "        self.frames_skipped += 1\n",
        "Who did not read goes on with a view that has holes.",
        with_fault("stall"),
    ),
    "who did not read is not told its receipts": Patch(
        "server.gateway.stream",
        "        session.outbox = [websocket_frame(encode_receipt(seq)) for seq in session.durable or ()]\n",
        "        session.outbox = []\n",
        "A receipt that came while nothing could be written never comes.",
        with_fault("stall"),
    ),
    "who is taken over is not told": Patch(
        "server.gateway.gateway",
        "        over = session is not None and session.began <= word <= session.connection\n",
        "        over = session is not None and session.began < word < session.connection\n",
        "An account plays over the connection of before and over the new one.",
        with_fault("login"),
    ),
    "views outlive a keyframe": Patch(
        "server.gateway.stream",
        "                self.awaits_key = False\n                self._forget_views()\n",
        "                self.awaits_key = False\n",
        "A view drifts from what the gateway knows.",
    ),
    "who looks is not answered": Patch(
        "server.gateway.stream",
        "        seat.check = True\n        self.mark(seat)\n",
        "        self.mark(seat)\n",
        "Nobody hears whether what they see is so.",
    ),
    "who crosses a border is nobody's": Patch(
        "server.gateway.router",
        "        if came or session.asked > 1 or asked != region:\n",
        "        if session.asked > 1:\n",
        "Who plays on beyond a border stands there as away.",
    ),
    "a home that is told nothing": Patch(
        "server.regions.borders",
        "        kept = self._tell(words, post)\n",
        "        kept = np.zeros(words.size, np.bool_)\n",
        "Mail for one who went far, long ago, is sent in a circle.",
    ),
    "a home that believes the last word": Patch(
        "server.regions.borders",
        '        later = words["crossings"] >= self._moved["crossings"][at]\n',
        "        later = np.ones(at.size, np.bool_)\n",
        "Words overtake each other, and mail goes where nobody is any more.",
    ),
    "mail for the dead is buried with them": Patch(
        "server.regions.letters",
        "        if _comes_back(messages):\n            self._give_back(messages, post)\n\n",
        "",
        "What was in a letter to somebody who is gone is gone, too.",
    ),
}


def plant(name: str) -> None:
    """From now on the module is imported with this bug in it. It must not be imported yet."""
    patch = PLANTED[name]
    assert patch.module not in sys.modules, f"{patch.module} is imported already"
    sys.meta_path.insert(0, _Planter(patch))


def fits(name: str) -> bool:
    """Whether the patch's text is there exactly once."""
    patch = PLANTED[name]
    spec = importlib.util.find_spec(patch.module)
    assert spec is not None
    assert isinstance(spec.loader, importlib.machinery.SourceFileLoader)
    source = spec.loader.get_source(patch.module)
    return source is not None and source.count(patch.old) == 1


class _Planter(importlib.abc.MetaPathFinder):
    def __init__(self, patch: Patch) -> None:
        self._patch = patch

    def find_spec(self, name, path, target=None):
        if name != self._patch.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        spec.loader = _Patched(spec.loader.name, spec.loader.path, self._patch)
        return spec


class _Patched(importlib.machinery.SourceFileLoader):
    def __init__(self, name: str, path: str, patch: Patch) -> None:
        super().__init__(name, path)
        self._patch = patch

    def get_code(self, fullname):
        source = self.get_source(fullname)
        assert source.count(self._patch.old) == 1, f"the patch does not fit {fullname} any more"
        return compile(source.replace(self._patch.old, self._patch.new), self.path, "exec")
