"""A client written from docs/protocol.md alone: it knows msgpack and WebSockets, and nothing of this project.

python page_client.py ws://127.0.0.1:8080/ws
"""

import asyncio
import struct
import sys
import zlib

import msgpack
from websockets.asyncio.client import connect

HELLO, INPUT, PING, CHECK, LEAVE = 1, 2, 3, 4, 5
WELCOME, DELTA, KEYFRAME, ACK, RECEIPT, EVENT, PONG, VIEW_DIGEST, ERROR, BYE, YOU = range(16, 27)
CODES = {"bool": "B", "u8": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "i32": "i", "f32": "f"}


class PageClient:
    """Keeps the views of all regions, and what the server said last."""

    def __init__(self, socket):
        self.socket = socket
        self.seq = 0
        self.last = {}  # message type -> the last such message
        self.views = {}  # region -> {handle: (archetype, raw values of the full record)}
        self.ticks = {}  # region -> tick

    async def receive(self):
        """Take one frame; returns its message."""
        message = msgpack.unpackb(await self.socket.recv())
        kind = message[0]
        self.last[kind] = message
        if kind == WELCOME:
            self.welcome(message[1])
        elif kind == KEYFRAME:
            _, region, tick, enters = message
            self.views[region] = {}
            self.ticks[region] = tick
            self.enter(region, enters)
        elif kind == DELTA:
            self.delta(*message[1:5], message[5:])
        elif kind == YOU:
            self.entity = tuple(message[1:])
        return message

    async def wait_for(self, kind, holds=lambda message: True):
        """Read until a message of this type holds; returns it."""
        while True:
            message = await self.receive()
            if message[0] == kind and holds(message):
                return message
            assert message[0] not in (ERROR, BYE), message

    def welcome(self, info):
        """Work out every record layout, for each region's width of handle."""
        self.info, self.schema = info, info["schema"]
        self.entity = (info["entity"]["region"], info["entity"]["handle"])
        self.seq = info["ack"]
        self.views, self.ticks = {}, {}
        self.regions = {region["id"]: region for region in info["regions"]}
        self.commands = {command["name"]: command for command in self.schema["commands"]}
        components = self.schema["components"]
        codes = ["".join(self.code(field) for field in component["fields"]) for component in components]
        handle = {region: "H" if r["handle"] == "u16" else "I" for region, r in self.regions.items()}
        self.handles = {region: struct.Struct("<" + h) for region, h in handle.items()}
        self.changes = {r: [struct.Struct("<" + h + code) for code in codes] for r, h in handle.items()}
        self.records = {
            r: [struct.Struct("<" + h + "".join(codes[c] for c in a["components"])) for a in self.schema["archetypes"]]
            for r, h in handle.items()
        }
        # archetype -> component -> place of its first field among the record's values
        self.places = []
        for archetype in self.schema["archetypes"]:
            at, places = 1, {}
            for c in archetype["components"]:
                places[c] = at
                at += len(components[c]["fields"])
            self.places.append(places)

    @staticmethod
    def code(field):
        return f"{field['size']}s" if field["type"] == "utf8" else CODES[field["type"]]

    def enter(self, region, enters):
        enters = enters or []
        for archetype, records in zip(enters[::2], enters[1::2], strict=True):
            for values in self.records[region][archetype].iter_unpack(records):
                self.views[region][values[0]] = (archetype, list(values))

    def delta(self, region, tick_low7, leaves, enters, changes):
        view = self.views[region]
        self.ticks[region] += (tick_low7 - self.ticks[region]) & 127
        for (handle,) in self.handles[region].iter_unpack(leaves or b""):
            view.pop(handle, None)
        self.enter(region, enters)
        for component, records in zip(changes[::2], changes[1::2], strict=True):
            for handle, *fields in self.changes[region][component].iter_unpack(records):
                if handle in view:
                    archetype, values = view[handle]
                    at = self.places[archetype][component]
                    values[at : at + len(fields)] = fields

    def value(self, region, handle, component, field):
        """A field's value, by names."""
        archetype, values = self.views[region][handle]
        entry = next(c for c in self.schema["components"] if c["name"] == component)
        place = [f["name"] for f in entry["fields"]].index(field)
        wire, raw = entry["fields"][place], values[self.places[archetype][entry["id"]] + place]
        if wire["type"] == "utf8":
            return raw.rstrip(b"\0").decode()
        if wire["type"] == "bool":
            return raw != 0
        origin = self.regions[region][wire["axis"]] if wire["axis"] else 0
        return raw * wire["scale"] + wire["offset"] + origin

    def digest(self, region):
        """(count, CRC-32) of a view."""
        crc, view = 0, self.views[region]
        for handle in sorted(view):
            archetype, values = view[handle]
            crc = zlib.crc32(bytes([archetype]) + self.records[region][archetype].pack(*values), crc)
        return len(view), crc

    async def say(self, *message):
        await self.socket.send(msgpack.packb(list(message)))

    async def command(self, name, *args):
        self.seq += 1
        await self.say(INPUT, self.seq, self.commands[name]["id"], list(args))
        return self.seq


async def main(url):
    async with connect(url, compression=None) as socket:
        client = PageClient(socket)
        await client.say(HELLO, 1, None, None, "page")
        await client.wait_for(WELCOME)
        await client.say(CHECK)
        _, region, tick, *said = await client.wait_for(VIEW_DIGEST)
        print(f"region {region}, tick {tick}: {client.digest(region)} here, {tuple(said)} there")
        await client.say(LEAVE)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
