"""How docs/protocol.md writes its examples, and how to read them back.

A block is titled, then shows the value with bins as `<hex>`, then the bytes:

    ```example PING
    [3, 1500.5]
    93 ...
    ```
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgpack

from clients.python import Views
from tests.protocol.meadow import EXAMPLES, WELCOME

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocol.md"

_BLOCK = re.compile(r"^```example (?P<title>[^\n]+)\n(?P<body>.*?)\n```$", re.MULTILINE | re.DOTALL)
_HEX_LINE = re.compile(r"(?:[0-9a-f]{2} ){0,31}[0-9a-f]{2}")
_BIN = re.compile("<((?:[0-9a-f]{2} ?)*)>")


def read_blocks() -> dict[str, tuple[object, bytes]]:
    """Title -> (value, bytes) of every example on the page, each as the page writes it."""
    blocks = {}
    for match in _BLOCK.finditer(PAGE.read_text()):
        lines = match["body"].split("\n")
        hex_lines = [line for line in lines if _HEX_LINE.fullmatch(line)]
        value_text = "\n".join(line for line in lines if not _HEX_LINE.fullmatch(line))
        value_text = _BIN.sub(lambda m: json.dumps({"bin": m[1]}), value_text)
        value = _bins(json.loads(re.sub(r"\bnil\b", "null", value_text)))
        assert match["title"] not in blocks, f"two examples are called {match['title']!r}"
        blocks[match["title"]] = (value, bytes.fromhex(" ".join(hex_lines)))
    return blocks


def block(title: str, data: bytes) -> str:
    """The block as it should stand on the page."""
    return "\n".join([f"```example {title}", _write(msgpack.unpackb(data), ""), *_rows(data), "```"])


def digest_bytes() -> bytes:
    """What the page's VIEW_DIGEST covers, put together from the view that its examples make."""
    views = Views(WELCOME)
    for title in ("KEYFRAME", "DELTA of movement", "DELTA with everything"):
        views.receive(EXAMPLES[title])
    entities = views[1].entities
    return b"".join(bytes([entities[h].archetype]) + entities[h].record for h in sorted(entities))


def digest_block() -> str:
    """The bytes under the page's view digest."""
    return "\n".join(["```digest", *_rows(digest_bytes()), "```"])


def _rows(data: bytes) -> list[str]:
    return [data[i : i + 32].hex(" ") for i in range(0, len(data), 32)]


def _bins(tree: object) -> object:
    if isinstance(tree, dict):
        if tree.keys() == {"bin"}:
            return bytes.fromhex(tree["bin"])
        return {key: _bins(value) for key, value in tree.items()}
    return [_bins(value) for value in tree] if isinstance(tree, list) else tree


def _write(tree: object, indent: str) -> str:
    """JSON with `nil` and `<hex>`, broken where a line would grow past 110 columns."""
    if isinstance(tree, bytes):
        return f"<{tree.hex(' ')}>"
    if isinstance(tree, dict | list):
        inner = indent + " "
        if isinstance(tree, dict):
            parts = [f"{json.dumps(key)}: {_write(value, inner)}" for key, value in tree.items()]
        else:
            parts = [_write(value, inner) for value in tree]
        left, right = "{}" if isinstance(tree, dict) else "[]"
        line = left + ", ".join(parts) + right
        return line if len(line) <= 110 else left + f",\n{inner}".join(parts) + right
    return "nil" if tree is None else json.dumps(tree, ensure_ascii=False)
