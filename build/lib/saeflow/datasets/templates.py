"""Wording of the generated word problems: names, nouns, sentences, questions, stories.

All texts were written for this project. A problem tells of one running amount. The sentences
in ``Family.steps`` change that amount and keep what it means, so that they may follow each
other in any order; the ones in ``closings`` ask their own question and come last.

Placeholders: ``{a}`` and ``{b}`` are the numbers of a sentence, ``{calc}`` the worked
calculation, ``{obj}`` the plural noun that is counted, ``{extra}`` a second word bound to it
(a place, a shop or the singular of a unit); the others are the person's name and pronouns, a
relative (``{friend}``, in closings another one, ``{rival}``) and things for sale
(``{goods}``). Every number is a fraction or at least 2, so that plural nouns are right.
"""

import random
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Phrase:
    """One calculation: how the question tells it and how the answer works it out.

    Attributes
    ----------
    operator : str
        ``+``, ``-``, ``*`` or ``/``.
    question : str
        Sentence without its first capital; without its full stop unless it asks a question.
    answer : str
        Answer sentence; empty where one of the family's own sentences fits.
    first, second : str
        What the operands are: ``factor`` (a small whole number), ``quantity`` (in the family's
        unit) or ``price`` (dollars, may be a fraction even where things are counted).
    swapped : bool
        True where the number told in the sentence is the left operand.
    whole : bool
        True where only a whole result makes sense.
    """

    operator: str
    question: str
    answer: str = ""
    first: str = "quantity"
    second: str = "quantity"
    swapped: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Bundle:
    """Two calculations told in one sentence: a fresh pair, combined with the running amount."""

    inner: Phrase
    outer_operator: str


@dataclass(frozen=True)
class Family:
    """Sentences shared by scenarios whose running amount behaves alike."""

    measured: bool
    steps: tuple[Phrase, ...]
    closings: tuple[Phrase, ...]
    bundles: tuple[Bundle, ...]
    answers: dict[str, tuple[str, ...]]
    endings: tuple[str, ...]


@dataclass(frozen=True)
class Scenario:
    """A setting: its nouns, its first sentences and whatever only makes sense there."""

    family: Family
    things: tuple[tuple[str, str], ...]
    openings: tuple[str, ...]
    pairs: tuple[Phrase, ...]
    closings: tuple[Phrase, ...] = ()
    steps: tuple[Phrase, ...] = ()
    endings: tuple[str, ...] = ()

    @cached_property
    def steps_by_operator(self) -> dict[str, tuple[Phrase, ...]]:
        """Sentences of the family and of this scenario, by what they calculate."""
        return _by_operator(self.family.steps + self.steps)

    @cached_property
    def closings_by_operator(self) -> dict[str, tuple[Phrase, ...]]:
        """Last sentences of the family and of this scenario, by what they calculate."""
        return _by_operator(self.family.closings + self.closings)

    @cached_property
    def priced_closings_by_operator(self) -> dict[str, tuple[Phrase, ...]]:
        """Last sentences that tell a price, by what they calculate."""
        closings = self.family.closings + self.closings
        return _by_operator(tuple(p for p in closings if p.second == "price"))


def _by_operator(phrases: tuple[Phrase, ...]) -> dict[str, tuple[Phrase, ...]]:
    pools = {operator: tuple(p for p in phrases if p.operator == operator) for operator in "+-*/"}
    return {operator: pool for operator, pool in pools.items() if pool}


def _add(question: str, answer: str = "") -> Phrase:
    return Phrase("+", question, answer)


def _subtract(question: str, answer: str = "") -> Phrase:
    return Phrase("-", question, answer)


def _multiply(question: str, answer: str = "") -> Phrase:
    return Phrase("*", question, answer, second="factor")


def _divide(question: str, answer: str = "") -> Phrase:
    return Phrase("/", question, answer, second="factor")


def _packs(question: str, answer: str, second: str = "quantity") -> Phrase:
    return Phrase("*", question, answer, first="factor", second=second)


def _priced(question: str, answer: str) -> Phrase:
    return Phrase("*", question, answer, second="price")


def _measure_out(question: str, answer: str, second: str = "quantity") -> Phrase:
    return Phrase("/", question, answer, second=second, whole=True)


def _missing(question: str, answer: str) -> Phrase:
    return Phrase("-", question, answer, swapped=True)


def _ratio(question: str, answer: str) -> Phrase:
    return Phrase("/", question, answer, swapped=True, whole=True)


HER_NAMES = (
    "Ada", "Amara", "Anika", "Beatriz", "Chloe", "Dalia", "Elena", "Esther", "Farah", "Greta",
    "Hana", "Ines", "Ivy", "Jolene", "Kavya", "Leila", "Lucia", "Maren", "Mei", "Nadia", "Noor",
    "Olive", "Petra", "Priya", "Quinn", "Rosa", "Sana", "Selma", "Tamsin", "Uma", "Vera",
    "Wanda", "Yara", "Zoe",
)  # fmt: skip
HIS_NAMES = (
    "Abel", "Ahmed", "Arjun", "Bruno", "Caleb", "Chen", "Dario", "Edgar", "Emil", "Felix",
    "Gustav", "Hugo", "Idris", "Ivan", "Jonas", "Kenji", "Kwame", "Lars", "Luis", "Malik",
    "Marco", "Nils", "Omar", "Oscar", "Pavel", "Rafael", "Rohan", "Samir", "Stefan", "Theo",
    "Tomas", "Viktor", "Xavier", "Yusuf",
)  # fmt: skip
_SHE = {"he": "she", "his": "her", "him": "her", "himself": "herself"}
_HE = {"he": "he", "his": "his", "him": "him", "himself": "himself"}
FRIENDS = ("sister", "brother", "aunt", "uncle", "cousin", "grandmother", "grandfather", "friend")
GOODS = (
    "candles", "mugs", "posters", "bracelets", "scarves", "birdhouses", "postcards", "baskets",
    "keyrings", "picture frames", "bookmarks", "kites",
)  # fmt: skip
CONNECTORS = ("", "", "", "Then ", "Next, ", "After that, ", "Later, ", "A little later, ")

_OWNER = Family(
    measured=False,
    steps=(
        _add("{his} {friend} gives {him} {b} more {obj}"),
        _add("{he} gets {b} more {obj} from {his} {friend}"),
        _add("{he} adds another {b} {obj}"),
        _add("{he} swaps an old book for {b} more {obj}"),
        _subtract("{he} gives {b} {obj} to {his} {friend}"),
        _subtract("{he} loses {b} of the {obj}"),
        _subtract("{his} {friend} takes {b} of the {obj}"),
        _subtract("{he} hands out {b} {obj} to the neighbors"),
        _multiply("{he} gets more of them and has {b} times as many {obj} as before"),
        _multiply("the number of {obj} that {he} has grows to {b} times what it was"),
        _multiply("{his} {friend} brings so many {obj} that the number is multiplied by {b}"),
        _divide("{he} puts the {obj} into {b} equal bags and keeps only one of the bags"),
        _divide("{he} shares the {obj} equally among {b} people, counting {himself}"),
        _divide("{he} makes {b} equal piles of the {obj} and gives away all piles but one"),
    ),
    closings=(
        _add(
            "{his} {rival} has {b} {obj}. "
            "How many {obj} do {name} and {his} {rival} have together?",
            "Together they have {calc} {obj}.",
        ),
        _add(
            "{his} {rival} has {b} more {obj} than {name} has now. "
            "How many {obj} does {his} {rival} have?",
            "The {rival} has {calc} {obj}.",
        ),
        _subtract(
            "{his} {rival} has {b} fewer {obj} than {name} has now. "
            "How many {obj} does {his} {rival} have?",
            "The {rival} has {calc} {obj}.",
        ),
        _missing(
            "{he} wants to have {b} {obj} in the end. How many more {obj} does {name} need?",
            "{name} still needs {calc} {obj}.",
        ),
        _multiply(
            "{his} {rival} has {b} times as many {obj} as {name} has now. "
            "How many {obj} does {his} {rival} have?",
            "The {rival} has {calc} {obj}.",
        ),
        _priced(
            "{he} sells all of these {obj} for ${b} each. How many dollars does {name} get?",
            "{name} gets {calc} dollars.",
        ),
        _priced(
            "at a shop, each of these {obj} would cost ${b}. "
            "How many dollars would they cost in total?",
            "They would cost {calc} dollars.",
        ),
        _divide(
            "{he} divides these {obj} equally among {b} children. How many does each child get?",
            "Each child gets {calc} {obj}.",
        ),
        _measure_out(
            "{he} packs these {obj} into boxes that hold {b} {obj} each. "
            "How many boxes does {name} fill?",
            "{name} fills {calc} boxes.",
        ),
        _ratio(
            "{his} {rival} has {b} {obj}. How many times as many {obj} as {name} is that?",
            "The {rival} has {calc} times as many {obj}.",
        ),
    ),
    bundles=(
        Bundle(
            _packs("{he} buys {a} packs with {b} {obj} each", "The packs hold {calc} {obj}."), "+"
        ),
        Bundle(
            _packs(
                "{he} gives {a} classmates {b} {obj} each",
                "The classmates get {calc} {obj} in total.",
            ),
            "-",
        ),
        Bundle(
            _add(
                "{he} gives {a} {obj} to {his} {friend} and {b} {obj} to a classmate",
                "{name} gives away {calc} {obj}.",
            ),
            "-",
        ),
        Bundle(
            _add(
                "{he} gets {a} {obj} from {his} {friend} and {b} {obj} from a classmate",
                "{name} gets {calc} new {obj}.",
            ),
            "+",
        ),
        Bundle(
            _divide(
                "a teacher shares {a} other {obj} equally among {b} children, one of them {name}",
                "From the teacher {name} gets {calc} {obj}.",
            ),
            "+",
        ),
        Bundle(
            _subtract(
                "{his} {friend} takes out {a} other {obj}, keeps {b} of them "
                "and gives the rest to {name}",
                "The {friend} gives {name} {calc} {obj}.",
            ),
            "+",
        ),
    ),
    answers={
        "+": (
            "{name} now has {calc} {obj}.",
            "That makes {calc} {obj}.",
            "The number of {obj} rises to {calc}.",
        ),
        "-": (
            "{name} has {calc} {obj} left.",
            "That leaves {calc} {obj}.",
            "The number of {obj} falls to {calc}.",
        ),
        "*": (
            "{name} now has {calc} {obj}.",
            "That makes {calc} {obj}.",
            "The number of {obj} grows to {calc}.",
        ),
        "/": (
            "{name} keeps {calc} {obj}.",
            "One part holds {calc} {obj}.",
            "So {name} has {calc} {obj} left.",
        ),
    },
    endings=(
        "How many {obj} does {name} have now?",
        "How many {obj} does {name} have in the end?",
        "What number of {obj} does {name} have then?",
        "Find the number of {obj} that {name} has at the end.",
    ),
)

_PLACE = Family(
    measured=False,
    steps=(
        _add("{b} more {obj} arrive"),
        _add("another {b} {obj} come along"),
        _add("a group of {b} {obj} joins the others"),
        _subtract("{b} of the {obj} leave"),
        _subtract("{b} {obj} go away"),
        _subtract("a group of {b} {obj} moves on"),
        _multiply("more of them come, and soon there are {b} times as many {obj}"),
        _multiply("the number of {obj} {extra} grows to {b} times what it was"),
        _multiply("so many {obj} join in that their number is multiplied by {b}"),
        _divide("the {obj} split into {b} equal groups, and only one group stays"),
        _divide("the {obj} form {b} groups of the same size, and all groups but one leave"),
        _divide("the {obj} gather in {b} equal rows, and only the first row remains"),
    ),
    closings=(
        _add(
            "at another place there are {b} {obj}. How many {obj} are there at both places?",
            "At both places there are {calc} {obj}.",
        ),
        _missing(
            "there is room for {b} {obj} {extra}. How many more {obj} could come?",
            "There is room for {calc} more {obj}.",
        ),
        _subtract(
            "yesterday there were {b} fewer {obj} {extra}. How many {obj} were there yesterday?",
            "Yesterday there were {calc} {obj}.",
        ),
        _multiply(
            "on the next day there are {b} times as many {obj}. How many {obj} are there then?",
            "On the next day there are {calc} {obj}.",
        ),
        _divide(
            "they form {b} equal groups. How many {obj} are in each group?",
            "Each group has {calc} {obj}.",
        ),
        _ratio(
            "on the next day there are {b} {obj} {extra}. How many times as many {obj} is that?",
            "That is {calc} times as many {obj}.",
        ),
    ),
    bundles=(
        Bundle(_packs("{a} groups of {b} {obj} arrive", "The groups bring {calc} {obj}."), "+"),
        Bundle(_packs("{a} groups of {b} {obj} leave", "In all, {calc} {obj} leave."), "-"),
        Bundle(
            _add(
                "{a} {obj} come from the north and {b} {obj} from the south",
                "In all, {calc} {obj} come.",
            ),
            "+",
        ),
        Bundle(
            _add(
                "{a} {obj} leave at noon and {b} {obj} in the evening",
                "In all, {calc} {obj} leave.",
            ),
            "-",
        ),
        Bundle(
            _subtract(
                "a group of {a} other {obj} comes near, but {b} of them turn back",
                "Of that group, {calc} {obj} come.",
            ),
            "+",
        ),
        Bundle(
            _divide(
                "{a} other {obj} split up evenly to go to {b} places, and this is one of them",
                "From there come {calc} {obj}.",
            ),
            "+",
        ),
    ),
    answers={
        "+": (
            "Now there are {calc} {obj}.",
            "That makes {calc} {obj}.",
            "The total is {calc} {obj}.",
        ),
        "-": (
            "That leaves {calc} {obj}.",
            "There are {calc} {obj} left.",
            "So {calc} {obj} remain.",
        ),
        "*": (
            "Now there are {calc} {obj}.",
            "That makes {calc} {obj}.",
            "Their number grows to {calc} {obj}.",
        ),
        "/": (
            "One part has {calc} {obj}.",
            "There are {calc} {obj} left.",
            "So {calc} {obj} remain.",
        ),
    },
    endings=(
        "How many {obj} are there {extra} now?",
        "How many {obj} are {extra} in the end?",
        "How many {obj} are left {extra} after all this?",
        "Find the number of {obj} {extra} at the end.",
    ),
)

_MONEY = Family(
    measured=True,
    steps=(
        _add("{his} {friend} gives {him} ${b}"),
        _add("{he} earns ${b} by washing cars"),
        _add("{he} finds ${b} in an old coat"),
        _add("{he} sells an old game for ${b}"),
        _subtract("{he} spends ${b} on lunch"),
        _subtract("{he} pays ${b} for a ticket"),
        _subtract("{he} buys a book for ${b}"),
        _subtract("{he} gives ${b} to {his} {friend}"),
        _multiply("{he} saves on until {he} has {b} times as much money"),
        _multiply("{his} {friend} adds enough to make it {b} times as much money"),
        _multiply("a lucky draw multiplies {his} money by {b}"),
        _divide("{he} divides the money into {b} equal parts and keeps only one part"),
        _divide("{he} shares the money equally among {b} people, counting {himself}"),
        _divide("{he} splits the money evenly into {b} envelopes and donates all but one of them"),
    ),
    closings=(
        _add(
            "{his} {rival} has ${b}. How many dollars do {name} and {his} {rival} have together?",
            "Together they have {calc} dollars.",
        ),
        _subtract(
            "{his} {rival} has ${b} less than {name} has now. "
            "How many dollars does {his} {rival} have?",
            "The {rival} has {calc} dollars.",
        ),
        _missing(
            "a tent costs ${b}. How many more dollars does {name} need to buy it?",
            "{name} still needs {calc} dollars.",
        ),
        _multiply(
            "{his} {rival} has {b} times as much money as {name} has now. "
            "How many dollars does {his} {rival} have?",
            "The {rival} has {calc} dollars.",
        ),
        _divide(
            "{he} puts the money into {b} jars, the same amount in each. "
            "How many dollars are in each jar?",
            "Each jar holds {calc} dollars.",
        ),
        _measure_out(
            "{he} spends all the money on {goods} that cost ${b} each. "
            "How many {goods} does {name} buy?",
            "{name} buys {calc} {goods}.",
            second="price",
        ),
        _ratio(
            "{his} {rival} has ${b}. How many times as much money as {name} has is that?",
            "The {rival} has {calc} times as much money.",
        ),
    ),
    bundles=(
        Bundle(
            _packs(
                "{he} buys {a} {goods} for ${b} each", "The {goods} cost {calc} dollars.", "price"
            ),
            "-",
        ),
        Bundle(
            _packs(
                "{he} sells {a} {goods} for ${b} each",
                "The {goods} bring in {calc} dollars.",
                "price",
            ),
            "+",
        ),
        Bundle(
            _add("{he} spends ${a} on bread and ${b} on cheese", "The food costs {calc} dollars."),
            "-",
        ),
        Bundle(
            _add(
                "{he} gets ${a} from {his} {friend} and ${b} from a neighbor",
                "{name} gets {calc} dollars.",
            ),
            "+",
        ),
        Bundle(
            _subtract(
                "{he} buys a coat that costs ${a}, but has a coupon that takes ${b} off the price",
                "With the coupon the coat costs {calc} dollars.",
            ),
            "-",
        ),
        Bundle(
            _divide(
                "{he} eats with some friends, and a bill of ${a} is split evenly by {b} people, "
                "one of them {name}",
                "The share of {name} is {calc} dollars.",
            ),
            "-",
        ),
    ),
    answers={
        "+": (
            "{name} now has {calc} dollars.",
            "That makes {calc} dollars.",
            "The money grows to {calc} dollars.",
        ),
        "-": (
            "{name} has {calc} dollars left.",
            "That leaves {calc} dollars.",
            "The money shrinks to {calc} dollars.",
        ),
        "*": (
            "{name} now has {calc} dollars.",
            "That makes {calc} dollars.",
            "The money grows to {calc} dollars.",
        ),
        "/": (
            "{name} keeps {calc} dollars.",
            "One part is {calc} dollars.",
            "So {name} has {calc} dollars left.",
        ),
    },
    endings=(
        "How many dollars does {name} have now?",
        "How much money, in dollars, does {name} have in the end?",
        "How many dollars does that leave {name} with?",
        "Find the number of dollars that {name} has at the end.",
    ),
)

_MATERIAL = Family(
    measured=True,
    steps=(
        _add("{he} buys {b} more {obj}"),
        _add("{his} {friend} brings {b} more {obj}"),
        _add("{he} finds another {b} {obj} in the shed"),
        _subtract("{he} uses up {b} {obj}"),
        _subtract("{he} gives {b} {obj} to {his} {friend}"),
        _subtract("{he} sells {b} {obj}"),
        _multiply("{he} orders enough to have {b} times as much"),
        _multiply("a delivery makes {his} supply {b} times as large"),
        _multiply("{he} builds up the supply until it is {b} times what it was"),
        _divide("{he} splits the supply into {b} equal parts and keeps only one part"),
        _divide("{he} divides the supply into {b} equal portions and sells all portions but one"),
        _divide("{he} shares the supply equally among {b} people, counting {himself}"),
    ),
    closings=(
        _add(
            "{his} {rival} has {b} {obj}. "
            "How many {obj} do {name} and {his} {rival} have together?",
            "Together they have {calc} {obj}.",
        ),
        _missing(
            "{he} needs {b} {obj} for a big party. How many {obj} are missing?",
            "There are {calc} {obj} missing.",
        ),
        _subtract(
            "{his} {rival} has {b} {obj} less than {name} has now. "
            "How many {obj} does {his} {rival} have?",
            "The {rival} has {calc} {obj}.",
        ),
        _multiply(
            "{his} {rival} has {b} times as much as {name} has now. "
            "How many {obj} does {his} {rival} have?",
            "The {rival} has {calc} {obj}.",
        ),
        _priced(
            "{he} sells all of it for ${b} per {extra}. How many dollars does {name} get?",
            "{name} gets {calc} dollars.",
        ),
        _divide(
            "{he} uses the same amount on each of {b} days until nothing is left. "
            "How many {obj} does {name} use per day?",
            "On each day {name} uses {calc} {obj}.",
        ),
        _measure_out(
            "{he} uses {b} {obj} per day. After how many days is nothing left?",
            "The supply lasts for {calc} days.",
        ),
    ),
    bundles=(
        Bundle(
            _packs("{he} buys {a} packages with {b} {obj} each", "The packages hold {calc} {obj}."),
            "+",
        ),
        Bundle(
            _packs(
                "on each of {a} days {he} uses {b} {obj}", "In these days {name} uses {calc} {obj}."
            ),
            "-",
        ),
        Bundle(
            _add(
                "{he} uses {a} {obj} in the morning and {b} {obj} in the afternoon",
                "On that day {name} uses {calc} {obj}.",
            ),
            "-",
        ),
        Bundle(
            _subtract(
                "{his} {friend} has {a} {obj}, uses {b} {obj} and gives the rest to {name}",
                "The {friend} gives {name} {calc} {obj}.",
            ),
            "+",
        ),
        Bundle(
            _divide(
                "a club shares out {a} {obj} equally among {b} members, one of them {name}",
                "From the club {name} gets {calc} {obj}.",
            ),
            "+",
        ),
    ),
    answers={
        "+": (
            "{name} now has {calc} {obj}.",
            "That makes {calc} {obj}.",
            "The supply grows to {calc} {obj}.",
        ),
        "-": (
            "{name} has {calc} {obj} left.",
            "That leaves {calc} {obj}.",
            "The supply shrinks to {calc} {obj}.",
        ),
        "*": (
            "{name} now has {calc} {obj}.",
            "That makes {calc} {obj}.",
            "The supply grows to {calc} {obj}.",
        ),
        "/": (
            "{name} keeps {calc} {obj}.",
            "One part is {calc} {obj}.",
            "So {name} has {calc} {obj} left.",
        ),
    },
    endings=(
        "How many {obj} does {name} have now?",
        "How many {obj} does {name} have in the end?",
        "How many {obj} make up the supply then?",
        "Find the number of {obj} that {name} has at the end.",
    ),
)

_PLAN = Family(
    measured=True,
    steps=(
        _add("{he} adds {b} more {obj} to the plan"),
        _add("{his} {friend} talks {him} into {b} more {obj}"),
        _add("{he} makes room for another {b} {obj}"),
        _subtract("{he} crosses {b} {obj} off the plan"),
        _subtract("{his} {friend} asks {him} to leave out {b} {obj}"),
        _subtract("a busy weekend makes {him} drop {b} {obj}"),
        _multiply("{he} makes the plan {b} times as long"),
        _multiply("a new goal raises the total to {b} times what it was"),
        _multiply("{he} feels strong and decides to do {b} times as much"),
        _divide("{he} cuts the plan into {b} equal parts and keeps only one part"),
        _divide("{he} shares the plan equally among {b} people, counting {himself}"),
        _divide("{he} spreads the plan evenly over {b} weeks and then looks at one week only"),
    ),
    closings=(
        _add(
            "{his} {rival} plans {b} {obj}. "
            "How many {obj} do {name} and {his} {rival} plan together?",
            "Together they plan {calc} {obj}.",
        ),
        _missing(
            "to win a medal, {he} must do {b} {obj}. By how many {obj} does the plan fall short?",
            "The plan falls short by {calc} {obj}.",
        ),
        _subtract(
            "{his} {rival} plans {b} {obj} less than {name} does now. "
            "How many {obj} does {his} {rival} plan?",
            "The {rival} plans {calc} {obj}.",
        ),
        _multiply(
            "{his} {rival} plans {b} times as much as {name} does now. "
            "How many {obj} does {his} {rival} plan?",
            "The {rival} plans {calc} {obj}.",
        ),
        _priced(
            "a sponsor gives the school ${b} for each {extra} of the plan. "
            "How many dollars does the school get?",
            "The school gets {calc} dollars.",
        ),
        _divide(
            "{he} does the same amount on each of {b} days to complete the plan. "
            "How many {obj} does {name} do per day?",
            "On each day {name} does {calc} {obj}.",
        ),
        _measure_out(
            "{he} does {b} {obj} per day. How many days does {name} need for the whole plan?",
            "{name} needs {calc} days.",
        ),
    ),
    bundles=(
        Bundle(
            _packs("{he} adds {a} days with {b} {obj} each", "The new days add {calc} {obj}."), "+"
        ),
        Bundle(
            _packs(
                "{he} cancels {a} days with {b} {obj} each", "The canceled days hold {calc} {obj}."
            ),
            "-",
        ),
        Bundle(
            _add(
                "{he} adds {a} {obj} on a Saturday and {b} {obj} on a Sunday",
                "The weekend adds {calc} {obj}.",
            ),
            "+",
        ),
        Bundle(
            _add(
                "{he} drops {a} {obj} in the first week and {b} {obj} in the second",
                "{name} drops {calc} {obj}.",
            ),
            "-",
        ),
        Bundle(
            _divide(
                "a team of {b} people takes on {a} extra {obj} in equal shares, "
                "and {name} adds one share to the plan",
                "One share is {calc} {obj}.",
            ),
            "+",
        ),
    ),
    answers={
        "+": (
            "The plan grows to {calc} {obj}.",
            "That makes {calc} {obj}.",
            "{name} now plans {calc} {obj}.",
        ),
        "-": (
            "The plan shrinks to {calc} {obj}.",
            "That leaves {calc} {obj}.",
            "{name} now plans {calc} {obj}.",
        ),
        "*": (
            "The plan grows to {calc} {obj}.",
            "That makes {calc} {obj}.",
            "{name} now plans {calc} {obj}.",
        ),
        "/": (
            "One part is {calc} {obj}.",
            "That leaves {calc} {obj}.",
            "{name} is left with {calc} {obj}.",
        ),
    },
    endings=(
        "How many {obj} does the plan hold now?",
        "How many {obj} are left for {name} to do?",
        "How many {obj} does {name} do in the end?",
        "Find the number of {obj} that {name} plans at the end.",
    ),
)

_SCORE = Family(
    measured=False,
    steps=(
        _add("{he} wins {b} {obj} in a quiz"),
        _add("{he} picks up a bonus of {b} {obj}"),
        _add("{his} {friend} passes {b} {obj} on to {him}"),
        _subtract("{he} loses {b} {obj} for a wrong answer"),
        _subtract("{he} spends {b} {obj} on a hint"),
        _subtract("a penalty costs {him} {b} {obj}"),
        _multiply("a lucky card multiplies {his} {obj} by {b}"),
        _multiply("a golden wheel gives {him} {b} times as many {obj} as before"),
        _multiply("{he} reaches a level where the number of {obj} becomes {b} times what it was"),
        _divide("a trap divides {his} {obj} by {b}"),
        _divide(
            "an unlucky card makes {him} split {his} {obj} into {b} equal parts and keep one part"
        ),
        _divide("{he} shares {his} {obj} equally among {b} players, counting {himself}"),
    ),
    closings=(
        _add(
            "{his} {rival} has {b} {obj}. How many {obj} do the two players have together?",
            "Together they have {calc} {obj}.",
        ),
        _subtract(
            "{his} {rival} is {b} {obj} behind {name}. How many {obj} does {his} {rival} have?",
            "The {rival} has {calc} {obj}.",
        ),
        _add(
            "{his} {rival} is {b} {obj} ahead of {name}. How many {obj} does {his} {rival} have?",
            "The {rival} has {calc} {obj}.",
        ),
        _missing(
            "the record is {b} {obj}. How many {obj} does {name} need to match the record?",
            "{name} still needs {calc} {obj}.",
        ),
        _multiply(
            "{his} {rival} has {b} times as many {obj} as {name}. "
            "How many {obj} does {his} {rival} have?",
            "The {rival} has {calc} {obj}.",
        ),
        _measure_out(
            "{he} trades all of them for prizes that cost {b} {obj} each. "
            "How many prizes does {name} get?",
            "{name} gets {calc} prizes.",
        ),
        _ratio(
            "{his} {rival} has {b} {obj}. How many times as many {obj} as {name} is that?",
            "The {rival} has {calc} times as many {obj}.",
        ),
    ),
    bundles=(
        Bundle(
            _packs("{he} wins {a} rounds worth {b} {obj} each", "The rounds bring {calc} {obj}."),
            "+",
        ),
        Bundle(
            _packs(
                "{he} makes {a} mistakes that cost {b} {obj} each",
                "The mistakes cost {calc} {obj}.",
            ),
            "-",
        ),
        Bundle(
            _add(
                "{he} wins {a} {obj} in one round and {b} {obj} in another",
                "The two rounds bring {calc} {obj}.",
            ),
            "+",
        ),
        Bundle(
            _subtract(
                "{he} opens a chest with {a} {obj}, but must leave {b} of these {obj} behind",
                "From the chest {name} takes {calc} {obj}.",
            ),
            "+",
        ),
        Bundle(
            _divide(
                "a prize of {a} {obj} is shared equally by {b} players, one of them {name}",
                "One share of the prize is {calc} {obj}.",
            ),
            "+",
        ),
    ),
    answers={
        "+": (
            "{name} now has {calc} {obj}.",
            "That makes {calc} {obj}.",
            "The score rises to {calc} {obj}.",
        ),
        "-": (
            "{name} has {calc} {obj} left.",
            "That leaves {calc} {obj}.",
            "The score falls to {calc} {obj}.",
        ),
        "*": (
            "{name} now has {calc} {obj}.",
            "That makes {calc} {obj}.",
            "The score rises to {calc} {obj}.",
        ),
        "/": (
            "{name} keeps {calc} {obj}.",
            "That leaves {calc} {obj}.",
            "The score falls to {calc} {obj}.",
        ),
    },
    endings=(
        "How many {obj} does {name} have now?",
        "How many {obj} does {name} have in the end?",
        "With how many {obj} does {name} finish?",
        "Find the number of {obj} that {name} has at the end.",
    ),
)

_SHOP = Family(
    measured=False,
    steps=(
        _add("a truck delivers {b} more {obj}"),
        _add("the owner orders another {b} {obj}, which arrive at once"),
        _add("the staff unpack {b} more {obj}"),
        _subtract("customers buy {b} of the {obj}"),
        _subtract("the owner donates {b} {obj} to a school"),
        _subtract("{b} of the {obj} turn out to be damaged and are removed"),
        _multiply("a big delivery makes the stock {b} times as large"),
        _multiply("the owner buys until there are {b} times as many {obj}"),
        _multiply("before a holiday the number of {obj} is raised to {b} times what it was"),
        _divide("the {obj} are divided equally among {b} branches, and this one keeps one share"),
        _divide("the staff sort the {obj} into {b} equal lots and sell all lots but one"),
        _divide("the stock is put into {b} equal crates, and only one crate stays here"),
    ),
    closings=(
        _add(
            "a second {extra} has {b} {obj}. How many {obj} do the two of them have together?",
            "Together they have {calc} {obj}.",
        ),
        _missing(
            "a customer wants {b} {obj}. How many {obj} are missing?",
            "There are {calc} {obj} missing.",
        ),
        _subtract(
            "a second {extra} has {b} fewer {obj}. How many {obj} are there at the second {extra}?",
            "The second {extra} has {calc} {obj}.",
        ),
        _multiply(
            "a second {extra} has {b} times as many {obj}. "
            "How many {obj} does the second one have?",
            "The second {extra} has {calc} {obj}.",
        ),
        _priced(
            "all of these {obj} are sold for ${b} each. How many dollars does the {extra} take in?",
            "The {extra} takes in {calc} dollars.",
        ),
        _divide(
            "the staff arrange the {obj} evenly on {b} tables. How many {obj} are on each table?",
            "Each table holds {calc} {obj}.",
        ),
        _measure_out(
            "customers buy {b} of these {obj} per day. In how many days are all of them sold?",
            "They are sold in {calc} days.",
        ),
    ),
    bundles=(
        Bundle(
            _packs(
                "a truck brings {a} crates with {b} {obj} each", "The crates hold {calc} {obj}."
            ),
            "+",
        ),
        Bundle(
            _packs("{a} customers buy {b} {obj} each", "The customers buy {calc} {obj}."),
            "-",
        ),
        Bundle(
            _add(
                "{a} {obj} are sold in the morning and {b} {obj} in the afternoon",
                "On that day {calc} {obj} are sold.",
            ),
            "-",
        ),
        Bundle(
            _subtract(
                "a truck brings {a} new {obj}, but {b} of these are sent back",
                "Of the new {obj}, {calc} are kept.",
            ),
            "+",
        ),
        Bundle(
            _divide(
                "a load of {a} new {obj} is divided equally among {b} stores, "
                "one of them this {extra}",
                "One share of the load is {calc} {obj}.",
            ),
            "+",
        ),
    ),
    answers={
        "+": (
            "The stock grows to {calc} {obj}.",
            "That makes {calc} {obj}.",
            "Now there are {calc} {obj}.",
        ),
        "-": (
            "The stock shrinks to {calc} {obj}.",
            "That leaves {calc} {obj}.",
            "Now there are {calc} {obj}.",
        ),
        "*": (
            "The stock grows to {calc} {obj}.",
            "That makes {calc} {obj}.",
            "Now there are {calc} {obj}.",
        ),
        "/": ("One part is {calc} {obj}.", "That leaves {calc} {obj}.", "So {calc} {obj} remain."),
    },
    endings=(
        "How many {obj} does the {extra} have now?",
        "How many {obj} does the {extra} have in the end?",
        "How many {obj} are in stock then?",
        "Find the number of {obj} at the {extra} after all this.",
    ),
)


def _bare(*nouns: str) -> tuple[tuple[str, str], ...]:
    return tuple((noun, "") for noun in nouns)


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        family=_OWNER,
        things=_bare(
            "stickers", "stamps", "marbles", "trading cards", "shells", "coins", "buttons", "badges"
        ),
        openings=(
            "{name} has {a} {obj} in a collection.",
            "{name} collects {obj} and owns {a} of them.",
            "There are {a} {obj} in a tin that belongs to {name}.",
        ),
        pairs=(
            _packs("{name} fills {a} pages with {b} {obj} each", "The pages hold {calc} {obj}."),
            _add(
                "{name} keeps {a} {obj} in a red box and {b} {obj} in a blue box",
                "The two boxes hold {calc} {obj}.",
            ),
            _subtract(
                "{name} owned {a} {obj} but traded {b} of them away",
                "After the trade {calc} {obj} are left.",
            ),
            _divide(
                "a club hands out {a} {obj} equally to its {b} members, one of them {name}",
                "{name} gets {calc} {obj}.",
            ),
        ),
        endings=("How large is the collection of {obj} now?",),
    ),
    Scenario(
        family=_OWNER,
        things=_bare(
            "pencils", "erasers", "notebooks", "crayons", "markers", "rulers", "paper clips"
        ),
        openings=(
            "{name} brings {a} {obj} to school.",
            "On the desk of {name} there are {a} {obj}.",
            "{name} starts the school year with {a} {obj}.",
        ),
        pairs=(
            _packs("{name} buys {a} packs of {b} {obj}", "{name} buys {calc} {obj}."),
            _add(
                "{name} has {a} {obj} at home and {b} {obj} at school", "{name} has {calc} {obj}."
            ),
            _subtract(
                "out of {a} new {obj}, {name} has already used up {b}",
                "{name} has {calc} {obj} left.",
            ),
            _divide(
                "{name} and some classmates, {b} children in all, share {a} {obj} equally",
                "{name} gets {calc} {obj}.",
            ),
        ),
        endings=("How many {obj} are on the desk of {name} at the end?",),
    ),
    Scenario(
        family=_OWNER,
        things=_bare("cookies", "muffins", "rolls", "cupcakes", "waffles", "pretzels", "scones"),
        openings=(
            "{name} bakes {a} {obj}.",
            "For a party {name} makes {a} {obj}.",
            "{name} takes {a} {obj} out of the oven.",
        ),
        pairs=(
            _packs("{name} bakes {a} trays of {b} {obj}", "{name} bakes {calc} {obj}."),
            _add(
                "{name} bakes {a} {obj} in the morning and {b} {obj} at night",
                "{name} bakes {calc} {obj}.",
            ),
            _subtract(
                "{name} bakes {a} {obj} but burns {b} of them", "There are {calc} good {obj}."
            ),
            _divide(
                "{name} bakes {a} {obj}, sets out equal plates of them for {b} tables "
                "and takes one plate home",
                "The plate holds {calc} {obj}.",
            ),
        ),
        steps=(
            _add("{he} bakes {b} more {obj}"),
            _subtract("guests eat {b} of the {obj}"),
            _subtract("{he} eats {b} {obj} with {his} {friend}"),
        ),
        endings=("How many {obj} are there for {name} to serve?",),
    ),
    Scenario(
        family=_OWNER,
        things=_bare("apples", "pears", "plums", "lemons", "peaches", "oranges", "apricots"),
        openings=(
            "{name} picks {a} {obj} from a tree.",
            "{name} carries a basket with {a} {obj}.",
            "At the market {name} gets {a} {obj}.",
        ),
        pairs=(
            _packs(
                "{name} picks {b} {obj} from each of {a} trees", "From the trees come {calc} {obj}."
            ),
            _add(
                "{name} picks {a} {obj} on one day and {b} {obj} on the next",
                "{name} picks {calc} {obj}.",
            ),
            _subtract(
                "{name} picks {a} {obj}, but {b} of them are rotten", "There are {calc} good {obj}."
            ),
            _divide(
                "{a} {obj} from a garden are shared equally by {b} helpers, one of them {name}",
                "{name} gets {calc} {obj}.",
            ),
        ),
        steps=(
            _subtract("{he} makes jam out of {b} {obj}"),
            _add("{he} picks up {b} more {obj} from the ground"),
        ),
        endings=("How many {obj} are in the basket of {name} now?",),
    ),
    Scenario(
        family=_PLACE,
        things=(
            ("passengers", "on the train"),
            ("passengers", "on the ferry"),
            ("visitors", "in the museum"),
            ("visitors", "at the castle"),
            ("children", "in the playground"),
            ("children", "at the pool"),
            ("students", "in the library"),
            ("guests", "in the hotel"),
            ("dancers", "in the hall"),
        ),
        openings=(
            "There are {a} {obj} {extra}.",
            "In the morning {a} {obj} are {extra}.",
            "A guard counts {a} {obj} {extra}.",
        ),
        pairs=(
            _packs("{a} groups of {b} {obj} are {extra}", "The groups have {calc} {obj}."),
            _add(
                "there are {a} young {obj} and {b} older {obj} {extra}", "There are {calc} {obj}."
            ),
            _subtract(
                "of {a} {obj} who wanted to come, {b} stayed at home, and the rest are {extra}",
                "There are {calc} {obj}.",
            ),
            _divide(
                "{a} {obj} are split into {b} equal groups, and one group is {extra}",
                "The group has {calc} {obj}.",
            ),
        ),
        closings=(
            _priced(
                "each of them pays ${b}. How many dollars do they pay in total?",
                "They pay {calc} dollars.",
            ),
            _measure_out(
                "they sit down at tables for {b} people each and fill every seat. "
                "How many tables do the {obj} need?",
                "They need {calc} tables.",
            ),
        ),
    ),
    Scenario(
        family=_PLACE,
        things=(
            ("ducks", "on the lake"),
            ("frogs", "in the pond"),
            ("sheep", "in the meadow"),
            ("geese", "by the river"),
            ("crows", "in the field"),
            ("goats", "on the hill"),
            ("penguins", "on the shore"),
            ("deer", "in the clearing"),
        ),
        openings=(
            "There are {a} {obj} {extra}.",
            "Early in the day {a} {obj} are {extra}.",
            "A ranger counts {a} {obj} {extra}.",
        ),
        pairs=(
            _packs(
                "a ranger sees {a} groups of {b} {obj} {extra}", "The groups have {calc} {obj}."
            ),
            _add(
                "there are {a} brown {obj} and {b} white {obj} {extra}", "There are {calc} {obj}."
            ),
            _subtract(
                "{a} {obj} were {extra} last year, but this year there are {b} fewer",
                "This year there are {calc} {obj}.",
            ),
            _divide(
                "{a} {obj} form {b} groups of the same size, and one group is {extra}",
                "The group has {calc} {obj}.",
            ),
        ),
    ),
    Scenario(
        family=_PLACE,
        things=(
            ("boats", "in the harbor"),
            ("cars", "in the parking lot"),
            ("bicycles", "at the station"),
            ("trucks", "at the rest stop"),
            ("buses", "in the depot"),
            ("planes", "at the airfield"),
        ),
        openings=(
            "There are {a} {obj} {extra}.",
            "At sunrise {a} {obj} stand {extra}.",
            "A guard counts {a} {obj} {extra}.",
        ),
        pairs=(
            _packs("{a} rows of {b} {obj} are {extra}", "The rows have {calc} {obj}."),
            _add("there are {a} green {obj} and {b} gray {obj} {extra}", "There are {calc} {obj}."),
            _subtract(
                "{a} {obj} were {extra} yesterday, but today there are {b} fewer",
                "Today there are {calc} {obj}.",
            ),
            _divide(
                "{a} {obj} form {b} groups of the same size, and one group is {extra}",
                "The group has {calc} {obj}.",
            ),
        ),
        closings=(
            _priced(
                "a mechanic cleans each of them for ${b}. How many dollars does the cleaning cost?",
                "The cleaning costs {calc} dollars.",
            ),
        ),
    ),
    Scenario(
        family=_MONEY,
        things=_bare("dollars"),
        openings=(
            "{name} has ${a} in a piggy bank.",
            "{name} has saved ${a}.",
            "For {his} birthday {name} gets ${a}.",
        ),
        pairs=(
            _packs("{name} saves ${b} a week for {a} weeks", "{name} saves {calc} dollars."),
            _add("{name} has ${a} at home and ${b} in the bank", "{name} has {calc} dollars."),
            _subtract(
                "{name} goes out with ${a} and spends ${b} on fruit",
                "{name} has {calc} dollars left.",
            ),
            _divide(
                "a prize of ${a} is shared equally by {b} winners, one of them {name}",
                "{name} gets {calc} dollars.",
            ),
        ),
        endings=("How large are the savings of {name} now, in dollars?",),
    ),
    Scenario(
        family=_MONEY,
        things=_bare("dollars"),
        openings=(
            "{name} earns ${a} at a summer fair.",
            "At a flea market {name} takes in ${a}.",
            "{name} has ${a} in the cash box of a small stall.",
        ),
        pairs=(
            _packs(
                "{name} sells {a} {goods} for ${b} each", "{name} earns {calc} dollars.", "price"
            ),
            _packs(
                "{name} works {a} hours for ${b} an hour", "{name} earns {calc} dollars.", "price"
            ),
            _add(
                "{name} earns ${a} with {goods} and ${b} with lemonade",
                "{name} earns {calc} dollars.",
            ),
            _subtract(
                "{name} takes in ${a} at a stall but pays ${b} for the place",
                "{name} has {calc} dollars left.",
            ),
            _divide(
                "{b} friends, one of them {name}, run a stall and split the ${a} they earn evenly",
                "{name} gets {calc} dollars.",
            ),
        ),
        steps=(
            _add("{he} sells some {goods} and gets ${b}"),
            _subtract("{he} buys some {goods} for ${b}"),
        ),
    ),
    Scenario(
        family=_MATERIAL,
        things=(
            ("liters of juice", "liter"),
            ("liters of milk", "liter"),
            ("liters of soup", "liter"),
            ("liters of lemonade", "liter"),
            ("liters of tea", "liter"),
        ),
        openings=(
            "{name} has {a} {obj}.",
            "{name} prepares {a} {obj} for the guests.",
            "There are {a} {obj} in the kitchen of {name}.",
        ),
        pairs=(
            _packs("{name} fills {a} jugs with {b} {obj} each", "The jugs hold {calc} {obj}."),
            _add(
                "{name} has {a} {obj} in a can and {b} {obj} in a jug", "{name} has {calc} {obj}."
            ),
            _subtract(
                "{name} makes {a} {obj} but spills {b} {obj}", "{name} has {calc} {obj} left."
            ),
            _divide(
                "{name} pours {a} {obj} evenly into {b} pots and takes one pot",
                "The pot holds {calc} {obj}.",
            ),
        ),
        closings=(
            _measure_out(
                "{he} pours all of it into bottles that hold {b} {extra}s each. "
                "How many bottles does {name} fill?",
                "{name} fills {calc} bottles.",
            ),
        ),
        steps=(_subtract("{his} guests drink {b} {obj}"),),
    ),
    Scenario(
        family=_MATERIAL,
        things=(
            ("kilograms of flour", "kilogram"),
            ("kilograms of rice", "kilogram"),
            ("kilograms of honey", "kilogram"),
            ("kilograms of sugar", "kilogram"),
            ("kilograms of cheese", "kilogram"),
            ("pounds of nuts", "pound"),
        ),
        openings=(
            "{name} has {a} {obj}.",
            "{name} stores {a} {obj} in the pantry.",
            "{name} buys {a} {obj} for a bakery.",
        ),
        pairs=(
            _packs("{name} buys {a} tubs with {b} {obj} each", "The tubs hold {calc} {obj}."),
            _add("{name} buys {a} {obj} and is given {b} {obj}", "{name} has {calc} {obj}."),
            _subtract("{name} buys {a} {obj} and uses {b} {obj}", "{name} has {calc} {obj} left."),
            _divide(
                "{name} fills {b} tubs evenly with {a} {obj} and takes one tub",
                "The tub holds {calc} {obj}.",
            ),
        ),
        closings=(
            _measure_out(
                "{he} packs all of it into bags of {b} {extra}s each. "
                "How many bags does {name} fill?",
                "{name} fills {calc} bags.",
            ),
        ),
    ),
    Scenario(
        family=_MATERIAL,
        things=(
            ("meters of ribbon", "meter"),
            ("meters of rope", "meter"),
            ("meters of cloth", "meter"),
            ("meters of wire", "meter"),
            ("feet of yarn", "foot"),
        ),
        openings=(
            "{name} has {a} {obj}.",
            "{name} buys {a} {obj} for a craft project.",
            "In the workshop of {name} there are {a} {obj}.",
        ),
        pairs=(
            _packs("{name} buys {a} rolls with {b} {obj} each", "The rolls hold {calc} {obj}."),
            _add(
                "{name} has {a} {obj} on one reel and {b} {obj} on another",
                "{name} has {calc} {obj}.",
            ),
            _subtract(
                "{name} has {a} {obj} and cuts off {b} {obj} to sell",
                "{name} has {calc} {obj} left.",
            ),
            _divide(
                "{name} cuts {a} {obj} into {b} equal pieces and keeps one piece",
                "The piece measures {calc} {obj}.",
            ),
        ),
    ),
    Scenario(
        family=_PLAN,
        things=(
            ("kilometers of running", "kilometer"),
            ("kilometers of hiking", "kilometer"),
            ("miles of cycling", "mile"),
            ("kilometers of rowing", "kilometer"),
            ("laps of swimming", "lap"),
        ),
        openings=(
            "{name} plans {a} {obj} for this month.",
            "To get fit, {name} wants to do {a} {obj}.",
            "The training plan of {name} holds {a} {obj}.",
        ),
        pairs=(
            _packs("{name} plans {a} days with {b} {obj} each", "The plan holds {calc} {obj}."),
            _add(
                "{name} plans {a} {obj} for May and {b} {obj} for June",
                "The plan holds {calc} {obj}.",
            ),
            _subtract(
                "{name} plans {a} {obj} but has to leave out {b} {obj}",
                "The plan holds {calc} {obj}.",
            ),
            _divide(
                "a team of {b} people plans {a} {obj} in equal shares, one of them for {name}",
                "The share of {name} is {calc} {obj}.",
            ),
        ),
    ),
    Scenario(
        family=_PLAN,
        things=(
            ("minutes of piano practice", "minute"),
            ("minutes of reading", "minute"),
            ("hours of painting", "hour"),
            ("hours of gardening", "hour"),
            ("hours of choir practice", "hour"),
            ("minutes of yoga", "minute"),
        ),
        openings=(
            "{name} plans {a} {obj} for the holidays.",
            "In a calendar {name} sets aside {a} {obj}.",
            "{name} wants to fit in {a} {obj}.",
        ),
        pairs=(
            _packs("{name} plans {a} days with {b} {obj} each", "The plan holds {calc} {obj}."),
            _add(
                "{name} plans {a} {obj} this week and {b} {obj} next week",
                "The plan holds {calc} {obj}.",
            ),
            _subtract(
                "{name} plans {a} {obj} but has to leave out {b} {obj}",
                "The plan holds {calc} {obj}.",
            ),
            _divide(
                "{name} spreads {a} {obj} evenly over {b} weeks and looks at one week",
                "The week holds {calc} {obj}.",
            ),
        ),
    ),
    Scenario(
        family=_SCORE,
        things=_bare("points", "stars", "gems", "tokens"),
        openings=(
            "{name} starts a game with {a} {obj}.",
            "After the first round {name} has {a} {obj}.",
            "In a board game {name} holds {a} {obj}.",
        ),
        pairs=(
            _packs("{name} wins {a} rounds worth {b} {obj} each", "{name} wins {calc} {obj}."),
            _add(
                "{name} wins {a} {obj} at darts and {b} {obj} at chess", "{name} wins {calc} {obj}."
            ),
            _subtract("{name} wins {a} {obj} but loses {b} {obj}", "{name} has {calc} {obj} left."),
            _divide(
                "a team of {b} players, one of them {name}, wins {a} {obj} and shares them equally",
                "{name} gets {calc} {obj}.",
            ),
        ),
    ),
    Scenario(
        family=_SHOP,
        things=(
            ("novels", "bookshop"),
            ("comics", "bookshop"),
            ("maps", "bookshop"),
            ("puzzles", "toy store"),
            ("dolls", "toy store"),
            ("drums", "music store"),
            ("guitars", "music store"),
            ("helmets", "bike shop"),
            ("lamps", "hardware store"),
        ),
        openings=(
            "A {extra} has {a} {obj} on its shelves.",
            "A small {extra} opens with {a} {obj}.",
            "A clerk at a {extra} counts {a} {obj}.",
        ),
        pairs=(
            _packs(
                "a {extra} has {a} shelves with {b} {obj} each", "The shelves hold {calc} {obj}."
            ),
            _add("a {extra} has {a} new {obj} and {b} used {obj}", "The {extra} has {calc} {obj}."),
            _subtract(
                "a {extra} orders {a} {obj} and sells {b} of them", "That leaves {calc} {obj}."
            ),
            _divide(
                "{b} stores split {a} {obj} evenly, and a {extra} is one of them",
                "The {extra} gets {calc} {obj}.",
            ),
        ),
    ),
    Scenario(
        family=_SHOP,
        things=(
            ("roses", "flower stall"),
            ("tulips", "flower stall"),
            ("melons", "farm stand"),
            ("pumpkins", "farm stand"),
            ("bagels", "bakery"),
            ("pies", "bakery"),
            ("loaves", "bakery"),
            ("sunflowers", "garden center"),
        ),
        openings=(
            "A {extra} has {a} {obj} for sale.",
            "Early in the day a {extra} puts out {a} {obj}.",
            "At dawn the owner of a {extra} counts {a} {obj}.",
        ),
        pairs=(
            _packs(
                "a {extra} has {a} baskets with {b} {obj} each", "The baskets hold {calc} {obj}."
            ),
            _add(
                "a {extra} has {a} {obj} inside and {b} {obj} out in front",
                "The {extra} has {calc} {obj}.",
            ),
            _subtract(
                "a {extra} gets {a} {obj} in the morning and sells {b} by noon",
                "That leaves {calc} {obj}.",
            ),
            _divide(
                "{b} sellers split {a} {obj} evenly, and a {extra} is one of them",
                "The {extra} gets {calc} {obj}.",
            ),
        ),
        endings=("How many {obj} are there for the next customers of the {extra}?",),
    ),
)


class Story:
    """The text of one problem: a scenario, the words drawn for it and the sentences so far.

    Numbers come in as text; this class knows nothing of arithmetic.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.scenario = rng.choice(SCENARIOS)
        noun, extra = rng.choice(self.scenario.things)
        pronouns, names = rng.choice(((_SHE, HER_NAMES), (_HE, HIS_NAMES)))
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
