"""``saeflow plan``: jobs, memory, disk and time of a configuration, before anything runs."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

DESCRIPTION = """\
Print what a run will take: jobs, GPU jobs, memory, disk and time. Nothing is run, loaded, fetched or
written. Give what you would give to snakemake: targets, --configfile, -d and --set-scatter."""
EXAMPLE = """\
example:
  saeflow plan --configfile workflow/presets/codi.yaml
  saeflow plan report -d runs/first --cores 16 --gpus 1"""


def add_plan(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    """Add the command to those of the command line; `plan_output` runs it."""
    parser = commands.add_parser(
        "plan",
        help="print jobs, memory, disk and time of a configuration; run nothing",
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="rules or files; or all")
    parser.add_argument(
        "--configfile", type=Path, nargs="+", action="extend", default=[], metavar="FILE",
        help="presets and overlays, the last one wins",
    )  # fmt: skip
    parser.add_argument(
        "-d", "--directory", type=Path, default=Path(), help="folder of the run (default: this one)"
    )
    parser.add_argument(
        "--cores", type=_at_least(1), default=os.cpu_count() or 1,
        help="cores that the time is told for (default: those of this machine)",
    )  # fmt: skip
    parser.add_argument(
        "--gpus", type=_at_least(0), default=None,
        help="GPUs that the time is told for (default: 1 where the configuration needs one; "
        "else jobs do not wait for one)",
    )  # fmt: skip
    parser.add_argument(
        "--set-scatter", type=_shards, nargs="+", action="extend", default=[], metavar="KIND=COUNT",
        help="jobs that share a kind of work: capture, training, ablation (docs/sharding.md)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    return parser


def plan_output(options: argparse.Namespace, root: Path) -> str:
    """Plan, and tell it: lines for people, or one JSON object.

    Parameters
    ----------
    options : argparse.Namespace
        What was given to the command.
    root : Path
        The repository.

    Raises
    ------
    SaeflowError
        If the configuration or a target is refused.
    """
    # Snakemake takes a second to load.
    from saeflow.plan.summary import plan, plan_text

    found = plan(
        root,
        options.targets,
        options.configfile,
        options.directory,
        cores=options.cores,
        gpus=options.gpus,
        scatter=dict(options.set_scatter),
    )
    if options.json:
        return json.dumps(found, indent=2, ensure_ascii=False)
    return plan_text(found)


def _shards(text: str) -> tuple[str, int]:
    kind, _, count = text.partition("=")
    if not count.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not KIND=COUNT, such as capture=8")
    return kind, int(count)


def _at_least(least: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return int(text)

    return count
