"""The Python client: `connect` for asyncio, `Views` for frames that come from elsewhere."""

from clients.python.view import Entity, View, Views

__all__ = ["Entity", "View", "Views"]
