"""The fingerprint is the same every time, and sees a CPU that computes differently."""

import subprocess
import sys

import numpy as np
import pytest

from server.sim import dmath, fingerprint


@pytest.fixture(autouse=True)
def fresh():
    fingerprint.fingerprint.cache_clear()
    yield
    fingerprint.fingerprint.cache_clear()


def test_another_process_has_the_same(root):
    program = "from server.sim.fingerprint import fingerprint; print(dict(fingerprint()))"
    environment = {"PYTHONHASHSEED": "7", "NPY_DISABLE_CPU_FEATURES": ""}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(dict(fingerprint.fingerprint())), done.stderr


def test_it_names_what_differs(monkeypatch):
    before = fingerprint.fingerprint()
    fingerprint.fingerprint.cache_clear()
    # As a library would that rounds its sines another way.
    right = dmath.sin
    monkeypatch.setattr(dmath, "sin", lambda x: np.nextafter(right(x), np.float32(2)))
    after = fingerprint.fingerprint()
    assert {name for name in before if before[name] != after[name]} == {"arithmetic"}


def test_it_has_no_warnings_and_no_nan_of_unknown_sign():
    with np.errstate(all="raise", under="ignore"):
        assert set(fingerprint.fingerprint()) == {"random numbers", "numpy", "byte order", "arithmetic"}
