"""A job of `test_gpu_slots`: takes GPUs, keeps them for a while, and writes when into a shared file.

Arguments: file of events, number of the job, GPUs wanted, seconds to keep them, and how it ends:
``done``, ``killed``, or ``orphan`` (killed, while a child that it forked lives on).
"""

import os
import signal
import sys
import time

from saeflow.gpu_slots import take_gpus

path, number, wanted, seconds, end = sys.argv[1:]
events = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def note(what: str, *names: str) -> None:
    line = f"{time.monotonic()} {number} {what} {','.join(names)}\n"
    os.write(events, line.encode())


note("waits")
gpus = take_gpus(int(wanted))
note("begins", *(gpu.uuid for gpu in gpus))
if end == "orphan" and not os.fork():
    # It has all that its parent had open; the test ends it.
    time.sleep(600)
    os._exit(0)
time.sleep(float(seconds))
note("sees", os.environ.get("CUDA_VISIBLE_DEVICES", "-"))
note("ends")
if end != "done":
    os.kill(os.getpid(), signal.SIGKILL)
# As a job that computes: its GPU is free when it is gone, not before.
os._exit(0)
