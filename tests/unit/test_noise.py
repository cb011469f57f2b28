"""Pure noise: how often the published criteria call it interpretable, and the exact tests do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from saeflow.config.datasets import PathDataset, SubsetSettings
from saeflow.config.studies import Gsm8kCriteria
from saeflow.datasets.sources import cot_token_table, load_problems
from saeflow.stats.discovery import ExactTest
from saeflow.studies.gsm8k.association import LayerFeatures, TokenMatrix, token_matrix
from saeflow.studies.gsm8k.permutations import outcome_of_layers, published_tests
from tests.unit.test_discovery import planted

CPU = torch.device("cpu")
# methods/1, section 2.9: random sets of each size on the study's tokens, 400 draws each.
SIZES = (20, 30, 50, 75, 100, 150, 200, 300, 400, 500, 700, 900)
INTERPRETABLE = (64.5, 76.0, 71.5, 69.8, 57.5, 58.8, 39.5, 25.0, 15.8, 12.8, 4.5, 2.0)
MONOSEMANTIC = (88.8, 88.2, 93.0, 85.7, 76.5, 76.2, 55.7, 37.0, 23.8, 35.3, 22.2, 12.5)
STATED_DRAWS = 400
DRAWS = 1500


@pytest.fixture(scope="module")
def real_tokens(gsm8k_data: Path) -> TokenMatrix:
    settings = PathDataset(
        source="path",
        path=str(gsm8k_data / "train.jsonl"),
        id_prefix="train_",
        subset=SubsetSettings(kind="published", n=1000),
    )
    problems = load_problems(settings).table
    numbers = problems["problem"].to_numpy()[problems["analysed"].to_numpy()]
    return token_matrix(cot_token_table(problems), numbers)


def random_sets(sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One random set of each size, among 1,000 examples."""
    places = rng.permuted(np.tile(np.arange(1000), (len(sizes), 1)), axis=1)
    return sizes > places.T


def squared_errors(
    found: np.ndarray, draws: np.ndarray, stated: np.ndarray, stated_draws: np.ndarray
) -> np.ndarray:
    """Squared differences of shares, in units of their combined sampling variance."""
    shared = (found * draws + stated * stated_draws) / (draws + stated_draws)
    return (found - stated) ** 2 / (shared * (1 - shared) * (1 / draws + 1 / stated_draws))


@pytest.mark.data
def test_published_criteria_call_noise_interpretable_as_often_as_stated(
    real_tokens: TokenMatrix,
) -> None:
    assert real_tokens.present.shape == (1000, 628)
    active = random_sets(np.repeat(SIZES, DRAWS), np.random.default_rng(0))
    # Each size takes the place of a thought step.
    features = [LayerFeatures(0, tuple(range(len(SIZES))), DRAWS, active)]
    criteria = Gsm8kCriteria()
    tests = published_tests(features, real_tokens, criteria, CPU)
    outcome = outcome_of_layers(features, tests, real_tokens, criteria)
    labelled = np.array([label is not None for label in outcome.labels])
    single = np.array([label is not None and label.monosemantic for label in outcome.labels])
    interpretable = labelled.reshape(len(SIZES), DRAWS).sum(1)
    monosemantic = single.reshape(len(SIZES), DRAWS).sum(1)

    stated = np.array(INTERPRETABLE) / 100
    errors = squared_errors(
        interpretable / DRAWS, np.full(len(SIZES), DRAWS), stated, np.full(len(SIZES), STATED_DRAWS)
    )
    own = squared_errors(
        monosemantic / interpretable,
        interpretable,
        np.array(MONOSEMANTIC) / 100,
        stated * STATED_DRAWS,
    )
    for each in (errors, own):
        assert each.max() <= 4**2
        # All sizes together, which a bias of 2.5 points at every size would not pass.
        assert each.sum() <= chi2.ppf(0.999, len(SIZES))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "tokens", [pytest.param("real", marks=pytest.mark.data), "made to occur together"]
)
def test_max_statistic_threshold_of_permutations_holds_on_fresh_noise(
    tokens: str, request: pytest.FixtureRequest
) -> None:
    """Below the 5 % quantile of permutations in at most 5 % of runs with other features."""
    real = tokens == "real"
    present = request.getfixturevalue("real_tokens").present if real else planted(2000).present
    rng = np.random.default_rng(1)
    sizes = np.repeat([20, 50, 150, 500], 9)
    references, permutations, runs, hits = 4, 200, 100, 0
    for _ in range(references):
        test = ExactTest(random_sets(sizes, rng), present.sum(0), CPU)
        null = [test.smallest(present[rng.permutation(1000)]) for _ in range(permutations)]
        threshold = float(np.quantile(null, 0.05, method="lower"))
        # All runs at once, as a run's tests do not see the features of another.
        fresh = ExactTest(random_sets(np.tile(sizes, runs), rng), present.sum(0), CPU)
        found = fresh.candidates(present, threshold)
        hits += len(np.unique(found.feature // len(sizes)))
    share = hits / (references * runs)
    # The threshold is itself uncertain.
    error = np.sqrt(0.05 * 0.95 * (1 / (references * runs) + 1 / (references * permutations)))
    assert share <= 0.05 + 3 * error
    assert share > 0
