"""What the tests of stores share."""

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.mongo_proxy import MongoProxy
from tests.support.mongo_database import Database

# The contract's assertions explain themselves as a test module's do.
pytest.register_assert_rewrite("tests.store.contract")


@pytest.fixture(scope="session")
def failing_disk_object(tmp_path_factory) -> Path:
    """The shared object of failing_disk.c."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("failing disks are made with LD_PRELOAD and a C compiler")
    made = tmp_path_factory.mktemp("shim") / "failing_disk.so"
    source = Path(__file__).with_name("failing_disk.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True)
    return made


@dataclass(frozen=True)
class FailingDisk:
    """A process started in this environment has a disk that fails when it is told."""

    made: Path
    flag: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.made), "FAILING_DISK": str(self.flag)}

    def fail(self, fault: str) -> None:
        """See failing_disk.c. At once: no process sees half of the words."""
        beside = self.flag.with_suffix(".new")
        beside.write_text(fault)
        beside.rename(self.flag)

    def heal(self) -> None:
        self.flag.unlink(missing_ok=True)


@pytest.fixture
def failing_disk(failing_disk_object, tmp_path) -> FailingDisk:
    """A disk that can be made to fail."""
    return FailingDisk(failing_disk_object, tmp_path / "fault")


@pytest.fixture
async def mongo(mongo_server, mongo_database) -> AsyncIterator[Database]:
    """A database on that server, laid out."""
    async with Database(mongo_server, mongo_database) as made:
        yield made


@pytest.fixture
async def proxy(mongo_server) -> AsyncIterator[MongoProxy]:
    """A way to that server that can be made a bad one."""
    async with MongoProxy(mongo_server.port) as made:
        yield made
