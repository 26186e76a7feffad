"""The wire: schema, messages, codec, limits and errors, shared by server, clients and bench."""
