"""Something done bit by bit: pages, laps, minutes."""

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
        add("{he} adds {b} more {obj} to the plan"),
        add("{his} {friend} talks {him} into {b} more {obj}"),
        add("{he} makes room for another {b} {obj}"),
        subtract("{he} crosses {b} {obj} off the plan"),
        subtract("{his} {friend} asks {him} to leave out {b} {obj}"),
        subtract("a busy weekend makes {him} drop {b} {obj}"),
        multiply("{he} makes the plan {b} times as long"),
        multiply("a new goal raises the total to {b} times what it was"),
        multiply("{he} feels strong and decides to do {b} times as much"),
        divide("{he} cuts the plan into {b} equal parts and keeps only one part"),
        divide("{he} shares the plan equally among {b} people, counting {himself}"),
        divide("{he} spreads the plan evenly over {b} weeks and then looks at one week only"),
    ),
    closings=(
        add(
            "{his} {rival} plans {b} {obj}. "
            "How many {obj} do {name} and {his} {rival} plan together?",
            "Together they plan {calc} {obj}.",
        ),
        missing(
            "to win a medal, {he} must do {b} {obj}. By how many {obj} does the plan fall short?",
            "The plan falls short by {calc} {obj}.",
        ),
        subtract(
            "{his} {rival} plans {b} {obj} less than {name} does now. "
            "How many {obj} does {his} {rival} plan?",
            "The {rival} plans {calc} {obj}.",
        ),
        multiply(
            "{his} {rival} plans {b} times as much as {name} does now. "
            "How many {obj} does {his} {rival} plan?",
            "The {rival} plans {calc} {obj}.",
        ),
        priced(
            "a sponsor gives the school ${b} for each {extra} of the plan. "
            "How many dollars does the school get?",
            "The school gets {calc} dollars.",
        ),
        divide(
            "{he} does the same amount on each of {b} days to complete the plan. "
            "How many {obj} does {name} do per day?",
            "On each day {name} does {calc} {obj}.",
        ),
        measure_out(
            "{he} does {b} {obj} per day. How many days does {name} need for the whole plan?",
            "{name} needs {calc} days.",
        ),
    ),
    bundles=(
        Bundle(
            packs("{he} adds {a} days with {b} {obj} each", "The new days add {calc} {obj}."), "+"
        ),
        Bundle(
            packs(
                "{he} cancels {a} days with {b} {obj} each", "The canceled days hold {calc} {obj}."
            ),
            "-",
        ),
        Bundle(
            add(
                "{he} adds {a} {obj} on a Saturday and {b} {obj} on a Sunday",
                "The weekend adds {calc} {obj}.",
            ),
            "+",
        ),
        Bundle(
            add(
                "{he} drops {a} {obj} in the first week and {b} {obj} in the second",
                "{name} drops {calc} {obj}.",
            ),
            "-",
        ),
        Bundle(
            divide(
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

SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        family=FAMILY,
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
            packs("{name} plans {a} days with {b} {obj} each", "The plan holds {calc} {obj}."),
            add(
                "{name} plans {a} {obj} for May and {b} {obj} for June",
                "The plan holds {calc} {obj}.",
            ),
            subtract(
                "{name} plans {a} {obj} but has to leave out {b} {obj}",
                "The plan holds {calc} {obj}.",
            ),
            divide(
                "a team of {b} people plans {a} {obj} in equal shares, one of them for {name}",
                "The share of {name} is {calc} {obj}.",
            ),
        ),
    ),
    Scenario(
        family=FAMILY,
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
            packs("{name} plans {a} days with {b} {obj} each", "The plan holds {calc} {obj}."),
            add(
                "{name} plans {a} {obj} this week and {b} {obj} next week",
                "The plan holds {calc} {obj}.",
            ),
            subtract(
                "{name} plans {a} {obj} but has to leave out {b} {obj}",
                "The plan holds {calc} {obj}.",
            ),
            divide(
                "{name} spreads {a} {obj} evenly over {b} weeks and looks at one week",
                "The week holds {calc} {obj}.",
            ),
        ),
    ),
)
