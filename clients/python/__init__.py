"""The Python client: `connect` for asyncio, `Views` for frames that come from elsewhere."""

from clients.python.client import Client, connect
from clients.python.clock import ServerClock
from clients.python.errors import BacklogFull, ClientError, Ended, Refused, Unreachable
from clients.python.view import Entity, View, Views

__all__ = [
    "BacklogFull",
    "Client",
    "ClientError",
    "Ended",
    "Entity",
    "Refused",
    "ServerClock",
    "Unreachable",
    "View",
    "Views",
    "connect",
]
