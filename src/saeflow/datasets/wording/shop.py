"""A shop and its stock."""

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
    measured=False,
    steps=(
        add("a truck delivers {b} more {obj}"),
        add("the owner orders another {b} {obj}, which arrive at once"),
        add("the staff unpack {b} more {obj}"),
        subtract("customers buy {b} of the {obj}"),
        subtract("the owner donates {b} {obj} to a school"),
        subtract("{b} of the {obj} turn out to be damaged and are removed"),
        multiply("a big delivery makes the stock {b} times as large"),
        multiply("the owner buys until there are {b} times as many {obj}"),
        multiply("before a holiday the number of {obj} is raised to {b} times what it was"),
        divide("the {obj} are divided equally among {b} branches, and this one keeps one share"),
        divide("the staff sort the {obj} into {b} equal lots and sell all lots but one"),
        divide("the stock is put into {b} equal crates, and only one crate stays here"),
    ),
    closings=(
        add(
            "a second {extra} has {b} {obj}. How many {obj} do the two of them have together?",
            "Together they have {calc} {obj}.",
        ),
        missing(
            "a customer wants {b} {obj}. How many {obj} are missing?",
            "There are {calc} {obj} missing.",
        ),
        subtract(
            "a second {extra} has {b} fewer {obj}. How many {obj} are there at the second {extra}?",
            "The second {extra} has {calc} {obj}.",
        ),
        multiply(
            "a second {extra} has {b} times as many {obj}. "
            "How many {obj} does the second one have?",
            "The second {extra} has {calc} {obj}.",
        ),
        priced(
            "all of these {obj} are sold for ${b} each. How many dollars does the {extra} take in?",
            "The {extra} takes in {calc} dollars.",
        ),
        divide(
            "the staff arrange the {obj} evenly on {b} tables. How many {obj} are on each table?",
            "Each table holds {calc} {obj}.",
        ),
        measure_out(
            "customers buy {b} of these {obj} per day. In how many days are all of them sold?",
            "They are sold in {calc} days.",
        ),
    ),
    bundles=(
        Bundle(
            packs("a truck brings {a} crates with {b} {obj} each", "The crates hold {calc} {obj}."),
            "+",
        ),
        Bundle(
            packs("{a} customers buy {b} {obj} each", "The customers buy {calc} {obj}."),
            "-",
        ),
        Bundle(
            add(
                "{a} {obj} are sold in the morning and {b} {obj} in the afternoon",
                "On that day {calc} {obj} are sold.",
            ),
            "-",
        ),
        Bundle(
            subtract(
                "a truck brings {a} new {obj}, but {b} of these are sent back",
                "Of the new {obj}, {calc} are kept.",
            ),
            "+",
        ),
        Bundle(
            divide(
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

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        family=FAMILY,
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
            packs(
                "a {extra} has {a} shelves with {b} {obj} each", "The shelves hold {calc} {obj}."
            ),
            add("a {extra} has {a} new {obj} and {b} used {obj}", "The {extra} has {calc} {obj}."),
            subtract(
                "a {extra} orders {a} {obj} and sells {b} of them", "That leaves {calc} {obj}."
            ),
            divide(
                "{b} stores split {a} {obj} evenly, and a {extra} is one of them",
                "The {extra} gets {calc} {obj}.",
            ),
        ),
    ),
    Scenario(
        family=FAMILY,
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
            packs(
                "a {extra} has {a} baskets with {b} {obj} each", "The baskets hold {calc} {obj}."
            ),
            add(
                "a {extra} has {a} {obj} inside and {b} {obj} out in front",
                "The {extra} has {calc} {obj}.",
            ),
            subtract(
                "a {extra} gets {a} {obj} in the morning and sells {b} by noon",
                "That leaves {calc} {obj}.",
            ),
            divide(
                "{b} sellers split {a} {obj} evenly, and a {extra} is one of them",
                "The {extra} gets {calc} {obj}.",
            ),
        ),
        endings=("How many {obj} are there for the next customers of the {extra}?",),
    ),
)
