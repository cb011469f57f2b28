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


class Telling:
    """The text of one problem, told in given words and sentences.

    Numbers come in as text; this class knows nothing of arithmetic.

    Parameters
    ----------
    scenario : Scenario
        The setting.
    words : dict of str to str
        What its placeholders stand for, numbers left out; see `words_of`.
    """

    def __init__(self, scenario: Scenario, words: dict[str, str]) -> None:
        self.scenario = scenario
        self._words = words
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

    def has_told(self, phrase: Phrase) -> bool:
        """Tell whether a phrase was used before."""
        return phrase.question in self._used

    def open_with(self, opening: str, a: str) -> None:
        """Start with a sentence that only tells the first amount."""
        self._told.append(opening.format_map({**self._words, "a": a}))

    def tell_with(self, phrase: Phrase, a: str, b: str, connector: str) -> None:
        """Add the sentence of a phrase behind a connector, which may be empty."""
        self._used.add(phrase.question)
        wording = phrase.question
        if self._other_person_spoken_of and wording.startswith("{he} "):
            # After a sentence about the brother, "he" would be the brother.
            wording = wording.replace("{he}", "{name}", 1)
        self._other_person_spoken_of = wording.startswith("{his} {")
        sentence = connector + wording.format_map({**self._words, "a": a, "b": b})
        stop = "" if sentence.endswith("?") else "."
        self._told.append(sentence[0].upper() + sentence[1:] + stop)

    def work_with(self, answer: str, calculation: str) -> None:
        """Add an answer sentence."""
        self._worked.append(answer.format_map({**self._words, "calc": calculation}))

    def ask_with(self, ending: str) -> None:
        """End the question of a story whose last phrase asks nothing itself."""
        self._told.append(ending.format_map(self._words))

    def conclude(self, result: str) -> None:
        """End the answer with the line that holds only the result."""
        self._worked.append(f"#### {result}")


class Story(Telling):
    """The text of one problem, for which scenario, words and sentences are drawn."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        scenario = rng.choice(SCENARIOS)
        thing = rng.choice(scenario.things)
        _, names = rng.choice(((SHE, HER_NAMES), (HE, HIS_NAMES)))
        friend, rival = rng.sample(FRIENDS, 2)
        words = words_of(thing, rng.choice(names), friend, rival, rng.choice(GOODS))
        super().__init__(scenario, words)

    @property
    def steps(self) -> dict[str, tuple[Phrase, ...]]:
        """Sentences that may go on with this story, by operator."""
        return self.scenario.steps_by_operator

    def closings(self, *, priced_only: bool) -> dict[str, tuple[Phrase, ...]]:
        """Sentences that may end this story, by operator; all of them or those with a price."""
        if priced_only:
            return self.scenario.priced_closings_by_operator
        return self.scenario.closings_by_operator

    def open(self, a: str) -> None:
        """Start with a sentence that only tells the first amount."""
        self.open_with(self._rng.choice(self.scenario.openings), a)

    def tell(self, phrase: Phrase, a: str, b: str, *, connected: bool) -> None:
        """Add the sentence of a phrase; ``connected`` sentences may start with "Then"."""
        self.tell_with(phrase, a, b, self._rng.choice(CONNECTORS) if connected else "")

    def work(self, operator: str, answer: str, calculation: str) -> None:
        """Add an answer sentence; an empty ``answer`` takes one of the family's own."""
        answer = answer or self._rng.choice(self.scenario.family.answers[operator])
        self.work_with(answer, calculation)

    def ask(self) -> None:
        """End the question of a story whose last phrase asks nothing itself."""
        self.ask_with(self._rng.choice(self.scenario.all_endings))


def words_of(
    thing: tuple[str, str], name: str, friend: str, rival: str, goods: str
) -> dict[str, str]:
    """What the placeholders of a story stand for, numbers left out."""
    noun, extra = thing
    return {
        **(SHE if name in HER_NAMES else HE),
        "name": name,
        "obj": noun,
        "extra": extra,
        "friend": friend,
        "rival": rival,
        "goods": goods,
    }
