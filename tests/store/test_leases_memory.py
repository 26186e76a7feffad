"""Leases in memory."""

import pytest

from server.store.leases_memory import MemoryLeases
from tests.store.leases_contract import LeasesContract


class Memory:
    """A medium on a clock of its own."""

    def __init__(self):
        self.now_s = 100.0
        self.leases = MemoryLeases(3.0, lambda: self.now_s)

    async def expire(self):
        self.now_s += 3.0

    async def forget(self):
        self.leases.forget()


class TestMemoryLeases(LeasesContract):
    @pytest.fixture
    def medium(self):
        return Memory()
