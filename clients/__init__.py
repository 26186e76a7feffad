"""The client SDKs: `clients.python` for asyncio, `clients/js` for browsers and Node."""
