"""Work by seed, over processes."""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

# New objects after which the collector looks at them: a cluster is a web of thousands, few of which end before it does.
_COLLECT_AFTER = 50_000
# Seeds that are handed to the processes at once, per process: so many seeds need no more memory than few.
_AHEAD = 500


def spread(work: Callable[[int], T], seeds: Iterable[int], jobs: int, chunk: int = 1) -> Iterator[T]:
    """What `work` makes of each seed, in order. Raises BrokenProcessPool where a process dies of one."""
    # What is imported by now stays: nobody need look at it again and again, nor copy it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
    if jobs == 1:
        yield from map(work, seeds)
        return
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        rest = iter(seeds)
        try:
            while some := list(islice(rest, jobs * _AHEAD)):
                yield from pool.map(work, some, chunksize=chunk)
        finally:
            pool.shutdown(cancel_futures=True)
