"""What the Snakefile calls when a run has ended; light, for it is loaded at every start."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from snakemake.logging import logger

AGAIN = "python -m saeflow manifest"


def after_run(workflow: Any, status: str) -> None:
    """Write the manifest of the run that has just ended, and never fail the run over it.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
        The workflow, whose Snakefile has set ``CFG`` and ``ROOT``.
    status : str
        How the run ended.
    """
    if workflow.touch:
        return
    try:
        from saeflow.manifest.write import Run, write_manifest

        begun = time.monotonic()
        known = workflow.globals
        run = Run(
            known["ROOT"], Path.cwd(), known["CFG"], list(workflow.rules), _about(workflow, status)
        )
        write_manifest(run)
        # After a failed run the table of failed jobs stays what stands before the prompt.
        tell = logger.info if status == "finished" else logger.debug
        tell(f"Wrote results/run in {time.monotonic() - begun:.1f} s: what this run was.")
    except (Exception, KeyboardInterrupt) as error:
        # Whatever it is, the results are made; who is in a hurry may have it later.
        told = " ".join(str(error).split()) or type(error).__name__
        logger.warning(f"warning: results/run was not written ({told}); try {AGAIN}")


def _about(workflow: Any, status: str) -> dict[str, str]:
    # Of the process, for Snakemake before 9.26 does not say when it began.
    began = psutil.Process().create_time()
    return {
        "status": status,
        "started": datetime.fromtimestamp(began).astimezone().isoformat(timespec="seconds"),
        "seconds": f"{time.time() - began:.0f}",
        "cores": str(workflow.resource_settings.cores or ""),
        "executor": "local" if workflow.local_exec else "cluster",
        "targets": " ".join(sorted(map(str, workflow.dag_settings.targets))),
    }
