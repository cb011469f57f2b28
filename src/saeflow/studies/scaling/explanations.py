"""From contexts of features to explanations and their scores, beside swapped and empty explanations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from saeflow.artifacts.columns import INDEX
from saeflow.artifacts.scaling_explanations import EXPLANATIONS, VERDICTS
from saeflow.config.scaling_explanations import ExplanationSettings, teller_name
from saeflow.errors import SaeflowError
from saeflow.models.writers.writer import Writer
from saeflow.seeds import numpy_generator
from saeflow.studies.scaling.contexts import FeatureContexts
from saeflow.studies.scaling.explaining import Explanation, explain_features
from saeflow.studies.scaling.explanation_scores import score_rows, scores_table, summarise_scores
from saeflow.studies.scaling.scorers import Verdicts, match, read_verdicts, scorer_prompts
from saeflow.studies.scaling.token_statistics import group_words
from saeflow.studies.scaling.token_table import TokenExplanation
from saeflow.studies.scaling.trials import METHODS, Method, Trial, make_trials

BLOCK = 8
"""Features of neighbouring densities among which explanations are swapped."""
NOTHING = Explanation(-1, "", TokenExplanation(), True, 0)


class ExplanationTables(NamedTuple):
    """What the study makes of one SAE.

    Attributes
    ----------
    explanations, verdicts, scores, summary : pyarrow.Table
        Columns of `EXPLANATIONS`, `VERDICTS`, `EXPLANATION_SCORES` and `EXPLANATION_SUMMARY` of
        `saeflow.artifacts.scaling_explanations`.
    """

    explanations: pa.Table
    verdicts: pa.Table
    scores: pa.Table
    summary: pa.Table


class _Asked(NamedTuple):
    """One feature's questions of one method, with the explanation they are asked with."""

    feature: int
    control: str
    method: Method
    explanation: Explanation
    train: list[Trial]
    test: list[Trial]


def choose_features(
    density: Float[np.ndarray, " features"], count: int, strata: int, seed: int
) -> Int[np.ndarray, " chosen"]:
    """Draw features so that rare and frequent ones are represented alike.

    Parameters
    ----------
    density : numpy.ndarray of float, shape (features,)
        Share of tokens on which each fires; those at 0 are never drawn.
    count : int
        How many, at most.
    strata : int
        Ranges of density, with as many features in each.
    seed : int
        Seed of the draw.

    Returns
    -------
    numpy.ndarray of int64, shape (chosen,)
        Ascending. From each range as many, but for a rest of one.
    """
    generator = numpy_generator(seed, "scaling", "explanations", "features")
    alive = np.flatnonzero(density > 0)
    ordered = alive[np.argsort(density[alive], kind="stable")]
    parts = [generator.permutation(part) for part in np.array_split(ordered, strata)]
    rounds = [
        part[number] for number in range(len(ordered)) for part in parts if number < len(part)
    ]
    return np.sort(np.array(rounds[:count], np.int64))


def swap_features(
    features: Sequence[int], density: Mapping[int, float], seed: int
) -> dict[int, int]:
    """Give every feature another one of similar density, each once.

    Parameters
    ----------
    features : sequence of int
        Which.
    density : mapping of int to float
        Share of tokens on which each fires.
    seed : int
        Seed of the draw.

    Returns
    -------
    dict of int to int
        No feature is its own partner. Empty for a single feature.
    """
    generator = numpy_generator(seed, "scaling", "explanations", "swaps")
    ordered = sorted(features, key=lambda each: (density[each], each))
    if len(ordered) < 2:
        return {}
    partners = dict[int, int]()
    for part in np.array_split(np.array(ordered, np.int64), max(len(ordered) // BLOCK, 1)):
        drawn = generator.permutation(part).tolist()
        partners.update(zip(drawn, [*drawn[1:], drawn[0]], strict=True))
    return partners


def explain_and_score(
    features: Sequence[FeatureContexts],
    density: Mapping[int, float],
    settings: ExplanationSettings,
    site: Mapping[str, Any],
    *,
    summarised: Sequence[int] | None = None,
    explainer: Writer | None = None,
    scorer: Writer | None = None,
) -> ExplanationTables:
    """Explain features from their training contexts and score what is said on their test contexts.

    Parameters
    ----------
    features : sequence of FeatureContexts
        What is known of each.
    density : mapping of int to float
        Share of tokens on which each fires; partners are chosen by it.
    settings : ExplanationSettings
        How.
    site : mapping
        Values of the columns dictionary, seed and layer.
    summarised : sequence of int, optional
        Features that the summary is of, such as those that were drawn at random; all by default.
    explainer, scorer : Writer, optional
        The models behind `settings.explainer` and `settings.scorer`; by default tokens are counted and
        matched, and no model is asked.

    Returns
    -------
    ExplanationTables
        A feature without test contexts of both sides has scores that are null.

    Raises
    ------
    SaeflowError
        If a writer is missing or too many for the settings, a density is missing, or a model cannot be
        asked.
    """
    _check(features, density, settings, explainer, scorer)
    said = explain_features(features, settings, explainer, group_words(features, settings.tokens))
    told = {each.feature: each for each in said if each.text}
    partners = swap_features(sorted(told), density, settings.seed)
    run = {
        **site,
        "explainer": teller_name(settings.explainer),
    }
    scored_by = {"scorer": teller_name(settings.scorer)}
    asked = list(_questions(features, told, partners, settings))
    answered = _matched(asked) if scorer is None else _judged(asked, scorer, settings.per_prompt)
    verdicts, scores = list[dict[str, Any]](), list[dict[str, Any]]()
    for each, (found, threshold) in zip(asked, answered, strict=True):
        keys = {
            **run,
            **scored_by,
            "control": each.control,
            "method": each.method,
            "feature": each.feature,
        }
        verdicts += [{**keys, **row} for row in _verdict_rows(each.test, found)]
        scores += [
            {**keys, "density": density[each.feature], **row}
            for row in score_rows(each.test, found, threshold)
        ]
    table = scores_table(scores)
    counted = {each.feature for each in features} if summarised is None else set(summarised)
    return ExplanationTables(
        _explanations_table(said, partners, density, run),
        pa.Table.from_pylist(verdicts, VERDICTS.schema()),
        table,
        summarise_scores(
            table.filter(pc.is_in(table["feature"], pa.array(sorted(counted), INDEX))),
            {**run, **scored_by},
            [each.parsed for each in said if each.feature in counted],
            permutations=settings.permutations,
            seed=settings.seed,
        ),
    )


def _check(
    features: Sequence[FeatureContexts],
    density: Mapping[int, float],
    settings: ExplanationSettings,
    explainer: Writer | None,
    scorer: Writer | None,
) -> None:
    for name, block, writer in (
        ("explainer", settings.explainer, explainer),
        ("scorer", settings.scorer, scorer),
    ):
        if (writer is None) != (block.kind == "tokens"):
            given = "none was" if writer is None else "a model was"
            raise SaeflowError(f"{name}.kind is {block.kind}, but {given} given to ask.")
    missing = [each.feature for each in features if each.feature not in density]
    if missing:
        raise SaeflowError(
            f"The density of feature {missing[0]} is not known; expected one for every feature."
        )


def _questions(
    features: Sequence[FeatureContexts],
    told: Mapping[int, Explanation],
    partners: Mapping[int, int],
    settings: ExplanationSettings,
) -> Iterator[_Asked]:
    """Every feature's questions: the same ones with its own, a swapped and an empty explanation."""
    for each in features:
        own = told.get(each.feature, NOTHING)
        partner = partners.get(each.feature)
        given = {
            "none": own,
            "swapped": None if partner is None else told[partner],
            "empty": NOTHING,
        }
        for method in METHODS:
            train = make_trials(each, "train", method, count=None, seed=settings.seed)
            test = make_trials(each, "test", method, count=settings.examples, seed=settings.seed)
            for control, explanation in given.items():
                if explanation is not None:
                    yield _Asked(each.feature, control, method, explanation, train, test)


def _matched(asked: Sequence[_Asked]) -> Iterator[tuple[Verdicts, float | None]]:
    for each in asked:
        table = each.explanation.table or TokenExplanation()
        found, threshold = match(table, each.train, each.test)
        yield found, threshold if np.isfinite(threshold) else None


def _judged(
    asked: Sequence[_Asked], scorer: Writer, per_prompt: int
) -> Iterator[tuple[Verdicts, float | None]]:
    """Ask about all features at once, so that a local model fills its batches; the same is asked once."""
    prompts = [
        scorer_prompts(each.explanation.text, each.test, each.method, per_prompt) for each in asked
    ]
    different = list(dict.fromkeys(prompt for some in prompts for prompt in some))
    replies = dict(zip(different, scorer.write(different), strict=True))
    for each, some in zip(asked, prompts, strict=True):
        verdict = read_verdicts([replies[prompt] for prompt in some], len(each.test), per_prompt)
        yield Verdicts(np.full(len(verdict), np.nan), verdict), None


def _verdict_rows(trials: Sequence[Trial], found: Verdicts) -> Iterator[dict[str, Any]]:
    for number, (trial, score, verdict) in enumerate(
        zip(trials, found.score.tolist(), found.verdict.tolist(), strict=True)
    ):
        yield {
            "trial": number,
            "kind": trial.kind,
            "of_kind": trial.context.kind,
            "example": trial.context.example,
            "document": trial.context.document,
            "marked": [] if trial.marked is None else trial.marked.tolist(),
            "score": None if np.isnan(score) else score,
            "verdict": None if np.isnan(verdict) else bool(verdict),
        }


def _explanations_table(
    said: Sequence[Explanation],
    partners: Mapping[int, int],
    density: Mapping[int, float],
    run: Mapping[str, Any],
) -> pa.Table:
    rows = []
    for each in said:
        table = each.table
        rules = () if table is None else table.rules
        rows.append(
            {
                **run,
                "feature": each.feature,
                "explanation": each.text,
                "parsed": each.parsed,
                "patterns": [rule.shown() for rule in rules],
                "shares": [rule.share for rule in rules],
                "weights": [rule.weight for rule in rules],
                "rules": "" if table is None else table.to_json(),
                "density": density[each.feature],
                "n_activating": each.n_activating,
                "swapped_with": partners.get(each.feature, -1),
            }
        )
    return pa.Table.from_pylist(rows, EXPLANATIONS.schema())
