"""Work by seed, over processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def spread(work: Callable[[int], T], seeds: Iterable[int], jobs: int, chunk: int = 1) -> Iterator[T]:
    """What `work` makes of each seed, in order."""
    if jobs == 1:
        yield from map(work, seeds)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap(work, seeds, chunksize=chunk)
