"""``saeflow manifest``: what a run was, told again from what it left, or held against it."""

from __future__ import annotations

import argparse
from pathlib import Path

from saeflow.errors import SaeflowError

DESCRIPTION = """\
Write what a run was into results/run and into the page "This run" of its report: configuration,
versions, revisions, seeds, the machine, a digest of every file, time and memory of every job.
Snakemake writes the same when a run ends; this is for one that was stopped, or for files that came or
went since. The machine is the one that the command runs on. With --check nothing is written: files are
read again and held against the digests that are there."""
EXAMPLE = """\
example:
  saeflow manifest
  saeflow manifest runs/first --configfile workflow/presets/gsm8k.yaml
  saeflow manifest runs/first --check"""
SHOWN = 20
"""Lines about changed files, at most."""


def add_manifest(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    """Add the command to those of the command line; `manifest_output` runs it."""
    parser = commands.add_parser(
        "manifest",
        help="write what a run was into results/run, or check its files against it",
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(), help="where it ran (default: this folder)"
    )
    parser.add_argument(
        "--configfile", type=Path, nargs="+", action="extend", default=[], metavar="FILE",
        help="presets and overlays of the run, the last one wins",
    )  # fmt: skip
    parser.add_argument("--check", action="store_true", help="compare files with their digests")
    return parser


def manifest_output(options: argparse.Namespace, root: Path) -> tuple[str, int]:
    """Write or check a manifest.

    Parameters
    ----------
    options : argparse.Namespace
        What was given to the command.
    root : Path
        The repository.

    Returns
    -------
    tuple of str and int
        What to print, and the exit code: 1 where a file is not what it was.

    Raises
    ------
    SaeflowError
        If there are no results, the configuration is refused, or there is no manifest to check.
    """
    from saeflow.artifacts.run import RUN_FOLDER

    folder: Path = options.folder
    if not (folder / "results").is_dir():
        raise SaeflowError(f"{folder / 'results'} does not exist; expected the folder of a run.")
    if options.check:
        return _checked(folder)

    from saeflow.manifest.write import Run, write_manifest
    from saeflow.plan.jobs import read_workflow

    config, rules = read_workflow(
        root, [], options.configfile, folder, lambda found: (found.globals["CFG"], [*found.rules])
    )
    told = {"status": "described after its end, by saeflow manifest"}
    tables = write_manifest(Run(root, folder.resolve(), config, rules, told))
    files, jobs = len(tables["artifacts"]), len(tables["jobs"])
    return f"{folder / RUN_FOLDER}: {files} files, {jobs} measured jobs", 0


def _checked(folder: Path) -> tuple[str, int]:
    from saeflow.manifest.check import changed_files

    count, changed = changed_files(folder)
    if not changed:
        return f"{folder}: {count} files are what they were", 0
    lines = [f"{path}: {what}" for path, what in changed[:SHOWN]]
    lines += [f"and {len(changed) - SHOWN} more"] * (len(changed) > SHOWN)
    return "\n".join(
        [*lines, f"{folder}: {len(changed)} of {count} files are not what they were"]
    ), 1
