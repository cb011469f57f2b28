"""Logit lens: which tokens the output embedding reads from each thought (methods/0, section 1.6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from saeflow.artifacts.catalog import LOGIT_LENS
from saeflow.datasets.generated import GeneratedProblem
from saeflow.models.capture import thought_logits, token_texts
from saeflow.models.codi import CodiModel
from saeflow.models.reference.examples import CALCULATION
from saeflow.studies.evaluation.measures import MODEL, Measure, What, share

PART = "logit_lens"
RANKS = 5
OTHER = "another_problem"


@dataclass(frozen=True)
class Lens:
    """What was read.

    Attributes
    ----------
    tokens : list of list of list of str
        By problem, step and rank.
    log_probabilities : list of list of list of float
        Of these tokens.
    """

    tokens: list[list[list[str]]]
    log_probabilities: list[list[list[float]]]


def read_thoughts(
    model: CodiModel, problems: Sequence[GeneratedProblem], *, latents: int, batch_size: int
) -> Lens:
    """Read the last hidden state of every step through the output embedding, before projection."""
    tokens: list[list[list[str]]] = []
    values: list[list[list[float]]] = []
    for start in range(0, len(problems), batch_size):
        questions = [problem.question for problem in problems[start : start + batch_size]]
        logits = thought_logits(model, model.think(questions, latents=latents))
        found = logits.float().log_softmax(-1).topk(RANKS)
        tokens += token_texts(model, found.indices.cpu().numpy())
        values += found.values.tolist()
    return Lens(tokens, values)


def lens_table(lens: Lens) -> pa.Table:
    """Return the tokens as a table."""
    rows = [
        (problem, step, rank, token, value)
        for problem, steps in enumerate(lens.tokens)
        for step, found in enumerate(steps)
        for rank, (token, value) in enumerate(
            zip(found, lens.log_probabilities[problem][step], strict=True)
        )
    ]
    columns = zip(*rows, strict=True)
    return pa.table(list(map(list, columns)), schema=LOGIT_LENS.schema())


def lens_measures(lens: Lens, problems: Sequence[GeneratedProblem]) -> Iterator[Measure]:
    """How often a thought's first token is a result of the calculation.

    Each number stands beside the same number for the results of another problem with as many
    steps, which is what tokens that are merely frequent would give.

    Yields
    ------
    Measure
        ``first_token``, with the control ``another_problem``, by thought step and by which result:
        of the first, second or third calculation.
    """
    results = [_results(problem) for problem in problems]
    for count in sorted({len(each) for each in results}):
        rows = [row for row, each in enumerate(results) if len(each) == count]
        if len(rows) < 2:
            continue
        others = rows[1:] + rows[:1]
        for which in range(count):
            for step in range(len(lens.tokens[0])):
                what = What(PART, f"s{step}", f"result {which + 1} of {count}", "first_token")
                read = [lens.tokens[row][step][0].strip() for row in rows]
                for control, source in ((MODEL, rows), (OTHER, others)):
                    hits = [t == results[row][which] for t, row in zip(read, source, strict=True)]
                    yield share(what._replace(control=control), hits)


def _results(problem: GeneratedProblem) -> list[str]:
    return [step[2:-2].split("=")[1] for step in CALCULATION.findall(problem.answer)]
