"""What plain HTTP requests get: the demo page and the SDK as files, `/schema.json`, `/metrics`, `/healthz`, `/readyz`.

Sans-I/O: a path in, a reply out. The gateway's port serves it, so that one address is all a visitor needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import orjson

from server.observe.health import Health
from server.observe.metrics import CONTENT_TYPE, Metrics

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".ts": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}

# The page runs only its own scripts and talks only to its own host.
_SECURITY: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data: blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'self'",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: Mapping[str, str]


class Files:
    """Directories as the web sees them. `roots`: URL prefix -> directory, longest prefix first."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self.roots = {prefix: path.resolve() for prefix, path in roots.items()}

    def get(self, path: str) -> Reply:
        """The file at a decoded path."""
        for prefix, root in self.roots.items():
            if not path.startswith(prefix):
                continue
            inside = path.removeprefix(prefix) or "index.html"
            if "\0" in inside:
                break
            try:
                file = (root / inside).resolve()
                # Outside the root by `..` or a link: it does not exist for the web.
                if not file.is_relative_to(root) or file.suffix not in _TYPES or not file.is_file():
                    break
                body = file.read_bytes()
            except (OSError, RuntimeError):
                # A name too long, a circle of links, a file that may not be read.
                break
            return Reply(HTTPStatus.OK, _TYPES[file.suffix], body, {**_SECURITY, "Cache-Control": "no-cache"})
        return Reply(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"Nothing is here.\n", {})


class Http:
    """Routes a GET. `documents`: path -> ready JSON."""

    def __init__(
        self,
        metrics: Metrics,
        health: Health,
        files: Files,
        documents: Mapping[str, bytes] | None = None,
    ) -> None:
        self._metrics = metrics
        self._health = health
        self._documents = dict(documents or {})
        self.files = files

    def get(self, target: str) -> Reply:
        """Answer a request target such as `/metrics` or `/?name=Ada`."""
        path = unquote(target.partition("?")[0].partition("#")[0])
        match path:
            case "/metrics":
                return Reply(HTTPStatus.OK, CONTENT_TYPE, self._metrics.render(), {})
            case "/healthz" | "/readyz":
                verdict = self._health.judge()
                good = verdict.alive if path == "/healthz" else verdict.ready
                status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
                body = orjson.dumps(
                    {
                        "alive": verdict.alive,
                        "ready": verdict.ready,
                        "reasons": verdict.reasons,
                        "asleep": verdict.asleep,
                    }
                )
                return Reply(status, "application/json", body + b"\n", {"Cache-Control": "no-store"})
        if path in self._documents:
            headers = {**_SECURITY, "Cache-Control": "no-cache"}
            return Reply(HTTPStatus.OK, "application/json", self._documents[path], headers)
        return self.files.get(path)
