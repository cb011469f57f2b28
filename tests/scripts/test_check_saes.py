"""The job that checks released SAEs: a bank where they fit, nothing where they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from saeflow.artifacts.catalog import TEXTS
from saeflow.artifacts.provenance import Provenance
from saeflow.artifacts.tables import write_table
from saeflow.config.models import PathModel
from saeflow.datasets.mixture import mixture_texts
from saeflow.interventions.released import check as checking
from saeflow.interventions.released.places import read_places
from saeflow.interventions.released.tokens import check_tokens
from saeflow.models.conventions import HookedLayer
from saeflow.models.loading import load_model
from saeflow.preflight import read_mixture
from saeflow.saes.encoding import open_bank
from tests.conftest import ROOT
from tests.planted_saes import changed, principal_sae, write_released
from tests.scripts.adapters import adapter
from tests.unit.test_released_check import texts_of


def test_the_job_writes_a_bank_or_nothing(tmp_path: Path) -> None:
    mixture = read_mixture(ROOT / "resources/mixture.yaml")
    drawn = mixture_texts(mixture.seed, mixture.parts, buggy=False)
    documents = [text.target for text in drawn if text.part == "documents"][:400]
    texts = texts_of(documents)
    write_table(texts, tmp_path / "texts.parquet", TEXTS, Provenance("c", dataset_revision="d"))
    llama = load_model(PathModel(weights="path", path=str(ROOT / "resources/models/llama")))
    place = HookedLayer("resid_post", 1)
    rows = check_tokens(llama, texts, tokens=4000, n_texts=60).with_begin(True)
    bank = principal_sae(read_places(llama, rows, [place])[place], *place, 32)
    good = write_released(bank, tmp_path / "good")
    bad = write_released(changed(bank, W_dec=-bank.W_dec), tmp_path / "bad")
    model = PathModel(weights="path", path="x").model_dump(mode="json", exclude={"path"})
    files = sorted(map(str, (ROOT / "resources/models/llama").iterdir()))

    def job(source: Path) -> None:
        adapter(
            "check_saes", tmp_path, wildcards={"dictionary": "jb"},
            input={"bank": str(source), "model": files, "texts": str(tmp_path / "texts.parquet")},
            output={"bank": str(tmp_path / "saes" / source.name)},
            params={"spec": {"model": {"model": model, "control": None, "threads": 1},
                             "must_pass": True}},
        )  # fmt: skip

    job(good)
    assert open_bank(tmp_path / "saes/good").sites == bank.sites
    with pytest.raises(SystemExit) as stopped:
        job(bad)
    assert stopped.value.code
    assert [path.name for path in (tmp_path / "saes").iterdir()] == ["good"]
    log = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "does not give what it should: explained_variance is -" in log
    assert checking.__name__ not in log, "no traceback"
