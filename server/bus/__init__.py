"""Buses: how shards and gateways reach each other. One contract test suite runs against every adapter."""
