"""Everyday facts with one right answer each, and the ways to tell them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Fact:
    """A subject and the one answer to what is asked about it.

    Attributes
    ----------
    kind : str
        What is asked, such as ``opposite`` or ``capital``.
    family : str
        Facts whose answers can stand in for each other; the kind itself unless it is a sequence.
    subject : str
        What is asked about.
    answer : str
        The right answer, without a leading blank.
    level : int
        1 where few answers have to be told apart, 3 where the fact is rare.
    """

    kind: str
    family: str
    subject: str
    answer: str
    level: int

    def told_by(self, frame: str) -> str:
        """The frame with the subject filled in."""
        article = "an" if self.subject[0] in "aeiou" else "a"
        thing, _, side = self.family.partition(" ")
        name = self.subject
        line = frame.format(x=name, ax=f"{article} {name}", thing=thing, side=side)
        return line[0].upper() + line[1:]


# No frame contains another one, so that a line held out in one is not told inside another.
FRAMES: dict[str, tuple[str, ...]] = {
    "opposite": (
        "The opposite of {x} is",
        "What is not {x} at all may be",
        "{x} is the reverse of",
        "If one word is {x}, its opposite must be",
        "She said {x} when she meant just the contrary:",
        "Turn {x} around and you have",
    ),
    "sequence": (
        "The {thing} {side} {x} is",
        "If you count the {thing}s in order, right {side} {x} there is",
        "Which {thing} stands just {side} {x}? It is",
        "Straight {side} {x} we always find",
        "My sister asked what comes {side} {x}, and I answered",
    ),
    "plural": (
        "The plural of {x} is",
        "One {x}, but many",
        "First there was a single {x}, and now there are three",
        "If you have more than one {x}, you have several",
        "Nobody has a {x} here, but our neighbours have two",
    ),
    "past": (
        "The past tense of {x} is",
        "Today they {x}, and yesterday they",
        "You often {x}, and last year you also",
        "We do not {x} now, but long ago we",
        "People who {x} every week say that last week they",
    ),
    "capital": (
        "The capital of {x} is",
        "{x} has its capital in",
        "The main city of {x}, where its government sits, is",
        "On a map of {x}, a star marks the capital, which is called",
        "Every child who grows up in {x} learns that the capital is",
    ),
    "kind": (
        "{ax} is a kind of",
        "The word {x} names some kind of",
        "Whoever draws {ax} draws some sort of",
        "If you know what {ax} is, you know at least one",
        "In a list of words, {x} belongs under the heading",
    ),
    "tool": (
        "To {x}, you use a",
        "The right thing to {x} with is a",
        "Whoever wants to {x} should look for a",
        "She had to {x}, so she asked for a",
        "It is hard to {x} unless you have a",
        "People mostly {x} with a",
    ),
    "colour": (
        "The usual colour of {x} is",
        "If you paint {x}, you need paint that is",
        "In most picture books {x} is coloured",
        "Ask anyone for the colour of {x}, and the answer is",
    ),
    "young": (
        "A young {x} is called a",
        "A baby {x} is known as a",
        "The mother was a {x}, and beside her lay her little",
        "The word for a {x} that is not yet grown up is",
        "Before it was a big {x}, it was a small",
    ),
}

_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday Monday"
_MONTHS = (
    "January February March April May June July August September October November December January"
)
_LETTERS = "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z"
_NUMBERS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
)


def other_answers(fact: Fact) -> list[str]:
    """Wrong answers of the same kind, in alphabetical order."""
    return sorted(_ANSWERS[fact.family] - {fact.answer, fact.subject})


def _facts(kind: str, level: int, table: str) -> list[Fact]:
    """Facts of a table such as ``hot: cold, up: down``."""
    pairs = (entry.split(": ") for entry in table.split(", "))
    return [Fact(kind, kind, subject, answer, level) for subject, answer in pairs]


def _both_ways(level: int, table: str) -> list[Fact]:
    """Opposites of which each is the other's."""
    facts = _facts("opposite", level, table)
    return facts + [Fact("opposite", "opposite", f.answer, f.subject, level) for f in facts]


def _sequence(thing: str, level: int, names: str) -> list[Fact]:
    """What comes after and before each name."""
    steps = list(pairwise(names.split()))
    after = [Fact("sequence", f"{thing} after", a, b, level) for a, b in steps]
    return after + [Fact("sequence", f"{thing} before", b, a, level + 1) for a, b in steps]


FACTS: tuple[Fact, ...] = (
    *_both_ways(
        1,
        "hot: cold, up: down, happy: sad, big: small, day: night, open: closed, full: empty, "
        "clean: dirty, fast: slow, good: bad, early: late, inside: outside",
    ),
    *_both_ways(
        2,
        "rich: poor, strong: weak, true: false, wet: dry, loud: quiet, first: last, "
        "always: never, arrival: departure, thick: thin, alive: dead, war: peace, awake: asleep",
    ),
    *_both_ways(
        3,
        "ancient: modern, victory: defeat, guilty: innocent, shallow: deep, public: private, "
        "maximum: minimum, generous: stingy, horizontal: vertical",
    ),
    *_facts("opposite", 2, "heavy: light, sharp: blunt, love: hate, push: pull, tight: loose"),
    *_sequence("day", 1, _DAYS),
    *_sequence("month", 2, _MONTHS),
    *_sequence("letter", 2, _LETTERS),
    *_sequence("number", 1, _NUMBERS),
    *_facts(
        "plural",
        1,
        "dog: dogs, table: tables, book: books, river: rivers, window: windows, garden: gardens, "
        "house: houses, tree: trees, lamp: lamps, road: roads",
    ),
    *_facts(
        "plural",
        2,
        "box: boxes, city: cities, bus: buses, baby: babies, church: churches, story: stories, "
        "knife: knives, leaf: leaves, wolf: wolves, shelf: shelves, potato: potatoes, "
        "lady: ladies",
    ),
    *_facts(
        "plural",
        3,
        "mouse: mice, child: children, foot: feet, tooth: teeth, man: men, woman: women, "
        "goose: geese, crisis: crises, phenomenon: phenomena, person: people",
    ),
    *_facts(
        "past",
        1,
        "walk: walked, play: played, talk: talked, help: helped, jump: jumped, cook: cooked, "
        "wash: washed, laugh: laughed, wait: waited, dance: danced",
    ),
    *_facts(
        "past",
        2,
        "go: went, see: saw, eat: ate, run: ran, write: wrote, take: took, give: gave, "
        "come: came, sing: sang, drink: drank, speak: spoke, sleep: slept, sit: sat, "
        "stand: stood, buy: bought, think: thought, find: found, leave: left, pay: paid, "
        "tell: told",
    ),
    *_facts(
        "past",
        3,
        "swim: swam, begin: began, fly: flew, grow: grew, throw: threw, drive: drove, ride: rode, "
        "break: broke, choose: chose, bring: brought, teach: taught, catch: caught, hold: held, "
        "sell: sold, build: built, send: sent, forget: forgot, hide: hid",
    ),
    *_facts(
        "capital",
        2,
        "France: Paris, Italy: Rome, Spain: Madrid, Germany: Berlin, Japan: Tokyo, "
        "Russia: Moscow, Egypt: Cairo, Greece: Athens, England: London, Ireland: Dublin, "
        "Portugal: Lisbon, China: Beijing, Austria: Vienna",
    ),
    *_facts(
        "capital",
        3,
        "Poland: Warsaw, Sweden: Stockholm, Norway: Oslo, Denmark: Copenhagen, Cuba: Havana, "
        "Turkey: Ankara, Canada: Ottawa, Hungary: Budapest, Finland: Helsinki, Peru: Lima, "
        "Kenya: Nairobi, Iran: Tehran, Iraq: Baghdad",
    ),
    *_facts(
        "kind",
        1,
        "rose: flower, tulip: flower, daisy: flower, banana: fruit, strawberry: fruit, "
        "carrot: vegetable, onion: vegetable, cabbage: vegetable, sparrow: bird, eagle: bird, "
        "robin: bird, trout: fish, herring: fish, salmon: fish, ant: insect, beetle: insect, "
        "bee: insect, poodle: dog, truck: vehicle, bus: vehicle, circle: shape, triangle: shape",
    ),
    *_facts(
        "kind",
        2,
        "oak: tree, birch: tree, willow: tree, moth: insect, violin: instrument, "
        "flute: instrument, trumpet: instrument, terrier: dog, beagle: dog, sandal: shoe, "
        "slipper: shoe, castle: building, cottage: building, barn: building, turnip: vegetable, "
        "lily: flower, crow: bird, van: vehicle",
    ),
    *_facts(
        "tool",
        2,
        "sweep the floor: broom, drive in a nail: hammer, dig a hole: spade, cut a plank: saw, "
        "tighten a bolt: wrench, open a locked door: key, eat soup: spoon, tell the time: clock, "
        "take a photograph: camera, brush your teeth: toothbrush, tidy your hair: comb, "
        "sew on a button: needle, draw a straight line: ruler, dry your hands: towel, "
        "boil water for tea: kettle, climb onto a roof: ladder, drive in a screw: screwdriver",
    ),
    *_facts(
        "tool",
        3,
        "measure a fever: thermometer, watch distant planets: telescope, "
        "look at tiny cells: microscope, find the way north: compass, weigh flour: scale, "
        "catch butterflies: net",
    ),
    *_facts(
        "colour",
        1,
        "a ripe banana: yellow, fresh snow: white, blood: red, healthy grass: green, "
        "the clear sky at noon: blue, coal: black, milk: white, a carrot: orange, "
        "chocolate: brown, a ripe strawberry: red, a lemon: yellow, spinach: green",
    ),
    *_facts(
        "colour",
        2,
        "a flamingo: pink, an elephant: grey, a raven: black, a polar bear: white, "
        "a pumpkin: orange, a fire engine: red, a cucumber: green, a sunflower: yellow",
    ),
    *_facts(
        "young",
        2,
        "dog: puppy, cat: kitten, cow: calf, horse: foal, sheep: lamb, pig: piglet, hen: chick, "
        "duck: duckling, lion: cub",
    ),
    *_facts("young", 3, "goose: gosling, deer: fawn, goat: kid, kangaroo: joey, swan: cygnet"),
)

_ANSWERS = {
    family: {fact.answer for fact in FACTS if fact.family == family}
    for family in sorted({fact.family for fact in FACTS})
}
