"""Interventions at every site of a small model: what is done to whom, and what is written down."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from saeflow.artifacts.hierarchy import SCREEN, TRIALS
from saeflow.artifacts.units import Units
from saeflow.config.datasets import BalancedDataset, GeneratedDataset
from saeflow.config.hierarchy import CausalSettings
from saeflow.datasets.sources import load_problems
from saeflow.interventions.edits import Splice, ablate
from saeflow.interventions.thoughts import Condition, Place, ThoughtRun
from saeflow.models.loading import load_model
from saeflow.saes.bank import Bank, Recipe, Site
from saeflow.seeds import torch_generator
from saeflow.studies.hierarchy.intervene import Interventions, Study, intervene
from saeflow.studies.hierarchy.screening import MIN_ACTIVE, Subject
from saeflow.studies.hierarchy.trials import choose_site, problem_parts
from tests.small_models import settings_of

pytestmark = pytest.mark.usefixtures("one_thread")
LATENTS, D_SAE, K = 2, 12, 5
RUN = {"dataset": "made", "dictionary": "d", "seed": 0, "mode": "calibrated"}
SETTINGS = CausalSettings(
    shortlist=1,
    set_size=3,
    dosed=1,
    doses=(0.0, 1.0, 4.0),
    swapped=1,
    stories=1,
    maximal=0,
    rows=64,
)
SITES = tuple(Site(layer, step) for layer in (0, 1) for step in (0, 2))


class Case(NamedTuple):
    """A subject, its problems, and what intervening on it gave."""

    subject: Subject
    problems: pa.Table
    balanced: pa.Table
    found: Interventions


def subject_of(batch_size: int = 16) -> Subject:
    settings = settings_of(
        "llama",
        num_hidden_layers=2,
        max_position_embeddings=1024,
        seed=1,
        batch_size=batch_size,
        thoughts={"latents": LATENTS, "max_new_tokens": 3},
    )
    model = load_model(settings)
    with torch.no_grad():
        for parameter in model.language_model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    generator = torch_generator(0, "test", "bank")
    n, d_in = len(SITES), settings.hidden_size
    shapes = ((n, d_in, D_SAE), (n, D_SAE), (n, D_SAE, d_in), (n, d_in))
    weights = [torch.randn(shape, generator=generator) for shape in shapes]
    bank = Bank(Recipe("abstopk", D_SAE, K), SITES, *weights)
    return Subject.of(model, bank, "block_output", settings)


def intervened(subject: Subject, problems: pa.Table, balanced: pa.Table) -> Interventions:
    return intervene(study_of(subject, problems, balanced), Units())


def study_of(
    subject: Subject, problems: pa.Table, balanced: pa.Table, *, sets_only: bool = False
) -> Study:
    numbers = problems["problem"].to_numpy()
    return Study(subject, problems, balanced, [], numbers, SETTINGS, RUN, "even", sets_only)


@pytest.fixture(scope="module")
def case() -> Case:
    torch.set_num_threads(1)
    generated = GeneratedDataset(
        source="generated", n_train=0, n_validation=64, step_weights=(1, 0, 0, 0), decimal_share=0
    )
    problems = load_problems(generated).table
    even = BalancedDataset(source="balanced", stories=1, steps=(1,), values=(2, 3))
    balanced, subject = load_problems(even).table, subject_of()
    return Case(subject, problems, balanced, intervened(subject, problems, balanced))


@pytest.fixture(scope="module")
def trials(case: Case) -> pd.DataFrame:
    assert case.found.trials.schema.equals(TRIALS.schema())
    frame: pd.DataFrame = case.found.trials.to_pandas()
    assert not frame.duplicated(list(TRIALS.keys)).any()
    return frame


def test_each_part_of_the_problems_has_its_own_interventions(
    case: Case, trials: pd.DataFrame
) -> None:
    parts = problem_parts(case.problems["problem"].to_numpy(), None, 0)
    made = trials[trials["dataset"] == "made"]
    chosen, reported = (made[made["half"] == half] for half in ("chosen", "reported"))
    assert set(chosen["problem"]) == set(parts.chosen)
    assert set(reported["problem"]) == set(parts.reported)
    assert set(chosen["control"]) == {"none", "random_feature"}
    assert set(chosen["unit"]) == {"set"}
    whole = reported[reported["unit"].isin(["set", "all"]) & (reported["edit"] != "scale")]
    counts = whole.groupby(["layer", "step", "edit", "control"]).size()
    assert (counts == len(parts.reported)).all()
    controls = {"none", "random_feature", "random_direction", "other_step"}
    assert len(counts) == len(SITES) * (len(controls) + 2)
    single = reported[reported["unit"].str.startswith("F") & (reported["edit"] == "zero")]
    assert set(single["control"]) == controls
    # A feature and its controls are done to the same problems.
    named = single.groupby(["layer", "step", "unit"])
    for _, part in named:
        assert part.groupby("control")["problem"].apply(frozenset).nunique() == 1


def test_ablations_are_those_of_the_engine(case: Case, trials: pd.DataFrame) -> None:
    subject = case.subject
    single = trials[trials["unit"].str.startswith("F") & (trials["edit"] == "zero")]
    single = single[single["control"] == "none"]
    assert len(single) > 20
    for row in single.iloc[:: len(single) // 6].itertuples():
        problem = case.problems.filter(pa.array(case.problems["problem"].to_numpy() == row.problem))
        texts = (problem[name].to_pylist() for name in ("question", "answer"))
        run = ThoughtRun(subject.model, *texts, latents=LATENTS, max_new_tokens=3)
        place = Place(int(row.step), "resid_post", int(row.layer))
        splice = Splice(
            subject.sae(Site(int(row.layer), int(row.step))), ablate([int(row.unit[1:])])
        )
        ((_, alone),) = run.outcomes([Condition({place: splice})])
        assert float(alone.log_probability) == pytest.approx(row.log_probability, abs=1e-4)
        assert float(alone.kl) == pytest.approx(row.kl, abs=1e-5)
        assert float(alone.cosine) == pytest.approx(row.cosine, abs=1e-5)
        assert bool(alone.changed) == row.changed


def test_a_dose_of_one_does_nothing_and_of_zero_ablates(trials: pd.DataFrame) -> None:
    dosed = trials[(trials["edit"] == "scale") & (trials["control"] == "none")]
    assert set(dosed["dose"]) == {0.0, 1.0, 4.0}
    nothing = dosed[dosed["dose"] == 1]
    assert nothing["log_probability"].abs().max() < 1e-4
    assert not nothing["changed"].any()
    assert nothing["cosine"].min() > 0.9999
    key = ["layer", "step", "unit", "problem"]
    removed = dosed[dosed["dose"] == 0].set_index(key)["log_probability"]
    zero = trials[(trials["edit"] == "zero") & (trials["control"] == "none")]
    zero = zero[zero["half"] == "reported"].set_index(key)["log_probability"]
    both = removed.to_frame("dose").join(zero.to_frame("zero"), how="inner")
    assert len(both) == len(removed)
    assert (both["dose"] - both["zero"]).abs().max() < 1e-4


def test_swaps_are_on_balanced_problems_and_tell_the_partners_answer(
    trials: pd.DataFrame,
) -> None:
    swaps = trials[trials["edit"].str.startswith("swap")]
    assert set(swaps["dataset"]) == {"even"}
    assert set(swaps["edit"]) == {"swap.value", "swap.operator"}
    assert set(swaps["control"]) == {"none", "random_feature"}
    assert swaps["toward"].notna().all()
    assert trials[~trials["edit"].str.startswith("swap")]["toward"].isna().all()
    # Another right answer, another change of its log-probability.
    assert (swaps["toward"] - swaps["log_probability"]).abs().max() > 1e-4


def test_the_screen_knows_sets_and_ranks(case: Case) -> None:
    screen = case.found.screen.to_pandas()
    assert case.found.screen.schema.equals(SCREEN.schema())
    for _, part in screen.groupby(["layer", "step"]):
        assert part["in_set"].sum() == 3
        ordered = part.sort_values("rank")["attribution"].abs()
        assert ordered.is_monotonic_decreasing
    trials = case.found.trials.to_pandas()
    shortlisted = trials[trials["unit"].str.startswith("F") & (trials["edit"] == "zero")]
    for (layer, step), part in shortlisted.groupby(["layer", "step"]):
        own = screen[(screen["layer"] == layer) & (screen["step"] == step)]
        often = own[own["n_active"] >= MIN_ACTIVE].sort_values("rank")
        assert set(part["unit"]) == {f"F{often['feature'].iloc[0]}"}
    assert choose_site(case.found.trials) in SITES


def test_the_same_seed_gives_the_same_bytes(case: Case) -> None:
    again = intervened(subject_of(), case.problems, case.balanced)
    assert again.trials.equals(case.found.trials)
    assert again.screen.equals(case.found.screen)


def test_sets_alone_are_a_part_of_everything(case: Case, trials: pd.DataFrame) -> None:
    few = intervene(study_of(subject_of(), case.problems, case.balanced, sets_only=True), Units())
    found = few.trials.to_pandas()
    whole = trials["unit"].isin(["set", "all"]) & trials["edit"].isin(["zero", "mean", "none"])
    assert len(found) == whole.sum()
    expected = trials[whole].reset_index(drop=True)
    assert np.allclose(found["log_probability"], expected["log_probability"], atol=1e-4)
