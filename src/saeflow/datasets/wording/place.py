"""Things at a place, which come and go."""

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
    ratio,
    subtract,
)

FAMILY = Family(
    measured=False,
    steps=(
        add("{b} more {obj} arrive"),
        add("another {b} {obj} come along"),
        add("a group of {b} {obj} joins the others"),
        subtract("{b} of the {obj} leave"),
        subtract("{b} {obj} go away"),
        subtract("a group of {b} {obj} moves on"),
        multiply("more of them come, and soon there are {b} times as many {obj}"),
        multiply("the number of {obj} {extra} grows to {b} times what it was"),
        multiply("so many {obj} join in that their number is multiplied by {b}"),
        divide("the {obj} split into {b} equal groups, and only one group stays"),
        divide("the {obj} form {b} groups of the same size, and all groups but one leave"),
        divide("the {obj} gather in {b} equal rows, and only the first row remains"),
    ),
    closings=(
        add(
            "at another place there are {b} {obj}. How many {obj} are there at both places?",
            "At both places there are {calc} {obj}.",
        ),
        missing(
            "there is room for {b} {obj} {extra}. How many more {obj} could come?",
            "There is room for {calc} more {obj}.",
        ),
        subtract(
            "yesterday there were {b} fewer {obj} {extra}. How many {obj} were there yesterday?",
            "Yesterday there were {calc} {obj}.",
        ),
        multiply(
            "on the next day there are {b} times as many {obj}. How many {obj} are there then?",
            "On the next day there are {calc} {obj}.",
        ),
        divide(
            "they form {b} equal groups. How many {obj} are in each group?",
            "Each group has {calc} {obj}.",
        ),
        ratio(
            "on the next day there are {b} {obj} {extra}. How many times as many {obj} is that?",
            "That is {calc} times as many {obj}.",
        ),
    ),
    bundles=(
        Bundle(packs("{a} groups of {b} {obj} arrive", "The groups bring {calc} {obj}."), "+"),
        Bundle(packs("{a} groups of {b} {obj} leave", "In all, {calc} {obj} leave."), "-"),
        Bundle(
            add(
                "{a} {obj} come from the north and {b} {obj} from the south",
                "In all, {calc} {obj} come.",
            ),
            "+",
        ),
        Bundle(
            add(
                "{a} {obj} leave at noon and {b} {obj} in the evening",
                "In all, {calc} {obj} leave.",
            ),
            "-",
        ),
        Bundle(
            subtract(
                "a group of {a} other {obj} comes near, but {b} of them turn back",
                "Of that group, {calc} {obj} come.",
            ),
            "+",
        ),
        Bundle(
            divide(
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

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        family=FAMILY,
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
            packs("{a} groups of {b} {obj} are {extra}", "The groups have {calc} {obj}."),
            add("there are {a} young {obj} and {b} older {obj} {extra}", "There are {calc} {obj}."),
            subtract(
                "of {a} {obj} who wanted to come, {b} stayed at home, and the rest are {extra}",
                "There are {calc} {obj}.",
            ),
            divide(
                "{a} {obj} are split into {b} equal groups, and one group is {extra}",
                "The group has {calc} {obj}.",
            ),
        ),
        closings=(
            priced(
                "each of them pays ${b}. How many dollars do they pay in total?",
                "They pay {calc} dollars.",
            ),
            measure_out(
                "they sit down at tables for {b} people each and fill every seat. "
                "How many tables do the {obj} need?",
                "They need {calc} tables.",
            ),
        ),
    ),
    Scenario(
        family=FAMILY,
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
            packs("a ranger sees {a} groups of {b} {obj} {extra}", "The groups have {calc} {obj}."),
            add("there are {a} brown {obj} and {b} white {obj} {extra}", "There are {calc} {obj}."),
            subtract(
                "{a} {obj} were {extra} last year, but this year there are {b} fewer",
                "This year there are {calc} {obj}.",
            ),
            divide(
                "{a} {obj} form {b} groups of the same size, and one group is {extra}",
                "The group has {calc} {obj}.",
            ),
        ),
    ),
    Scenario(
        family=FAMILY,
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
            packs("{a} rows of {b} {obj} are {extra}", "The rows have {calc} {obj}."),
            add("there are {a} green {obj} and {b} gray {obj} {extra}", "There are {calc} {obj}."),
            subtract(
                "{a} {obj} were {extra} yesterday, but today there are {b} fewer",
                "Today there are {calc} {obj}.",
            ),
            divide(
                "{a} {obj} form {b} groups of the same size, and one group is {extra}",
                "The group has {calc} {obj}.",
            ),
        ),
        closings=(
            priced(
                "a mechanic cleans each of them for ${b}. How many dollars does the cleaning cost?",
                "The cleaning costs {calc} dollars.",
            ),
        ),
    ),
)
