"""Planted faults: clusters that break a promise, so that it is seen whether `bench chaos` finds it.

    python -m bench.chaos_faults early gateway ...      as `everstep gateway ...`, with this fault

A bench that finds nothing proves nothing. Nothing else may use this.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from bench.crash_faults import forget
from bench.plants import ClusterPlant
from protocol.codec import encode_receipt
from server import cli
from server.gateway.fanout import websocket_frame
from server.gateway.router import Router
from server.gateway.session import Session


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
FAULTS: Final = {ClusterPlant.EARLY: early, ClusterPlant.FORGET: forget}


if __name__ == "__main__":
    FAULTS[ClusterPlant(sys.argv.pop(1))]()
    cli.main()
