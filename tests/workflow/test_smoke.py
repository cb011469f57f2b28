"""The smallest DAG that still has every rule, from nothing to its report."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from saeflow.artifacts.catalog import ARTIFACTS
from saeflow.artifacts.tables import known_artifact, read_schema, read_table
from saeflow.artifacts.vectors import read_vectors
from tests.workflow.running import (
    ROOT,
    SMOKE,
    artifact_digests,
    copy_project,
    planned,
    run,
    snakemake,
)

pytestmark = pytest.mark.workflow


MAY_BE_EMPTY = {
    *("discoveries", "specialists", "coactivation", "modules", "swap_pairs"),
    *("decimal_patches", "decimal_attribution", "specialist_alignment", "scaling_search_targets"),
}
"""Tables of what is found, which may be nothing; a model without the decimal bug is not patched, one
alone has none to be compared with, and no feature is a target of the search."""


def test_every_table_fits_its_schema(finished: Path) -> None:
    kinds = set()
    for path in (finished / "results").rglob("*.parquet"):
        kind, _ = read_schema(path)
        kinds.add(kind)
        if kind == "vectors":
            assert len(read_vectors(path).values)
        else:
            artifact = known_artifact(kind)
            assert artifact is not None, path
            # Models of a few random weights need not follow any token.
            assert len(read_table(path, artifact)) or kind in MAY_BE_EMPTY, path
    # Curves come with a trained model (test_reference_models), the others with models and SAEs of
    # the hub (test_hub_models, test_released).
    assert kinds == {*ARTIFACTS, "vectors"} - {"training", "model_files", "released", "checks"}


def test_paths_are_those_of_the_design(finished: Path) -> None:
    for path in (
        "datasets/generated/problems.parquet",
        "datasets/generated/cot_tokens.parquet",
        "capture/llama/generated/resid_post/layer1/chunk0.parquet",
        "capture/gpt2/generated/embed/layer0/chunk0.parquet",
        "capture/gpt2/generated/answers.parquet",
        "saes/llama/llama_k100/seed0/layer1_step5/sae_weights.safetensors",
        "saes/llama/llama_k100/seed0/quality.parquet",
        "features/gpt2/generated/gpt2_k150/seed0/layer0.parquet",
        "gsm8k/llama/parts/generated/llama_k100/seed0/tested.parquet",
        "gsm8k/gpt2/association.parquet",
        "gsm8k/gpt2/examples.parquet",
        "gsm8k/gpt2/labels.parquet",
        "gsm8k/gpt2/summary.parquet",
        "gsm8k/gpt2/discoveries.parquet",
        "gsm8k/llama/parts/generated/llama_k100/seed0/calibrated.parquet",
        "gsm8k/llama/parts/generated/llama_k100/seed0/nulls/from12.parquet",
        "gsm8k/llama/parts/generated/llama_pca/seed0/discoveries.parquet",
        "gsm8k/llama/matches.parquet",
        "gsm8k/llama/stability.parquet",
        "gsm8k/gpt2/capacity.parquet",
        "hierarchy/llama/parts/generated/llama_k100/seed0/published.parquet",
        "hierarchy/llama/parts/generated/llama_k100/sweep.parquet",
        "hierarchy/llama/parts/generated/llama_pca/seed0/calibrated.parquet",
        "hierarchy/llama/ranks.parquet",
        "hierarchy/gpt2/summary.parquet",
        "hierarchy/gpt2/levels.parquet",
        "hierarchy/gpt2/effects.parquet",
        "hierarchy/gpt2/trials.parquet",
        "datasets/read_texts/texts.parquet",
        "capture/llama/read_texts/mlp_out/layer1/chunk0.parquet",
        "saes/llama/llama_mlp/seed0/quality.parquet",
        "decimal_bug/llama/parts/llama_mlp/seed0/numbers.parquet",
        "decimal_bug/llama/prompts.parquet",
        "decimal_bug/llama/answers.parquet",
        "decimal_bug/llama/patches.parquet",
        "decimal_bug/llama/overlap.parquet",
        "decimal_bug/llama/summary.parquet",
        "decimal_bug/llama/claims.parquet",
        "specialists/texts.parquet",
        "specialists/llama/parts/llama_resid/seed0/pooled.parquet",
        "specialists/llama/tasks.parquet",
        "specialists/llama/features.parquet",
        "specialists/llama/effects.parquet",
        "specialists/llama/summary.parquet",
        "specialists/llama/claims.parquet",
        "datasets/documents/texts.parquet",
        "saes/llama/llama_wide/seed0/layer0/sae_weights.safetensors",
        "saes/llama/llama_wide/seed0/training.parquet",
        "saes/llama/llama_wide_frozen_decoder/seed0/quality.parquet",
        "scaling/llama/quality.parquet",
        "scaling/llama/features.parquet",
        "scaling/llama/densities.parquet",
        "scaling/llama/examples.parquet",
        "scaling/llama/tokens.parquet",
        "scaling/llama/neighbours.parquet",
        "scaling/llama/map.parquet",
        "scaling/llama/search.parquet",
        "scaling/llama/search_targets.parquet",
        "scaling/llama/search_prompts.parquet",
        "scaling/llama/continuations.parquet",
        "scaling/llama/steering.parquet",
        "scaling/llama/explanation_examples.parquet",
        "scaling/llama/explanations.parquet",
        "scaling/llama/explanation_verdicts.parquet",
        "scaling/llama/explanation_scores.parquet",
        "scaling/llama/explanation_summary.parquet",
        "scaling/llama/training.parquet",
        "scaling/llama/claims.parquet",
        "compare/specialists.parquet",
        "compare/hierarchy.parquet",
        "compare/gsm8k.parquet",
        "compare/calibration.parquet",
        "compare/capacity.parquet",
        "mixture/texts.parquet",
        "evaluation/llama/evaluation.parquet",
        "evaluation/llama/logit_lens.parquet",
        "report/index.html",
        "report/gsm8k-llama.html",
        "report/hierarchy.html",
        "report/hierarchy-gpt2.html",
        "report/decimal_bug.html",
        "report/decimal_bug-llama.html",
        "report/specialists.html",
        "report/specialists-llama.html",
        "report/scaling.html",
        "report/scaling-llama.html",
        "report/compare.html",
        "report/features.html",
        "report/models.html",
        "report/run.html",
        "run/artifacts.parquet",
        "report/assets/plotly.min.js",
        "report.zip",
    ):
        assert (finished / "results" / path).is_file(), path


def test_nothing_is_left_to_do(finished: Path) -> None:
    assert planned(finished, *SMOKE) == {}


def test_counts_agree_across_tables(finished: Path) -> None:
    folder = finished / "results/gsm8k/llama"
    labels, pairs, summary, examples, found, matches = (
        table[table.seed == 0]
        for name in ("labels", "association", "summary", "examples", "discoveries", "matches")
        for table in [pq.read_table(folder / f"{name}.parquet").to_pandas()]
    )
    whole = summary[
        summary.layer.isna() & summary.step.isna() & (summary.dictionary == "llama_k100")
    ]
    exact = whole[(whole["mode"] == "calibrated") & (whole.target == "token")]
    exact = exact[exact.control == "none"].set_index("metric")["value"]
    # Every feature with a discovered token is counted, and all those matched are discovered or not.
    tokens = found[(found.dictionary == "llama_k100") & (found.target == "token")]
    discovered = tokens.groupby(["layer", "step", "feature"]).ngroups
    assert exact["discovered_rate"] == discovered / (2 * 6 * 64)
    assert 0 < len(matches) <= 2 * 6 * 64
    # Excesses have no permuted counterpart.
    whole = whole[(whole["mode"] == "published") & ~whole.metric.str.contains("excess|above")]
    own = whole[whole.control == "none"].set_index("metric")["value"]
    assert own["n_features"] == 2 * 6 * 64
    assert (
        own["n_interpretable"] == len(labels) == pairs.groupby(["layer", "step", "feature"]).ngroups
    )
    assert own["n_monosemantic"] == labels.monosemantic.sum()
    assert own["n_correlations"] == labels.n_kept.sum()
    assert len(examples) == labels.n_active.clip(upper=5).sum()
    band = whole[whole.control == "permuted"].set_index("metric")
    assert set(band.index) == set(own.index)
    assert (band.interval == "permutation_range").all()
    shown = band.dropna(subset=["value"])
    assert ((shown.ci_low <= shown.value + 1e-12) & (shown.value <= shown.ci_high + 1e-12)).all()


def test_a_run_elsewhere_on_one_core_gives_the_same_bytes(finished: Path, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "clone")
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    overlay = str(project / "tests/config/smoke.yaml")
    done = snakemake(project, "--configfile", overlay, cores=1, cwd=elsewhere)
    assert done.returncode == 0, done.stdout[-4000:]
    assert artifact_digests(elsewhere / "results") == artifact_digests(finished / "results")
    for table in ("configuration", "artifacts"):
        made, other = (each / f"results/run/{table}.parquet" for each in (elsewhere, finished))
        assert made.read_bytes() == other.read_bytes(), table


def test_logs_and_benchmarks_mirror_the_results(finished: Path) -> None:
    for kind, suffix in (("logs", ".log"), ("benchmarks", ".tsv")):
        folder = finished / "results" / kind
        assert (folder / "capture/llama" / f"generated{suffix}").is_file()
        assert (folder / "saes/gpt2/gpt2_k150" / f"seed0{suffix}").is_file()
    assert "chunks" in (finished / "results/logs/capture/llama/generated.log").read_text()


def test_snakemake_report_is_built(finished: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.zip"
    run(finished, *SMOKE, "--report", str(target))
    assert target.stat().st_size > 100_000


def test_standard_output_stays_clean(finished: Path) -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--rulegraph", "mermaid-js", *SMOKE],
        cwd=finished,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.lstrip().startswith("---"), done.stdout[:200]


@pytest.mark.data
@pytest.mark.parametrize("name", ["gsm8k_train", "gsm8k_test"])
def test_real_problems_plan_the_whole_study(name: str) -> None:
    if not (ROOT.parent / "shared/data/gsm8k").is_dir():
        pytest.skip("../shared/data is absent; the overlays on real problems are not planned")
    jobs = planned(ROOT, "--forceall", "--configfile", f"tests/config/{name}.yaml")
    assert jobs == {
        "load_problems": 1,
        "cut_tokens": 1,
        "capture_thoughts": 2,
        "train_bank": 2,
        "encode_features": 2,
        "associate": 2,
        "summarise": 2,
        "gather_gsm8k": 1,
        "permute_calibrated": 2,
        "calibrate": 2,
        "capacity_grid": 2,
        "compare_capacity": 1,
        "compare_calibration": 1,
        "compare_gsm8k": 1,
        "write_report": 1,
    }


def test_a_study_without_any_pair_runs_through(finished: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "strict.yaml"
    overlay.write_text("studies: {gsm8k: {published: {association: {min_active: 100000}}}}\n")
    project = tmp_path / "project"
    shutil.copytree(finished, project)
    run(project, *SMOKE, str(overlay))
    summary = pq.read_table(project / "results/gsm8k/llama/summary.parquet").to_pandas()
    assert (summary[summary.metric == "n_interpretable"].value == 0).all()
