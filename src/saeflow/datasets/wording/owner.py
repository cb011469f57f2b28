"""Somebody who has things and gets or gives some."""

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
    priced,
    ratio,
    subtract,
)

FAMILY = Family(
    measured=False,
    steps=(
        add("{his} {friend} gives {him} {b} more {obj}"),
        add("{he} gets {b} more {obj} from {his} {friend}"),
        add("{he} adds another {b} {obj}"),
        add("{he} swaps an old book for {b} more {obj}"),
        subtract("{he} gives {b} {obj} to {his} {friend}"),
        subtract("{he} loses {b} of the {obj}"),
        subtract("{his} {friend} takes {b} of the {obj}"),
        subtract("{he} hands out {b} {obj} to the neighbors"),
        multiply("{he} gets more of them and has {b} times as many {obj} as before"),
        multiply("the number of {obj} that {he} has grows to {b} times what it was"),
        multiply("{his} {friend} brings so many {obj} that the number is multiplied by {b}"),
        divide("{he} puts the {obj} into {b} equal bags and keeps only one of the bags"),
        divide("{he} shares the {obj} equally among {b} people, counting {himself}"),
        divide("{he} makes {b} equal piles of the {obj} and gives away all piles but one"),
    ),
    closings=(
        add(
            "{his} {rival} has {b} {obj}. "
            "How many {obj} do {name} and {his} {rival} have together?",
            "Together they have {calc} {obj}.",
        ),
        add(
            "{his} {rival} has {b} more {obj} than {name} has now. "
            "How many {obj} does {his} {rival} have?",
            "The {rival} has {calc} {obj}.",
        ),
        subtract(
            "{his} {rival} has {b} fewer {obj} than {name} has now. "
            "How many {obj} does {his} {rival} have?",
            "The {rival} has {calc} {obj}.",
        ),
        missing(
            "{he} wants to have {b} {obj} in the end. How many more {obj} does {name} need?",
            "{name} still needs {calc} {obj}.",
        ),
        multiply(
            "{his} {rival} has {b} times as many {obj} as {name} has now. "
            "How many {obj} does {his} {rival} have?",
            "The {rival} has {calc} {obj}.",
        ),
        priced(
            "{he} sells all of these {obj} for ${b} each. How many dollars does {name} get?",
            "{name} gets {calc} dollars.",
        ),
        priced(
            "at a shop, each of these {obj} would cost ${b}. "
            "How many dollars would they cost in total?",
            "They would cost {calc} dollars.",
        ),
        divide(
            "{he} divides these {obj} equally among {b} children. How many does each child get?",
            "Each child gets {calc} {obj}.",
        ),
        measure_out(
            "{he} packs these {obj} into boxes that hold {b} {obj} each. "
            "How many boxes does {name} fill?",
            "{name} fills {calc} boxes.",
        ),
        ratio(
            "{his} {rival} has {b} {obj}. How many times as many {obj} as {name} is that?",
            "The {rival} has {calc} times as many {obj}.",
        ),
    ),
    bundles=(
        Bundle(
            packs("{he} buys {a} packs with {b} {obj} each", "The packs hold {calc} {obj}."), "+"
        ),
        Bundle(
            packs(
                "{he} gives {a} classmates {b} {obj} each",
                "The classmates get {calc} {obj} in total.",
            ),
            "-",
        ),
        Bundle(
            add(
                "{he} gives {a} {obj} to {his} {friend} and {b} {obj} to a classmate",
                "{name} gives away {calc} {obj}.",
            ),
            "-",
        ),
        Bundle(
            add(
                "{he} gets {a} {obj} from {his} {friend} and {b} {obj} from a classmate",
                "{name} gets {calc} new {obj}.",
            ),
            "+",
        ),
        Bundle(
            divide(
                "a teacher shares {a} other {obj} equally among {b} children, one of them {name}",
                "From the teacher {name} gets {calc} {obj}.",
            ),
            "+",
        ),
        Bundle(
            subtract(
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

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        family=FAMILY,
        things=bare(
            "stickers", "stamps", "marbles", "trading cards", "shells", "coins", "buttons", "badges"
        ),
        openings=(
            "{name} has {a} {obj} in a collection.",
            "{name} collects {obj} and owns {a} of them.",
            "There are {a} {obj} in a tin that belongs to {name}.",
        ),
        pairs=(
            packs("{name} fills {a} pages with {b} {obj} each", "The pages hold {calc} {obj}."),
            add(
                "{name} keeps {a} {obj} in a red box and {b} {obj} in a blue box",
                "The two boxes hold {calc} {obj}.",
            ),
            subtract(
                "{name} owned {a} {obj} but traded {b} of them away",
                "After the trade {calc} {obj} are left.",
            ),
            divide(
                "a club hands out {a} {obj} equally to its {b} members, one of them {name}",
                "{name} gets {calc} {obj}.",
            ),
        ),
        endings=("How large is the collection of {obj} now?",),
    ),
    Scenario(
        family=FAMILY,
        things=bare(
            "pencils", "erasers", "notebooks", "crayons", "markers", "rulers", "paper clips"
        ),
        openings=(
            "{name} brings {a} {obj} to school.",
            "On the desk of {name} there are {a} {obj}.",
            "{name} starts the school year with {a} {obj}.",
        ),
        pairs=(
            packs("{name} buys {a} packs of {b} {obj}", "{name} buys {calc} {obj}."),
            add("{name} has {a} {obj} at home and {b} {obj} at school", "{name} has {calc} {obj}."),
            subtract(
                "out of {a} new {obj}, {name} has already used up {b}",
                "{name} has {calc} {obj} left.",
            ),
            divide(
                "{name} and some classmates, {b} children in all, share {a} {obj} equally",
                "{name} gets {calc} {obj}.",
            ),
        ),
        endings=("How many {obj} are on the desk of {name} at the end?",),
    ),
    Scenario(
        family=FAMILY,
        things=bare("cookies", "muffins", "rolls", "cupcakes", "waffles", "pretzels", "scones"),
        openings=(
            "{name} bakes {a} {obj}.",
            "For a party {name} makes {a} {obj}.",
            "{name} takes {a} {obj} out of the oven.",
        ),
        pairs=(
            packs("{name} bakes {a} trays of {b} {obj}", "{name} bakes {calc} {obj}."),
            add(
                "{name} bakes {a} {obj} in the morning and {b} {obj} at night",
                "{name} bakes {calc} {obj}.",
            ),
            subtract(
                "{name} bakes {a} {obj} but burns {b} of them", "There are {calc} good {obj}."
            ),
            divide(
                "{name} bakes {a} {obj}, sets out equal plates of them for {b} tables "
                "and takes one plate home",
                "The plate holds {calc} {obj}.",
            ),
        ),
        steps=(
            add("{he} bakes {b} more {obj}"),
            subtract("guests eat {b} of the {obj}"),
            subtract("{he} eats {b} {obj} with {his} {friend}"),
        ),
        endings=("How many {obj} are there for {name} to serve?",),
    ),
    Scenario(
        family=FAMILY,
        things=bare("apples", "pears", "plums", "lemons", "peaches", "oranges", "apricots"),
        openings=(
            "{name} picks {a} {obj} from a tree.",
            "{name} carries a basket with {a} {obj}.",
            "At the market {name} gets {a} {obj}.",
        ),
        pairs=(
            packs(
                "{name} picks {b} {obj} from each of {a} trees", "From the trees come {calc} {obj}."
            ),
            add(
                "{name} picks {a} {obj} on one day and {b} {obj} on the next",
                "{name} picks {calc} {obj}.",
            ),
            subtract(
                "{name} picks {a} {obj}, but {b} of them are rotten", "There are {calc} good {obj}."
            ),
            divide(
                "{a} {obj} from a garden are shared equally by {b} helpers, one of them {name}",
                "{name} gets {calc} {obj}.",
            ),
        ),
        steps=(
            subtract("{he} makes jam out of {b} {obj}"),
            add("{he} picks up {b} more {obj} from the ground"),
        ),
        endings=("How many {obj} are in the basket of {name} now?",),
    ),
)
