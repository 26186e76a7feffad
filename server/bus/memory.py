"""The in-memory bus: handlers are called at once, in order of subscription. Nothing is queued: no bound is needed."""

from __future__ import annotations

from collections.abc import Callable

import structlog

_log = structlog.get_logger(__name__)


class MemoryBus:
    """A Bus within one process."""

    def __init__(self) -> None:
        # Topic -> subscription -> handler: one handler may be subscribed twice.
        self._handlers: dict[str, dict[object, Callable[[bytes], None]]] = {}

    def publish(self, topic: str, payload: bytes) -> None:
        """Call every handler. One that raises is logged; the others, and the publisher, never notice."""
        for handler in tuple(self._handlers.get(topic, {}).values()):
            try:
                handler(payload)
            except Exception:  # noqa: BLE001  # whatever a handler raises, it is its own
                _log.exception("bus handler failed", topic=topic)

    def subscribe(self, topic: str, handler: Callable[[bytes], None]) -> Callable[[], None]:
        """Have `handler` called; returns what ends it (calling that twice is harmless)."""
        subscription = object()
        handlers = self._handlers.setdefault(topic, {})
        handlers[subscription] = handler

        def unsubscribe() -> None:
            handlers.pop(subscription, None)

        return unsubscribe
