"""A workflow script with a stand-in for Snakemake's object."""

from __future__ import annotations

import runpy
from collections.abc import ItemsView
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"


class Names(SimpleNamespace):
    """What Snakemake gives for input, output and wildcards."""

    def items(self) -> ItemsView[str, Any]:
        return vars(self).items()


def adapter(name: str, tmp_path: Path, **parts: Any) -> None:
    """Run a script; parts are the attributes of Snakemake's object, dicts becoming namespaces."""
    names = {
        key: Names(**value) if isinstance(value, dict) and key != "config" else value
        for key, value in parts.items()
        if key != "params"
    }
    snakemake = SimpleNamespace(
        log=[str(tmp_path / "log.txt")], params=SimpleNamespace(**parts.get("params", {})), **names
    )
    runpy.run_path(
        str(SCRIPTS / f"{name}.py"), init_globals={"snakemake": snakemake}, run_name="__main__"
    )
