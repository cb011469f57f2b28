"""Word problems: exact answers with latent thoughts, with written steps, and with neither."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from saeflow.datasets.generated import OPERATORS, GeneratedProblem
from saeflow.models.codi import CodiModel, answer_number
from saeflow.models.reference.examples import ANSWER, CALCULATION
from saeflow.progress import progress
from saeflow.studies.evaluation.measures import Measure, What, mean, share

PART = "problems"
THOUGHTS, STEPS, NEITHER = "thoughts", "written steps", "neither"
CONSTANT = "commonest_answer"
_STEP_TOKENS = 64
_ANSWER_TOKENS = 16


def evaluate_problems(
    model: CodiModel,
    problems: Sequence[GeneratedProblem],
    seen: Sequence[GeneratedProblem],
    *,
    latents: int,
    batch_size: int,
) -> Iterator[Measure]:
    """Answer held-out problems in three ways and compare with a constant guess.

    Parameters
    ----------
    model : CodiModel
        The model.
    problems : sequence of GeneratedProblem
        Held-out problems.
    seen : sequence of GeneratedProblem
        Training problems, which give the constant guess.
    latents : int
        Latent thoughts.
    batch_size : int
        Problems per forward pass.

    Yields
    ------
    Measure
        ``exact``: share of exactly right answers; ``exact_minus_neither``: how much more than
        answering at once, on the same problems.
    """
    guess = Counter(_gold(problem) for problem in seen).most_common(1)[0][0]
    right = {
        condition: answer_problems(model, problems, condition, latents, batch_size)
        for condition in (THOUGHTS, STEPS, NEITHER)
    }
    for group, belongs in _groups().items():
        rows = [index for index, problem in enumerate(problems) if belongs(problem)]
        guessed = [_gold(problems[row]) == guess for row in rows]
        for condition, hits in right.items():
            what = What(PART, condition, group, "exact")
            yield share(what, [hits[row] for row in rows])
            yield share(what._replace(control=CONSTANT), guessed)
        for condition in (THOUGHTS, STEPS):
            more = [int(right[condition][row]) - int(right[NEITHER][row]) for row in rows]
            yield mean(What(PART, condition, group, "exact_minus_neither"), more)


def answer_problems(
    model: CodiModel,
    problems: Sequence[GeneratedProblem],
    condition: str,
    latents: int,
    batch_size: int,
) -> list[bool]:
    """Answer problems, in batches of questions of similar length.

    Parameters
    ----------
    model : CodiModel
        The model.
    problems : sequence of GeneratedProblem
        What to answer.
    condition : str
        ``THOUGHTS``, ``STEPS`` or ``NEITHER``.
    latents, batch_size : int
        Latent thoughts, and problems per forward pass.

    Returns
    -------
    list of bool
        Whether each is answered exactly.
    """
    rows = [model.question_ids(problem.question)[:-1] for problem in problems]
    order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
    starts = range(0, len(order), batch_size)
    right = [False] * len(problems)
    forced = model.tokenizer(ANSWER, add_special_tokens=False)["input_ids"]
    for start in progress(starts, description=condition, total=len(starts), unit="batches"):
        batch = order[start : start + batch_size]
        if condition == THOUGHTS:
            texts = model.think(
                [problems[row].question for row in batch],
                latents=latents,
                max_new_tokens=_ANSWER_TOKENS,
            ).answers
        elif condition == STEPS:
            texts = model.continue_rows([rows[row] for row in batch], max_new_tokens=_STEP_TOKENS)
        else:
            texts = model.continue_rows(
                [rows[row] + forced for row in batch], max_new_tokens=_ANSWER_TOKENS
            )
        for row, text in zip(batch, texts, strict=True):
            right[row] = answer_number(text) == _gold(problems[row])
    return right


def is_whole(problem: GeneratedProblem) -> bool:
    """Whether every number of the calculations is whole."""
    return not any("." in step for step in CALCULATION.findall(problem.answer))


def _groups() -> dict[str, Callable[[GeneratedProblem], bool]]:
    def steps(*counts: int) -> Callable[[GeneratedProblem], bool]:
        return lambda problem: is_whole(problem) and problem.n_steps in counts

    def single(operator: str) -> Callable[[GeneratedProblem], bool]:
        return lambda p: steps(1)(p) and operator in CALCULATION.findall(p.answer)[0].split("=")[0]

    def operands(count: int, held_out: bool) -> Callable[[GeneratedProblem], bool]:
        return lambda p: steps(count)(p) and p.held_out_pair == held_out

    return {
        "all": lambda problem: True,
        "one or two steps": steps(1, 2),
        **{f"{n} step{'s' * (n > 1)}": steps(n) for n in (1, 2, 3, 4)},
        **{f"1 step, {operator}": single(operator) for operator in OPERATORS},
        **{
            f"{n} step{'s' * (n > 1)}, operands {'held out' if held_out else 'seen'}": operands(
                n, held_out
            )
            for n in (1, 2, 3)
            for held_out in (False, True)
        },
        "decimals": lambda problem: not is_whole(problem),
    }


def _gold(problem: GeneratedProblem) -> float:
    return float(problem.answer.rsplit("####", 1)[1])
