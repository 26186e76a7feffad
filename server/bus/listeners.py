"""Who listens to what: the half of a bus that its adapters share."""

from __future__ import annotations

from collections.abc import Callable

import structlog

_log = structlog.get_logger(__name__)

Handler = Callable[[bytes], None]


class Listeners:
    """Handlers by topic, called in order of subscription."""

    def __init__(self) -> None:
        # Topic -> subscription -> handler: one handler may be subscribed twice.
        self._handlers: dict[str, dict[object, Handler]] = {}

    @property
    def topics(self) -> frozenset[str]:
        """Those that somebody listens to."""
        return frozenset(self._handlers)

    def hears(self, topic: str) -> bool:
        """Whether somebody listens to it."""
        return topic in self._handlers

    def add(self, topic: str, handler: Handler) -> Callable[[], None]:
        """Have `handler` called; returns what ends it (calling that twice is harmless)."""
        subscription = object()
        self._handlers.setdefault(topic, {})[subscription] = handler

        def end() -> None:
            handlers = self._handlers.get(topic, {})
            handlers.pop(subscription, None)
            if not handlers:
                self._handlers.pop(topic, None)

        return end

    def tell(self, topic: str, payload: bytes) -> None:
        """Call every handler. One that raises is logged; the others, and the publisher, never notice."""
        for handler in tuple(self._handlers.get(topic, {}).values()):
            try:
                handler(payload)
            except Exception:  # noqa: BLE001  # whatever a handler raises, it is its own
                _log.exception("bus handler failed", topic=topic)
