"""The text of one problem, drawn sentence by sentence."""

import random

from saeflow.datasets.wording import material, money, owner, place, plan, score, shop
from saeflow.datasets.wording.forms import Phrase, Scenario
from saeflow.datasets.wording.words import CONNECTORS, FRIENDS, GOODS, HE, HER_NAMES, HIS_NAMES, SHE

SCENARIOS: tuple[Scenario, ...] = (
    *owner.SCENARIOS,
    *place.SCENARIOS,
    *money.SCENARIOS,
    *material.SCENARIOS,
    *plan.SCENARIOS,
    *score.SCENARIOS,
    *shop.SCENARIOS,
)


class Story:
    """The text of one problem: a scenario, the words drawn for it and the sentences so far.

    Numbers come in as text; this class knows nothing of arithmetic.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.scenario = rng.choice(SCENARIOS)
        noun, extra = rng.choice(self.scenario.things)
        pronouns, names = rng.choice(((SHE, HER_NAMES), (HE, HIS_NAMES)))
        friend, rival = rng.sample(FRIENDS, 2)
        self._words = {
            **pronouns,
            "name": rng.choice(names),
            "obj": noun,
            "extra": extra,
            "friend": friend,
            "rival": rival,
            "goods": rng.choice(GOODS),
        }
        self._told: list[str] = []
        self._worked: list[str] = []
        self._used: set[str] = set()
        self._other_person_spoken_of = False

    @property
    def question(self) -> str:
        """What has been told."""
        return " ".join(self._told)

    @property
    def answer(self) -> str:
        """What has been worked out, one line per calculation."""
        return "\n".join(self._worked)

    @property
    def n_worked(self) -> int:
        """Number of calculations so far."""
        return len(self._worked)

    @property
    def steps(self) -> dict[str, tuple[Phrase, ...]]:
        """Sentences that may go on with this story, by operator."""
        return self.scenario.steps_by_operator

    def closings(self, *, priced_only: bool) -> dict[str, tuple[Phrase, ...]]:
        """Sentences that may end this story, by operator; all of them or those with a price."""
        if priced_only:
            return self.scenario.priced_closings_by_operator
        return self.scenario.closings_by_operator

    def has_told(self, phrase: Phrase) -> bool:
        """Tell whether a phrase was used before."""
        return phrase.question in self._used

    def open(self, a: str) -> None:
        """Start with a sentence that only tells the first amount."""
        opening = self._rng.choice(self.scenario.openings)
        self._told.append(opening.format_map({**self._words, "a": a}))

    def tell(self, phrase: Phrase, a: str, b: str, *, connected: bool) -> None:
        """Add the sentence of a phrase; ``connected`` sentences may start with "Then"."""
        self._used.add(phrase.question)
        wording = phrase.question
        if self._other_person_spoken_of and wording.startswith("{he} "):
            # After a sentence about the brother, "he" would be the brother.
            wording = wording.replace("{he}", "{name}", 1)
        self._other_person_spoken_of = wording.startswith("{his} {")
        connector = self._rng.choice(CONNECTORS) if connected else ""
        sentence = connector + wording.format_map({**self._words, "a": a, "b": b})
        stop = "" if sentence.endswith("?") else "."
        self._told.append(sentence[0].upper() + sentence[1:] + stop)

    def work(self, operator: str, answer: str, calculation: str) -> None:
        """Add an answer sentence; an empty ``answer`` takes one of the family's own."""
        answer = answer or self._rng.choice(self.scenario.family.answers[operator])
        self._worked.append(answer.format_map({**self._words, "calc": calculation}))

    def ask(self) -> None:
        """End the question of a story whose last phrase asks nothing itself."""
        ending = self._rng.choice(self.scenario.family.endings + self.scenario.endings)
        self._told.append(ending.format_map(self._words))

    def conclude(self, result: str) -> None:
        """End the answer with the line that holds only the result."""
        self._worked.append(f"#### {result}")
