"""HTTP beside the WebSocket: the page, metrics, health."""
