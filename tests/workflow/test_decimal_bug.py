"""The study of the decimal bug: what is run, what is run again, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from saeflow.artifacts.claims import CLAIMS
from saeflow.artifacts.decimal_bug import DECIMAL_BUG, OVERLAP, PATCHES
from saeflow.artifacts.tables import read_table
from saeflow.config.root import parse_config
from saeflow.errors import SaeflowError
from saeflow.preflight import check_paths
from tests.configs import default_values, merged
from tests.conftest import ROOT
from tests.workflow.running import SMOKE, planned

pytestmark = pytest.mark.workflow


def study(**blocks: Any) -> dict[str, Any]:
    return {"studies": {"decimal_bug": blocks}}


def replanned(project: Path, folder: Path, overlay: dict[str, Any]) -> dict[str, int]:
    """Jobs that run again with other settings."""
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(overlay), encoding="utf-8")
    return planned(project, *SMOKE, str(path))


def test_a_model_without_the_bug_is_asked_and_compared_and_not_patched(finished: Path) -> None:
    folder = finished / "results/decimal_bug/llama"
    assert len(read_table(folder / "overlap.parquet", OVERLAP))
    # Fresh weights have no bug, so that nothing is patched.
    assert not len(read_table(folder / "patches.parquet", PATCHES))
    rows = read_table(folder / "summary.parquet", DECIMAL_BUG).to_pylist()
    parts = {row["part"] for row in rows}
    assert {"behaviour", "checks", "overlap"} <= parts
    assert "patching" not in parts
    assert all(read_table(folder / "claims.parquet", CLAIMS)["verdict"].to_pylist())


@pytest.mark.parametrize(
    ("changed", "jobs"),
    [
        ({"patching": {"pairs": 5}}, ["patch_decimals"]),
        ({"overlap": {"permutations": 199}}, ["compare_formats", "gather_decimals"]),
        ({"attribution": {"features": 3}}, ["compare_formats", "gather_decimals"]),
        (
            {"behaviour": {"samples": 2}},
            ["ask_decimals", "patch_decimals", "compare_formats", "gather_decimals"],
        ),
    ],
)
def test_only_what_reads_a_setting_is_run_again(
    finished: Path, tmp_path: Path, changed: dict[str, Any], jobs: list[str]
) -> None:
    found = replanned(finished, tmp_path, study(calibrated=changed))
    assert found == dict.fromkeys([*jobs, "summarise_decimals", "write_report"], 1)


def test_without_the_study_only_the_report_is_written_again(finished: Path, tmp_path: Path) -> None:
    found = replanned(finished, tmp_path, {"studies": {"decimal_bug": None}})
    assert found == {"write_report": 1}


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ({"lama": {"dictionaries": ["llama_mlp"]}}, "names no model of the models block"),
        ({"llama": {"dictionaries": ["mpl"]}}, "which is no dictionary"),
        ({"llama": {"dictionaries": ["llama_k100"]}}, "whose SAEs read latent thoughts"),
        ({"llama": {"dictionaries": ["resid"]}}, "expected one with hook: mlp_out"),
    ],
)
def test_what_the_study_cannot_read_is_told(models: dict[str, Any], told: str) -> None:
    values = default_values()
    values["dictionaries"]["resid"] = values["dictionaries"]["llama_mlp"] | {"hook": "resid_post"}
    config = merged(values, study(published={"models": models}))
    with pytest.raises(SaeflowError, match=told):
        check_paths(parse_config(config), ROOT)
