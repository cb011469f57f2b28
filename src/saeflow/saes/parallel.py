"""Independent parts on several threads, each computed by one thread alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def one_thread_each(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """Pool with as many threads as torch may use, in each of which torch uses one.

    SAEs are independent, so one thread per SAE needs none of the barriers with which torch
    splits every single operation. On two cores shared with other jobs a step of 24 SAEs
    (128 x 512) took 54 ms so and 173 ms with two threads inside each operation, because a
    barrier waits for whichever thread has lost its core. It also frees the bytes of a result
    from the number of threads.

    Parameters
    ----------
    device : torch.device
        Where the tensors are; other devices than the CPU get a pool of one thread.

    Yields
    ------
    concurrent.futures.ThreadPoolExecutor
        Its `map` keeps the order of the parts.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads started from here on take this over
    try:
        with ThreadPoolExecutor(threads if device.type == "cpu" else 1) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)
