"""Planted faults: clusters that break a promise, so that it is seen whether `bench chaos` finds it.

    python -m bench.chaos_faults early gateway ...      as `everstep gateway ...`, with this fault

A bench that finds nothing proves nothing. Nothing else may use this.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Any, Final

from bench.crash_faults import forget
from protocol.codec import encode_receipt
from server import cli
from server.gateway.fanout import websocket_frame
from server.gateway.router import Router
from server.gateway.session import Session


class Plant(StrEnum):
    """Each is found as something else."""

    # Gateways confirm an order as soon as they have passed it on, and keep it no longer: orders are lost.
    EARLY = "early"
    # The state forgets which numbers were applied: orders are doubled.
    FORGET = "forget"


def early() -> None:
    """A receipt for what nobody has made durable."""
    honest = Router.say

    def say(
        router: Router, session: Session, command: int, seq: int, values: tuple[Any, ...], *, reliable: bool
    ) -> None:
        honest(router, session, command, seq, values, reliable=reliable)
        if reliable and session.socket is not None:
            session.due.pop(seq, None)
            session.socket.write(websocket_frame(encode_receipt(seq)))

    Router.say = say  # type: ignore[assignment,method-assign]  # that is the fault


# In whichever process has what is broken.
FAULTS: Final = {Plant.EARLY: early, Plant.FORGET: forget}


if __name__ == "__main__":
    FAULTS[Plant(sys.argv.pop(1))]()
    cli.main()
