"""Dry runs as forks of a process that has loaded Snakemake: loading it takes longer than planning.

Each fork has loaded nothing but Snakemake, works in its own folder with its own environment and ends
with the command's exit code, as a process of its own would. Run as a script, this file is that process.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_server: subprocess.Popen[str] | None = None
_lock = threading.Lock()


def dry_run(
    folder: Path, arguments: Sequence[str], environment: Mapping[str, str], output: Path
) -> int:
    """Let ``snakemake ARGUMENTS`` plan in a folder; what it says goes to a file."""
    request = {"folder": str(folder), "arguments": list(arguments), "output": str(output)}
    with _lock:
        server = _started(environment)
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps({**request, "environment": dict(environment)}) + "\n")
        server.stdin.flush()
        answer = server.stdout.readline()
    assert answer, "the process that plans is gone"
    return int(answer)


def _started(environment: Mapping[str, str]) -> subprocess.Popen[str]:
    global _server
    if _server is None or _server.poll() is not None:
        _server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(environment),
        )
        atexit.register(_stop, _server)
    return _server


def _stop(server: subprocess.Popen[str]) -> None:
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.close()
    server.wait()
    server.stdout.close()


def _serve() -> None:
    import snakemake.cli

    # What the command line loads by itself before it reads a Snakefile.
    for registry in ("executor", "logger", "report", "scheduler", "storage"):
        __import__(f"snakemake_interface_{registry}_plugins.registry")
    snakemake.cli.get_argument_parser()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _plan(request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _plan(request: dict[str, object]) -> None:
    code = 1
    try:
        output = os.open(str(request["output"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(str(request["folder"]))
        os.environ.clear()
        os.environ.update(request["environment"])  # type: ignore[call-overload]
        sys.path[0] = str(request["folder"])
        sys.argv = ["snakemake", *request["arguments"]]  # type: ignore[misc]
        import snakemake.cli

        snakemake.cli.main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
