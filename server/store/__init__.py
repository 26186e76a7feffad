"""Stores: where journals become durable. One contract test suite runs against every adapter."""
