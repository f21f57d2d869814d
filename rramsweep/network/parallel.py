"""Threads of one process: independent work on the layers of a network in parallel."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

# Total number of weights below which starting threads costs more than it gains.
WORTH_IT = 200_000


def in_parallel(sizes: Mapping[str, int], do: Callable[[str], None]) -> None:
    """Call a function for each layer, on as many threads as torch uses, with one torch thread for each call.

    One thread starts with the largest layer, the others with the smallest, so that two large ones are rarely in memory
    at once and no large one is left to run alone at the end.

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
    """Pool of threads for concurrent work, each with its own number of torch threads."""
    before = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)  # a thread's setting becomes the default of threads that torch makes later
