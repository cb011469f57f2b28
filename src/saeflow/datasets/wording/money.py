"""Money that is earned and spent."""

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
    measured=True,
    steps=(
        add("{his} {friend} gives {him} ${b}"),
        add("{he} earns ${b} by washing cars"),
        add("{he} finds ${b} in an old coat"),
        add("{he} sells an old game for ${b}"),
        subtract("{he} spends ${b} on lunch"),
        subtract("{he} pays ${b} for a ticket"),
        subtract("{he} buys a book for ${b}"),
        subtract("{he} gives ${b} to {his} {friend}"),
        multiply("{he} saves on until {he} has {b} times as much money"),
        multiply("{his} {friend} adds enough to make it {b} times as much money"),
        multiply("a lucky draw multiplies {his} money by {b}"),
        divide("{he} divides the money into {b} equal parts and keeps only one part"),
        divide("{he} shares the money equally among {b} people, counting {himself}"),
        divide("{he} splits the money evenly into {b} envelopes and donates all but one of them"),
    ),
    closings=(
        add(
            "{his} {rival} has ${b}. How many dollars do {name} and {his} {rival} have together?",
            "Together they have {calc} dollars.",
        ),
        subtract(
            "{his} {rival} has ${b} less than {name} has now. "
            "How many dollars does {his} {rival} have?",
            "The {rival} has {calc} dollars.",
        ),
        missing(
            "a tent costs ${b}. How many more dollars does {name} need to buy it?",
            "{name} still needs {calc} dollars.",
        ),
        multiply(
            "{his} {rival} has {b} times as much money as {name} has now. "
            "How many dollars does {his} {rival} have?",
            "The {rival} has {calc} dollars.",
        ),
        divide(
            "{he} puts the money into {b} jars, the same amount in each. "
            "How many dollars are in each jar?",
            "Each jar holds {calc} dollars.",
        ),
        measure_out(
            "{he} spends all the money on {goods} that cost ${b} each. "
            "How many {goods} does {name} buy?",
            "{name} buys {calc} {goods}.",
            second="price",
        ),
        ratio(
            "{his} {rival} has ${b}. How many times as much money as {name} has is that?",
            "The {rival} has {calc} times as much money.",
        ),
    ),
    bundles=(
        Bundle(
            packs(
                "{he} buys {a} {goods} for ${b} each", "The {goods} cost {calc} dollars.", "price"
            ),
            "-",
        ),
        Bundle(
            packs(
                "{he} sells {a} {goods} for ${b} each",
                "The {goods} bring in {calc} dollars.",
                "price",
            ),
            "+",
        ),
        Bundle(
            add("{he} spends ${a} on bread and ${b} on cheese", "The food costs {calc} dollars."),
            "-",
        ),
        Bundle(
            add(
                "{he} gets ${a} from {his} {friend} and ${b} from a neighbor",
                "{name} gets {calc} dollars.",
            ),
            "+",
        ),
        Bundle(
            subtract(
                "{he} buys a coat that costs ${a}, but has a coupon that takes ${b} off the price",
                "With the coupon the coat costs {calc} dollars.",
            ),
            "-",
        ),
        Bundle(
            divide(
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

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        family=FAMILY,
        things=bare("dollars"),
        openings=(
            "{name} has ${a} in a piggy bank.",
            "{name} has saved ${a}.",
            "For {his} birthday {name} gets ${a}.",
        ),
        pairs=(
            packs("{name} saves ${b} a week for {a} weeks", "{name} saves {calc} dollars."),
            add("{name} has ${a} at home and ${b} in the bank", "{name} has {calc} dollars."),
            subtract(
                "{name} goes out with ${a} and spends ${b} on fruit",
                "{name} has {calc} dollars left.",
            ),
            divide(
                "a prize of ${a} is shared equally by {b} winners, one of them {name}",
                "{name} gets {calc} dollars.",
            ),
        ),
        endings=("How large are the savings of {name} now, in dollars?",),
    ),
    Scenario(
        family=FAMILY,
        things=bare("dollars"),
        openings=(
            "{name} earns ${a} at a summer fair.",
            "At a flea market {name} takes in ${a}.",
            "{name} has ${a} in the cash box of a small stall.",
        ),
        pairs=(
            packs(
                "{name} sells {a} {goods} for ${b} each", "{name} earns {calc} dollars.", "price"
            ),
            packs(
                "{name} works {a} hours for ${b} an hour", "{name} earns {calc} dollars.", "price"
            ),
            add(
                "{name} earns ${a} with {goods} and ${b} with lemonade",
                "{name} earns {calc} dollars.",
            ),
            subtract(
                "{name} takes in ${a} at a stall but pays ${b} for the place",
                "{name} has {calc} dollars left.",
            ),
            divide(
                "{b} friends, one of them {name}, run a stall and split the ${a} they earn evenly",
                "{name} gets {calc} dollars.",
            ),
        ),
        steps=(
            add("{he} sells some {goods} and gets ${b}"),
            subtract("{he} buys some {goods} for ${b}"),
        ),
    ),
)
