"""Points that are won and lost."""

from saeflow.datasets.wording.forms import (
    Bundle,
    Family,
    Scenario,
    add,
    bare,
    divide,
    measure_out,
    missing,
    multiply,
    packs,
    ratio,
    subtract,
)

FAMILY = Family(
    measured=False,
    steps=(
        add("{he} wins {b} {obj} in a quiz"),
        add("{he} picks up a bonus of {b} {obj}"),
        add("{his} {friend} passes {b} {obj} on to {him}"),
        subtract("{he} loses {b} {obj} for a wrong answer"),
        subtract("{he} spends {b} {obj} on a hint"),
        subtract("a penalty costs {him} {b} {obj}"),
        multiply("a lucky card multiplies {his} {obj} by {b}"),
        multiply("a golden wheel gives {him} {b} times as many {obj} as before"),
        multiply("{he} reaches a level where the number of {obj} becomes {b} times what it was"),
        divide("a trap divides {his} {obj} by {b}"),
        divide(
            "an unlucky card makes {him} split {his} {obj} into {b} equal parts and keep one part"
        ),
        divide("{he} shares {his} {obj} equally among {b} players, counting {himself}"),
    ),
    closings=(
        add(
            "{his} {rival} has {b} {obj}. How many {obj} do the two players have together?",
            "Together they have {calc} {obj}.",
        ),
        subtract(
            "{his} {rival} is {b} {obj} behind {name}. How many {obj} does {his} {rival} have?",
            "The {rival} has {calc} {obj}.",
        ),
        add(
            "{his} {rival} is {b} {obj} ahead of {name}. How many {obj} does {his} {rival} have?",
            "The {rival} has {calc} {obj}.",
        ),
        missing(
            "the record is {b} {obj}. How many {obj} does {name} need to match the record?",
            "{name} still needs {calc} {obj}.",
        ),
        multiply(
            "{his} {rival} has {b} times as many {obj} as {name}. "
            "How many {obj} does {his} {rival} have?",
            "The {rival} has {calc} {obj}.",
        ),
        measure_out(
            "{he} trades all of them for prizes that cost {b} {obj} each. "
            "How many prizes does {name} get?",
            "{name} gets {calc} prizes.",
        ),
        ratio(
            "{his} {rival} has {b} {obj}. How many times as many {obj} as {name} is that?",
            "The {rival} has {calc} times as many {obj}.",
        ),
    ),
    bundles=(
        Bundle(
            packs("{he} wins {a} rounds worth {b} {obj} each", "The rounds bring {calc} {obj}."),
            "+",
        ),
        Bundle(
            packs(
                "{he} makes {a} mistakes that cost {b} {obj} each",
                "The mistakes cost {calc} {obj}.",
            ),
            "-",
        ),
        Bundle(
            add(
                "{he} wins {a} {obj} in one round and {b} {obj} in another",
                "The two rounds bring {calc} {obj}.",
            ),
            "+",
        ),
        Bundle(
            subtract(
                "{he} opens a chest with {a} {obj}, but must leave {b} of these {obj} behind",
                "From the chest {name} takes {calc} {obj}.",
            ),
            "+",
        ),
        Bundle(
            divide(
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

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        family=FAMILY,
        things=bare("points", "stars", "gems", "tokens"),
        openings=(
            "{name} starts a game with {a} {obj}.",
            "After the first round {name} has {a} {obj}.",
            "In a board game {name} holds {a} {obj}.",
        ),
        pairs=(
            packs("{name} wins {a} rounds worth {b} {obj} each", "{name} wins {calc} {obj}."),
            add(
                "{name} wins {a} {obj} at darts and {b} {obj} at chess", "{name} wins {calc} {obj}."
            ),
            subtract("{name} wins {a} {obj} but loses {b} {obj}", "{name} has {calc} {obj} left."),
            divide(
                "a team of {b} players, one of them {name}, wins {a} {obj} and shares them equally",
                "{name} gets {calc} {obj}.",
            ),
        ),
    ),
)
