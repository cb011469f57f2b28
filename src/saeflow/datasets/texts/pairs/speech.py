"""Posts with and without emoji and slang, and statements about me, about others or nobody."""

from __future__ import annotations

from saeflow.datasets.texts.pairs.slots import Frame, Grammar, Word, listed


def _slang(table: str) -> list[Word]:
    rows = [line.split(" | ") for line in table.splitlines()]
    return [(row[0], row[0], row[-1]) for row in rows]


SOCIAL = Grammar(
    ("full_social", "partial_social", "standard"),
    [
        ("omg $thing is $good $joy", "omg $thing is $good", "I must say that $thing is $good."),
        (
            "ngl $thing is kinda $good $joy",
            "ngl $thing is kinda $good",
            "Honestly, $thing is rather $good.",
        ),
        (
            "bruh $thing is so $bad $woe",
            "bruh $thing is so $bad",
            "Unfortunately, $thing is very $bad.",
        ),
        (
            "cant stop thinking abt $thing $joy",
            "cant stop thinking abt $thing",
            "I keep thinking about $thing.",
        ),
        (
            "lowkey obsessed w $thing rn $joy",
            "lowkey obsessed w $thing rn",
            "At the moment I like $thing a lot.",
        ),
        (
            "idk why $thing is so $bad lol $woe",
            "idk why $thing is so $bad lol",
            "I do not know why $thing is so $bad.",
        ),
        ("me n $friend $did $time $joy", "me n $friend $did $time", "I $did with $friend $time."),
        (
            "$friend just $did n im shook $woe",
            "$friend just $did n im shook",
            "I am surprised that $friend $did.",
        ),
        (
            "tbh $friend needs to see $thing $joy",
            "tbh $friend needs to see $thing",
            "In truth, $friend should see $thing.",
        ),
        (
            "pls tell $friend that $thing is $good $joy",
            "pls tell $friend that $thing is $good",
            "Please tell $friend that $thing is $good.",
        ),
        (
            "$thing hits different $time $joy",
            "$thing hits different $time",
            "It is special to have $thing $time.",
        ),
    ],
    {
        "thing": _slang("""\
this pizza
that new song
my haircut
the season finale
this playlist
the concert
our math test | our mathematics test
her cat
the group chat | the group conversation
this game
the bus ride | the bus journey
his outfit
my phone | my telephone
this hot choc | this hot chocolate"""),
        "good": _slang("""\
fire | excellent
lit af | exciting
so cute | charming
goated | outstanding
a vibe | pleasant
legit | good"""),
        "bad": _slang("""\
mid | mediocre
cringe | embarrassing
sus | suspicious
extra | excessive
trash | poor"""),
        "joy": [(e, "", "") for e in listed("🔥 😍✨ 🥳🎉 💯🔥 🙌 💖💖 😎 🤩")],
        "woe": [(e, "", "") for e in listed("💀 😭😭 🙄 😩💔 🤡 😬")],
        "friend": _slang("""\
my bestie | my best friend
my bro | my brother
my sis | my sister
my roomie | my roommate
my teach | my teacher
da squad | our group of friends"""),
        "did": _slang("""\
binged a whole show | watched an entire series
aced the quiz | passed the quiz easily
ghosted the party | left the party without a word
scored some tix | obtained some tickets
crashed at 9 | fell asleep at nine
grabbed some tacos | ate some tacos"""),
        "time": _slang("""\
2nite | this evening
2day | today
this wknd | this weekend
on a fri | on a Friday
b4 work | before work"""),
    },
)

_FEELINGS: list[Frame] = [
    (
        f"I am {how} about $event $when",
        f"$who {how} about $event $when",
        f"There is {noun} about $event $when",
    )
    for how, noun in (
        ("curious", "curiosity"),
        ("anxious", "anxiety"),
        ("enthusiastic", "enthusiasm"),
        ("doubtful", "doubt"),
    )
]
CONVERSATIONAL = Grammar(
    ("first_person", "third_person", "neutral"),
    [
        *_FEELINGS,
        (
            "I am planning $event $when",
            "$who planning $event $when",
            "There are plans for $event $when",
        ),
        (
            "I am asking for $event $when",
            "$who asking for $event $when",
            "There is a request for $event $when",
        ),
        (
            "I am ready for $event $when",
            "$who ready for $event $when",
            "Everything is ready for $event $when",
        ),
        (
            "I am hoping for $event $when",
            "$who hoping for $event $when",
            "There is some hope for $event $when",
        ),
        (
            "I am against $event $when",
            "$who against $event $when",
            "There is resistance to $event $when",
        ),
        (
            "I am paying for $event $when",
            "$who paying for $event $when",
            "There is money for $event $when",
        ),
        (
            "I am talking about $event $when",
            "$who talking about $event $when",
            "There is talk of $event $when",
        ),
        ("I $act $then", "$she $act $then", "$act $then"),
        ("I $act with care $then", "$she $act with care $then", "$act with care $then"),
    ],
    {
        "who": ["She is", "He is", "They are", "My neighbor is", "Our teacher is"],
        "she": ["She", "He", "They", "My neighbor", "Our teacher"],
        "act": [
            (f"{did} {thing}", f"{did} {thing}", f"{thing[0].upper()}{thing[1:]} was {done}")
            for did, done in (
                ("fixed", "fixed"),
                ("drew", "drawn"),
                ("cleaned", "cleaned"),
                ("sold", "sold"),
                ("chose", "chosen"),
                ("took", "taken"),
            )
            for thing in (
                "the old boat",
                "the blue lamp",
                "a wooden chair",
                "the garden gate",
                "a red bicycle",
                "the little clock",
                "the kitchen table",
            )
        ],
        "then": listed("yesterday,last week,this morning,in May,on the way home,two days ago", ","),
        "event": listed(
            "a trip to the coast,a picnic by the lake,a dinner with old friends,a visit to the museum,"
            "a walk in the hills,a surprise party,a concert in the park,a long bike ride,"
            "a move to the city,a day without phones,a class in pottery,a garden behind the house,"
            "a change of schools,a weekend in the mountains,a game of chess",
            ",",
        ),
        "when": listed(
            "this week,next month,tomorrow,on Sunday,after work,in the spring,before the holidays",
            ",",
        ),
    },
)
