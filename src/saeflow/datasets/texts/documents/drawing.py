"""Documents drawn from the sentences of a topic."""

from __future__ import annotations

import random
import string
from functools import cache

from saeflow.datasets.texts.documents.astronomy_music import ASTRONOMY, MUSIC
from saeflow.datasets.texts.documents.cooking_football import COOKING, FOOTBALL
from saeflow.datasets.texts.documents.gardening_banking import BANKING, GARDENING
from saeflow.datasets.texts.documents.medicine_law import LAW, MEDICINE
from saeflow.datasets.texts.documents.neutral import NEUTRAL
from saeflow.datasets.texts.documents.topic import Topic
from saeflow.datasets.texts.text import Text, split_of
from saeflow.errors import SaeflowError

PART = "documents"
TOPICS = (MEDICINE, LAW, COOKING, FOOTBALL, ASTRONOMY, MUSIC, GARDENING, BANKING)
TOPIC_WORDS: dict[str, tuple[str, ...]] = {topic.name: topic.words for topic in TOPICS}

_SENTENCES = (3, 6)
_WORDS = (30, 70)
_OPENED = 1 / 3
_NEUTRAL = 1 / 5
_ONE_IN = 10
_ATTEMPTS = 20
_FORMATTER = string.Formatter()


def document_texts(*, seed: int, n_per_topic: int) -> list[Text]:
    """Draw documents of each topic; asking for more only appends within a topic.

    Parameters
    ----------
    seed : int
        Seed of the mixture.
    n_per_topic : int
        Different documents of each topic.

    Returns
    -------
    list of Text
        The documents, topic by topic.
    """
    return [text for topic in TOPICS for text in _documents(topic, seed, n_per_topic)]


def neutral_prompts(*, seed: int, n: int) -> list[str]:
    """Draw sentences that fit every topic, for prompts that lead to none; more only append.

    Parameters
    ----------
    seed : int
        Seed of the draw.
    n : int
        Different sentences; every frame comes once before one comes again.

    Raises
    ------
    SaeflowError
        If there are not so many.
    """
    rng = random.Random(f"{seed}/{PART}/{NEUTRAL.name}")
    drawn: dict[str, None] = {}
    tried = 0
    while len(drawn) < n:
        if tried == _ATTEMPTS * n:
            raise SaeflowError(
                f"{n} neutral prompts are asked for, of which {len(drawn)} were found; expected fewer."
            )
        if tried % len(NEUTRAL.frames) == 0:
            frames = rng.sample(NEUTRAL.frames, len(NEUTRAL.frames))
        drawn.setdefault(_filled(frames[tried % len(NEUTRAL.frames)], NEUTRAL, rng))
        tried += 1
    return list(drawn)


def _documents(topic: Topic, seed: int, n: int) -> list[Text]:
    rng = random.Random(f"{seed}/{PART}/{topic.name}")
    drawn: dict[str, None] = {}
    while len(drawn) < n:
        document = _document(topic, rng)
        if _WORDS[0] <= len(document.split()) <= _WORDS[1]:
            drawn.setdefault(document)
    return [
        Text(
            PART,
            topic.name,
            "",
            item,
            split_of(seed, PART, document, one_in=_ONE_IN),
            "",
            document,
        )
        for item, document in enumerate(drawn)
    ]


def _document(topic: Topic, rng: random.Random) -> str:
    count = rng.randint(*_SENTENCES)
    # Two sentences at least are on the topic, even where chance says otherwise.
    neutral = min(sum(rng.random() < _NEUTRAL for _ in range(count)), count - 2)
    opened = rng.random() < _OPENED
    on_topic = rng.sample(topic.frames, count - neutral - opened)
    sentences = [_filled(frame, topic, rng) for frame in on_topic]
    sentences += [_filled(frame, NEUTRAL, rng) for frame in rng.sample(NEUTRAL.frames, neutral)]
    rng.shuffle(sentences)
    if opened:
        sentences.insert(0, _filled(topic.opening, topic, rng))
    return " ".join(sentences)


def _filled(frame: str, topic: Topic, rng: random.Random) -> str:
    sentence = frame.format(**{gap: rng.choice(topic.lists[gap]) for gap in _gaps(frame)})
    return sentence[0].upper() + sentence[1:]


@cache
def _gaps(frame: str) -> tuple[str, ...]:
    return tuple(gap for _, gap, _, _ in _FORMATTER.parse(frame) if gap)
