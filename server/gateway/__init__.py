"""The gateway: sockets, sessions, replicas and the stream. See docs/packet.md."""
