"""Set up .venv from the lock; does nothing when it is already as the lock says.

Standard library only: it runs on a machine that has nothing but Python with venv.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "envs" / "lock.txt"
OLDEST = (3, 11)


def main() -> int:
    """Create or update the environment and return the exit code."""
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:3]))
        print(
            f"error: Python {found} is too old; expected 3.11 or newer (make PYTHON=python3.12 ...).",
            file=sys.stderr,
        )
        return 1
    wanted = _fingerprint()
    marker = VENV / "saeflow-environment"
    if marker.is_file() and marker.read_text(encoding="utf-8") == wanted:
        return 0
    print(f"setting up {VENV.name} from {LOCK.relative_to(ROOT)}; this takes a few minutes")
    try:
        venv.EnvBuilder(with_pip=True, symlinks=os.name != "nt", clear=False).create(VENV)
    except (subprocess.CalledProcessError, SystemExit, ImportError):
        print(
            "error: this Python cannot make virtual environments; install its venv module "
            "(Debian and Ubuntu: apt-get install python3-venv).",
            file=sys.stderr,
        )
        return 1
    try:
        _install()
    except subprocess.CalledProcessError as error:
        print(f"error: pip stopped with code {error.returncode}; see above.", file=sys.stderr)
        return 1
    marker.write_text(wanted, encoding="utf-8")
    return 0


def _fingerprint() -> str:
    text = LOCK.read_bytes() + (ROOT / "pyproject.toml").read_bytes() + Path(__file__).read_bytes()
    # An environment remembers the folder it was made in; a moved one has to be made again.
    where = f"{sys.version} {_has_nvidia()} {ROOT}"
    return hashlib.sha256(text + where.encode()).hexdigest()


def _has_nvidia() -> bool:
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def _install() -> None:
    torch = next(
        line.strip()
        for line in LOCK.read_text(encoding="utf-8").splitlines()
        if line.startswith("torch==")
    )
    version = torch.removeprefix("torch==")
    if _has_nvidia():
        # === takes the plain build even where the index has a CPU build beside it.
        _pip("install", f"torch==={version}")
    elif _pip("install", "--no-deps", "--quiet", f"torch=={version}+cpu", check=False):
        print("the index has no CPU build of torch; installing the general one")
    _pip("install", "--requirement", str(LOCK))
    _pip("install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))


def _pip(*arguments: str, check: bool = True) -> int:
    python = VENV / ("Scripts" if os.name == "nt" else "bin") / "python"
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    quiet = None if check else subprocess.DEVNULL
    return subprocess.run(command, check=check, stderr=quiet).returncode


if __name__ == "__main__":
    raise SystemExit(main())
