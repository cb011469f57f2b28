"""The study of the decimal bug: what is planned, what is run, what is run again, what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from saeflow.artifacts.catalog import TEXT_TOKENS, TEXTS
from saeflow.artifacts.decimal_bug import (
    CLAIMS,
    DECIMAL_ARTIFACTS,
    DECIMAL_BUG,
    OVERLAP,
    PATCHES,
)
from saeflow.artifacts.tables import read_schema, read_table
from saeflow.config.root import parse_config
from saeflow.errors import SaeflowError
from saeflow.preflight import check_paths
from tests.configs import default_values, merged
from tests.conftest import ROOT
from tests.workflow.running import SMOKE, copy_project, planned, run

pytestmark = pytest.mark.workflow

OVERLAY: dict[str, Any] = {
    "datasets": {"texts": {"source": "mixture", "n_train": 30, "n_validation": 12}},
    "dictionaries": {
        "mlp": {
            "dataset": "texts",
            "hook": "mlp_out",
            "d_sae": 16,
            "k": 4,
            "training": {"epochs": 1},
        }
    },
    "studies": {
        "decimal_bug": {
            "published": {"models": {"llama": {"dictionaries": ["mlp"]}}, "top": 6},
            "calibrated": {
                "pairs": {"drawn": 400, "per_stratum": 4},
                "behaviour": {"max_new_tokens": 4, "samples": 1},
                "overlap": {"permutations": 99},
            },
        }
    },
}
EVERYTHING = {
    "draw_texts": 1,
    "load_texts": 1,
    "capture_tokens": 1,
    "train_bank": 1,
    "ask_decimals": 1,
    "patch_decimals": 1,
    "compare_formats": 1,
    "summarise_decimals": 1,
    "gather_decimals": 1,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("decimals") / "project")


def arguments(project: Path, **calibrated: Any) -> list[str]:
    overlay = copy.deepcopy(OVERLAY)
    overlay["studies"]["decimal_bug"]["calibrated"] |= calibrated
    (project / "overlay.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    return [*SMOKE, "overlay.yaml", "--", "decimal_bug"]


def test_the_study_is_run_and_rebuilt_for_what_it_reads(project: Path) -> None:
    assert planned(project, *arguments(project)) == EVERYTHING
    run(project, *arguments(project))
    kinds = {read_schema(path)[0] for path in (project / "results").rglob("*.parquet")}
    assert {each.name for each in (TEXTS, TEXT_TOKENS, *DECIMAL_ARTIFACTS)} <= kinds
    folder = project / "results/decimal_bug/llama"
    assert len(read_table(folder / "overlap.parquet", OVERLAP))
    # Fresh weights have no bug, so that nothing is patched.
    assert not len(read_table(folder / "patches.parquet", PATCHES))
    rows = read_table(folder / "summary.parquet", DECIMAL_BUG).to_pylist()
    parts = {row["part"] for row in rows}
    assert {"behaviour", "checks", "overlap"} <= parts
    assert all(read_table(folder / "claims.parquet", CLAIMS)["verdict"].to_pylist())
    assert planned(project, *arguments(project)) == {}
    patching = planned(project, *arguments(project, patching={"pairs": 5}))
    assert patching == {"patch_decimals": 1, "summarise_decimals": 1}
    overlap = planned(project, *arguments(project, overlap={"permutations": 199}))
    read = ("compare_formats", "gather_decimals", "summarise_decimals")
    assert overlap == dict.fromkeys(read, 1)


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ({"lama": {"dictionaries": ["mlp"]}}, "names no model of the models block"),
        ({"llama": {"dictionaries": ["mpl"]}}, "which is no dictionary"),
        ({"llama": {"dictionaries": ["llama_k100"]}}, "whose SAEs read latent thoughts"),
        ({"llama": {"dictionaries": ["resid"]}}, "expected one with hook: mlp_out"),
    ],
)
def test_what_the_study_cannot_read_is_told(models: dict[str, Any], told: str) -> None:
    overlay = copy.deepcopy(OVERLAY)
    overlay["studies"]["decimal_bug"]["published"]["models"] = models
    overlay["dictionaries"]["resid"] = {**overlay["dictionaries"]["mlp"], "hook": "resid_post"}
    config = merged(default_values(), overlay)
    with pytest.raises(SaeflowError, match=told):
        check_paths(parse_config(config), ROOT)
