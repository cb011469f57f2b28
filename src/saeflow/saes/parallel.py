"""Independent parts on several threads, each computed by one thread alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch


class _Here(Executor):
    """Does what it is given at once, in the calling thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))  # an error goes straight to the caller
        return done


@contextmanager
def one_thread_each(device: torch.device) -> Iterator[Executor]:
    """Pool with as many threads as torch may use, in each of which torch uses one.

    SAEs are independent, so one thread per SAE needs none of the barriers with which torch
    splits every single operation. On two cores shared with other jobs a step of 24 SAEs
    (128 x 512) took 54 ms so and 173 ms with two threads inside each operation, because a
    barrier waits for whichever thread has lost its core. It also frees the bytes of a result
    from the number of threads.

    Parameters
    ----------
    device : torch.device
        Where the tensors are; other devices than the CPU need no second thread.

    Yields
    ------
    concurrent.futures.Executor
        Its `map` keeps the order of the parts. Where there is one thread, it is the calling one: to
        hand work over and wait for it costs more than a small part itself on a busy machine.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads started from here on take this over
    try:
        if threads == 1 or device.type != "cpu":
            yield _Here()
            return
        with ThreadPoolExecutor(threads) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)
