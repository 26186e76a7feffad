"""What can go wrong for a client, drawn as one tree. Faults of the wire itself are `protocol.errors`.

ClientError
├── Unreachable     no connection, or none any more within the time allowed
├── Ended           the session is over; carries the close code
│   └── Refused     it never began
└── BacklogFull     too many inputs wait for their ACK
"""

from __future__ import annotations


class ClientError(Exception):
    """Root of what the client raises."""


class Unreachable(ClientError):
    """No connection to the server."""


class Ended(ClientError):
    """The session is over. `code` is a CloseCode, or what the connection was closed with."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class Refused(Ended):
    """The server answered HELLO with BYE."""


class BacklogFull(ClientError):
    """More inputs wait for their ACK, or RECEIPT, than `inputs_max`."""
