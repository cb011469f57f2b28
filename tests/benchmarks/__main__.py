"""Run every benchmark and print one line for each: `make bench`.

A benchmark is a script beside this one. It prints one JSON object as its last line, with `name`,
`ratio`, `peer` and `peak_mib`, and exits with 3 where its peer is not installed. Ratios are taken
within one run; nothing here asserts a time. With --quick each runs at about a tenth of its size.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

QUICK = {
    "ablation": ["--features", "8", "--memory", "64", "128"],
    "sae_bank": ["--epochs", "3", "--repeats", "1"],
    "association": ["--layers", "4", "--sample", "8", "--repeats", "3", "--permutations", "10"],
    "patching": ["--patches", "12", "--memory", "96", "192"],
    "wide_sae": ["--steps", "3", "--batch", "512"],
    "capture": ["--repeats", "1", "--problems", "250", "1000"],
    "extraction": ["--rounds", "5"],
    "snakemake_time": ["--repeats", "1"],
}


def main() -> int:
    """Run all and return 1 if one failed."""
    folder = Path(__file__).parent
    quick = "--quick" in sys.argv[1:]
    failed = 0
    rows = []
    for script in sorted(folder.glob("[a-z]*.py")):
        name = script.stem
        arguments = QUICK.get(name, []) if quick else []
        print(f"== {name}", flush=True)
        done = subprocess.run(
            [sys.executable, str(script), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        print(done.stdout, flush=True)
        if done.returncode not in (0, 3):
            failed = 1
            continue
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    for row in rows:
        print(
            f"{row['name']:14} {row['ratio']!s:>8} times as fast as {row['peer']}, {row['peak_mib']} MiB"
        )
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
