"""Threads of one process: the layers of a network in parallel, since what is done to one touches no other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

# Below so many weights in all, starting threads costs more than it brings.
WORTH_IT = 200_000


def in_parallel(sizes: Mapping[str, int], do: Callable[[str], None]) -> None:
    """Do something to each layer, on as many threads as torch uses, each operation on one.

    One thread begins at the largest layer, the others at the smallest, so that two large ones are rarely in memory
    at once and none is left for the end alone.

    Args:
        sizes: `{layer: weights}`.
        do: called once for each layer, in any order and thread.
    """
    threads = min(torch.get_num_threads(), len(sizes))
    if threads == 1 or sum(sizes.values()) < WORTH_IT:
        for name in sizes:
            do(name)
        return
    queue = deque(sorted(sizes, key=sizes.__getitem__))

    def work(take: Callable[[], str]) -> None:
        while True:
            try:
                name = take()
            except IndexError:
                return
            do(name)

    with workers(threads, 1) as pool:
        list(pool.map(work, [queue.pop, *[queue.popleft] * (threads - 1)]))


@contextmanager
def workers(count: int, threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads of this process for work at the same time, each with so many torch threads of its own."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)  # what a thread sets is the default of the threads that torch makes later
