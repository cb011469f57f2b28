"""From a mixture to a tokenizer, fresh weights and the stream of training examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from transformers import PreTrainedTokenizerBase

from saeflow.config.mixture import Mixture, ReferenceModel, Rows
from saeflow.datasets.generated import GeneratedProblem
from saeflow.datasets.mixture import TEXT_PARTS, Problems, training_texts
from saeflow.datasets.texts.text import Text
from saeflow.models.codi import CodiModel, answer_number
from saeflow.models.reference.batches import Stream
from saeflow.models.reference.examples import (
    ANSWER,
    CALCULATION,
    Encoder,
    TextExample,
    ThoughtExample,
    with_direct,
)
from saeflow.models.reference.train import Streams
from saeflow.models.tokenizer import train_tokenizer

_TOKENIZER_PROBLEMS = 20_000
_CURVE_PROBLEMS = 256


def prepare_tokenizer(
    recipe: ReferenceModel, problems: Problems, texts: Sequence[Text]
) -> PreTrainedTokenizerBase:
    """Train the tokenizer on what the model will read.

    Only the first 20,000 word problems are used: by then every word has been seen often.
    """
    told = [problem.question for problem in problems.train[:_TOKENIZER_PROBLEMS]]
    steps = [" ".join(CALCULATION.findall(p.answer)) for p in problems.train[:_TOKENIZER_PROBLEMS]]
    asked = [problem.question for problem in problems.symbolic[:_TOKENIZER_PROBLEMS]]
    read = [text.text for part in TEXT_PARTS for text in training_texts(texts, part)]
    return train_tokenizer(
        [*told, *steps, *asked, *read, *[ANSWER] * len(told)],
        recipe.architecture.vocab_size,
        adds_begin=recipe.architecture.family == "llama",
    )


def prepare_streams(
    mixture: Mixture,
    tokenizer: PreTrainedTokenizerBase,
    problems: Problems,
    texts: Sequence[Text],
) -> Callable[[Rows], Streams]:
    """Encode everything once and return what says, given a stage's rows, what its steps read."""
    parts, seed, encoder = mixture.parts, mixture.seed, Encoder(tokenizer)
    told = with_direct(
        encoder,
        [(problem.question, problem.answer) for problem in problems.train],
        parts.problems.direct_share,
        seed,
    )
    asked = [
        encoder.thought(
            problem.question, "".join(map(str, problem.steps)) + f"#### {problem.steps[-1].result}"
        )
        for problem in problems.symbolic
    ]
    drills = [encoder.drill(row) for row in problems.drills]
    read = [
        (getattr(parts, part).weight, [encoder.text(text) for text in training_texts(texts, part)])
        for part in TEXT_PARTS
    ]

    def streams(rows: Rows) -> Streams:
        return Streams(
            thoughts={
                "word": Stream([(1.0, told)], rows.word, _thought_length, seed, "word"),
                "symbolic": Stream(
                    [(1.0, asked)], rows.symbolic, _thought_length, seed, "symbolic"
                ),
            },
            texts={
                "drills": Stream([(1.0, drills)], rows.drills, _text_length, seed, "drills"),
                "texts": Stream(read, rows.texts, _text_length, seed, "texts"),
            },
        )

    return streams


def curve_accuracy(
    recipe: ReferenceModel, problems: Problems
) -> Callable[[CodiModel], Mapping[str, float]]:
    """Return what measures accuracy on the first held-out problems, by number of steps."""
    asked: list[GeneratedProblem] = problems.held_out[:_CURVE_PROBLEMS]

    def measure(model: CodiModel) -> Mapping[str, float]:
        answers = model.think(
            [problem.question for problem in asked],
            latents=recipe.thoughts.latents,
            max_new_tokens=recipe.thoughts.max_new_tokens,
        ).answers
        right: Counter[int] = Counter()
        total: Counter[int] = Counter()
        for problem, answer in zip(asked, answers, strict=True):
            total[problem.n_steps] += 1
            gold = float(problem.answer.rsplit("####", 1)[1])
            right[problem.n_steps] += answer_number(answer) == gold
        return {f"accuracy {n} steps": right[n] / total[n] for n in sorted(total)}

    return measure


def _thought_length(example: ThoughtExample) -> int:
    # The question weighs most, as its row is padded in the pass that both share.
    return 1000 * len(example.question) + len(example.rationale) + len(example.answer)


def _text_length(example: TextExample) -> int:
    return len(example.ids)
