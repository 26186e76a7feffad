"""Keys that outlive the process: what they signed is still good after a restart."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from server.store.errors import StoreError

_KEY_BYTES = 32


def kept_key(directory: Path, name: str) -> str:
    """The key of this name in a data directory, made at first use, readable by its owner alone.

    Raises StoreError where the file can't be read or made, or holds no key.
    """
    path = directory / f"{name}.key"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = path.read_text(encoding="ascii").strip()
        else:
            key = secrets.token_hex(_KEY_BYTES)
            try:
                with os.fdopen(descriptor, "w", encoding="ascii") as file:
                    file.write(key)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                # Half a key on a full disk would be refused at every start, however much room there is by then.
                path.unlink(missing_ok=True)
                raise
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"the key {path} can't be kept: {error}") from error
    if len(key) < _KEY_BYTES:
        raise StoreError(f"{path} holds no key; remove it, and resume tokens given so far are void")
    return key
