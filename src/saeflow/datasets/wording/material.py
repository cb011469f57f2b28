"""Stuff that is measured: lengths, weights, volumes."""

from saeflow.datasets.wording.forms import (
    Bundle,
    Family,
    Scenario,
    add,
    divide,
    measure_out,
    missing,
    multiply,
    packs,
    priced,
    subtract,
)

FAMILY = Family(
    measured=True,
    steps=(
        add("{he} buys {b} more {obj}"),
        add("{his} {friend} brings {b} more {obj}"),
        add("{he} finds another {b} {obj} in the shed"),
        subtract("{he} uses up {b} {obj}"),
        subtract("{he} gives {b} {obj} to {his} {friend}"),
        subtract("{he} sells {b} {obj}"),
        multiply("{he} orders enough to have {b} times as much"),
        multiply("a delivery makes {his} supply {b} times as large"),
        multiply("{he} builds up the supply until it is {b} times what it was"),
        divide("{he} splits the supply into {b} equal parts and keeps only one part"),
        divide("{he} divides the supply into {b} equal portions and sells all portions but one"),
        divide("{he} shares the supply equally among {b} people, counting {himself}"),
    ),
    closings=(
        add(
            "{his} {rival} has {b} {obj}. "
            "How many {obj} do {name} and {his} {rival} have together?",
            "Together they have {calc} {obj}.",
        ),
        missing(
            "{he} needs {b} {obj} for a big party. How many {obj} are missing?",
            "There are {calc} {obj} missing.",
        ),
        subtract(
            "{his} {rival} has {b} {obj} less than {name} has now. "
            "How many {obj} does {his} {rival} have?",
            "The {rival} has {calc} {obj}.",
        ),
        multiply(
            "{his} {rival} has {b} times as much as {name} has now. "
            "How many {obj} does {his} {rival} have?",
            "The {rival} has {calc} {obj}.",
        ),
        priced(
            "{he} sells all of it for ${b} per {extra}. How many dollars does {name} get?",
            "{name} gets {calc} dollars.",
        ),
        divide(
            "{he} uses the same amount on each of {b} days until nothing is left. "
            "How many {obj} does {name} use per day?",
            "On each day {name} uses {calc} {obj}.",
        ),
        measure_out(
            "{he} uses {b} {obj} per day. After how many days is nothing left?",
            "The supply lasts for {calc} days.",
        ),
    ),
    bundles=(
        Bundle(
            packs("{he} buys {a} packages with {b} {obj} each", "The packages hold {calc} {obj}."),
            "+",
        ),
        Bundle(
            packs(
                "on each of {a} days {he} uses {b} {obj}", "In these days {name} uses {calc} {obj}."
            ),
            "-",
        ),
        Bundle(
            add(
                "{he} uses {a} {obj} in the morning and {b} {obj} in the afternoon",
                "On that day {name} uses {calc} {obj}.",
            ),
            "-",
        ),
        Bundle(
            subtract(
                "{his} {friend} has {a} {obj}, uses {b} {obj} and gives the rest to {name}",
                "The {friend} gives {name} {calc} {obj}.",
            ),
            "+",
        ),
        Bundle(
            divide(
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

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        family=FAMILY,
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
            packs("{name} fills {a} jugs with {b} {obj} each", "The jugs hold {calc} {obj}."),
            add("{name} has {a} {obj} in a can and {b} {obj} in a jug", "{name} has {calc} {obj}."),
            subtract(
                "{name} makes {a} {obj} but spills {b} {obj}", "{name} has {calc} {obj} left."
            ),
            divide(
                "{name} pours {a} {obj} evenly into {b} pots and takes one pot",
                "The pot holds {calc} {obj}.",
            ),
        ),
        closings=(
            measure_out(
                "{he} pours all of it into bottles that hold {b} {extra}s each. "
                "How many bottles does {name} fill?",
                "{name} fills {calc} bottles.",
            ),
        ),
        steps=(subtract("{his} guests drink {b} {obj}"),),
    ),
    Scenario(
        family=FAMILY,
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
            packs("{name} buys {a} tubs with {b} {obj} each", "The tubs hold {calc} {obj}."),
            add("{name} buys {a} {obj} and is given {b} {obj}", "{name} has {calc} {obj}."),
            subtract("{name} buys {a} {obj} and uses {b} {obj}", "{name} has {calc} {obj} left."),
            divide(
                "{name} fills {b} tubs evenly with {a} {obj} and takes one tub",
                "The tub holds {calc} {obj}.",
            ),
        ),
        closings=(
            measure_out(
                "{he} packs all of it into bags of {b} {extra}s each. "
                "How many bags does {name} fill?",
                "{name} fills {calc} bags.",
            ),
        ),
    ),
    Scenario(
        family=FAMILY,
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
            packs("{name} buys {a} rolls with {b} {obj} each", "The rolls hold {calc} {obj}."),
            add(
                "{name} has {a} {obj} on one reel and {b} {obj} on another",
                "{name} has {calc} {obj}.",
            ),
            subtract(
                "{name} has {a} {obj} and cuts off {b} {obj} to sell",
                "{name} has {calc} {obj} left.",
            ),
            divide(
                "{name} cuts {a} {obj} into {b} equal pieces and keeps one piece",
                "The piece measures {calc} {obj}.",
            ),
        ),
    ),
)
