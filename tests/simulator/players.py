"""A gateway and its players, as far as shards notice: commands by uplink, acknowledgements from frames, receipts.

Each player steers about and enters things in its book, one at a time; what is not receipted is sent again, as a
gateway does, wherever the player's entity is by then.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgpack
import numpy as np

from server.regions.frame import KNOWN, Frame
from server.shard.envelope import unseal
from server.shard.machine import CHAIN, JOIN, PRESENCE, PROCESSED, command_shapes, encode_batches
from server.shard.ports import (
    SEEK_TOPIC,
    frames_topic,
    keyframes_topic,
    links_topic,
    receipts_topic,
    sessions_topic,
    uplink_topic,
)
from server.shard.uplink import Answer, Outgoing
from tests.simulator.game import GAME

_SHAPES = command_shapes(GAME.schema)
STEER, ENTER = (next(c.id for c in GAME.schema.commands if c.name == name) for name in ("Steer", "Enter"))


@dataclass
class Player:
    session: int
    shard: int
    bound: bool = False
    seq: int = 0
    # Highest number that the world says it has processed.
    acked: int = 0
    # Numbers of entries, and those of them whose receipt has come.
    entries: list[int] = field(default_factory=list)
    receipted: set[int] = field(default_factory=set)
    # (seq, kind, values) of what may have to be sent again.
    unacked: list[tuple] = field(default_factory=list)
    # Number of what was sent last, since everything was sent again; 0: nothing.
    sent: int = 0


class Gateway:
    def __init__(self, number, shards, players, bus, process, random):
        self.number, self.bus, self.process, self.random = number, bus, process, random
        self.players = {p.session: p for p in players}
        self.shards = shards
        self.links = {shard: Outgoing(number) for shard in shards}
        self.waiting = {shard: [] for shard in shards}
        self.ticks = dict.fromkeys(shards, -1)
        self.quiet = False
        # Shards of whom a keyframe is needed: it is asked for until it comes.
        self.lacking = set(shards)
        for shard in shards:
            bus.subscribe(frames_topic(shard), self._on_frame)
            bus.subscribe(receipts_topic(shard), self._on_receipts)
        bus.subscribe(links_topic(number), self._on_answer)
        bus.subscribe(sessions_topic(number), self._on_session)
        for player in players:
            self._join(player)

    def _join(self, player):
        self.waiting[player.shard].append((JOIN, player.session, 0, b"p%d" % player.session, b"Ada"))

    async def run(self):
        while True:
            await self.process.sleep_until(self.process.now_s() + 0.1)
            for player in self.players.values():
                if player.bound and not self.quiet:
                    self._play(player)
                if player.unacked and self.random.random() < 0.03:
                    self._seek(player)
            for shard in self.shards:
                self._flush(shard)

    def _seek(self, player):
        """Where are you? A frame that said so may have been lost, or overtaken by an older one."""
        self.bus.publish(SEEK_TOPIC, msgpack.packb([self.number, player.session, b""]))

    def _on_session(self, data):
        word, *rest = msgpack.unpackb(data)
        if word == "found":
            shard, known = rest
            session, _row, seq, *_ = np.frombuffer(known, KNOWN)[0].tolist()
            self._at(self.players[session], shard)
            self._acked(self.players[session], seq)

    def _play(self, player):
        if self.random.random() < 0.15:
            player.seq += 1
            values = (self.random.uniform(-1, 1), self.random.uniform(-1, 1))
            self._input(player, player.seq, STEER, values)
        if self.random.random() < 0.3 and len(player.unacked) < 40:
            player.seq += 1
            player.entries.append(player.seq)
            self._input(player, player.seq, ENTER, (player.seq % 200,))
        # What has no receipt after a while is asked again.
        if self.random.random() < 0.05:
            self._again(player)

    def _input(self, player, seq, kind, values):
        player.unacked.append((seq, kind, values))
        self._send(player, seq, kind, values)

    def _send(self, player, seq, kind, values):
        self.waiting[player.shard].append((CHAIN, player.session, seq, player.sent))
        self.waiting[player.shard].append((kind, player.session, seq, *values))
        player.sent = seq

    def _again(self, player):
        if player.bound:
            player.sent = 0
            for unacked in player.unacked:
                self._send(player, *unacked)

    def _flush(self, shard):
        now_s, link = self.process.now_s(), self.links[shard]
        if shard in self.lacking and self.random.random() < 0.3:
            self.bus.publish(keyframes_topic(shard), b"")
        for packet in link.due(now_s):
            self.bus.publish(uplink_topic(shard), packet)
        if self.waiting[shard] and not link.full:
            kinds = {}
            for kind, *record in self.waiting[shard]:
                kinds.setdefault(kind, []).append(tuple(record))
            self.waiting[shard].clear()
            batch = encode_batches({k: np.array(r, _SHAPES[k].dtype) for k, r in kinds.items()})
            self.bus.publish(uplink_topic(shard), link.send(batch, now_s))

    def _on_answer(self, data):
        answer = Answer.decode(data)
        if self.links[answer.shard].hear(answer, self.process.now_s()):
            # It knows nothing of us: everyone whose entity is there, or should be, and what it may lack.
            self.waiting[answer.shard].clear()
            for player in self.players.values():
                if player.shard == answer.shard:
                    if player.bound:
                        self.waiting[answer.shard].append((PRESENCE, player.session, 1, 1))
                        self._again(player)
                    else:
                        self._join(player)

    def _on_receipts(self, data):
        for session, seq in np.frombuffer(data, PROCESSED).tolist():
            if session in self.players:
                self._receipted(self.players[session], seq)

    def _receipted(self, player, seq):
        player.receipted.add(seq)
        player.unacked = [u for u in player.unacked if u[0] != seq]

    def _on_frame(self, data):
        frame = Frame.decode(unseal(data)[1], GAME.schema)
        if frame.key:
            self.lacking.discard(frame.region)
            for session, _row, seq, *_ in frame.sessions.tolist():
                if session in self.players:
                    self._at(self.players[session], frame.region)
                    self._acked(self.players[session], seq)
        elif frame.tick != self.ticks[frame.region] + 1:
            self.lacking.add(frame.region)
        self.ticks[frame.region] = max(frame.tick, self.ticks[frame.region]) if not frame.key else frame.tick
        for session, _ in frame.bound.tolist():
            if session in self.players:
                self._at(self.players[session], frame.region)
        for session, seq in frame.acks.tolist():
            if session in self.players:
                self._acked(self.players[session], seq)

    def _acked(self, player, seq):
        player.acked = max(player.acked, seq)
        player.unacked = [u for u in player.unacked if u[1] == ENTER or u[0] > seq]

    def _at(self, player, shard):
        if not player.bound or player.shard != shard:
            player.bound, player.shard = True, shard
            self.waiting[shard].append((PRESENCE, player.session, 1, 1))
            self._again(player)
