"""Sentences that fit every topic."""

from saeflow.datasets.texts.documents.topic import Topic, listed

NEUTRAL = Topic(
    name="neutral",
    opening="",
    frames=(
        "It was {weather} that day.",
        "{somebody} arrived {late} and apologised.",
        "Nobody spoke for {moment}.",
        "{somebody} made {drink} and sat down.",
        "That is {opinion}.",
        "We talked about it {when}.",
        "{somebody} had read about it in {source}.",
        "It took longer than anyone had thought.",
        "Then the phone rang, and it was {somebody}.",
        "{somebody} asked {when} how it had gone.",
        "There is still much to learn about this.",
        "All of this is explained in {source}.",
        "{somebody} smiled and said that it was {opinion}.",
        "Outside it was {weather}, but nobody cared.",
        "For {moment} everything seemed possible.",
        "A colleague had left {drink} on the table.",
    ),
    lists={
        "weather": listed(
            "cold and windy, warm and bright, foggy, grey, raining, unusually hot, "
            "mild, already dark"
        ),
        "somebody": listed(
            "my brother, a colleague, an old friend, the new colleague, her cousin, a visitor, "
            "my sister, a stranger"
        ),
        "late": listed(
            "late, too early, after lunch, just in time, without a coat, out of breath, "
            "a little late, in a hurry"
        ),
        "moment": listed(
            "a moment, a while, some time, a minute or two, a few seconds, quite a while, "
            "a short time, an instant"
        ),
        "drink": listed(
            "a cup of tea, some coffee, a pot of tea, a glass of juice, a hot chocolate, "
            "a mug of coffee, some lemonade, a jug of water"
        ),
        "opinion": listed(
            "good news, only half of the story, quite common, a matter of luck, "
            "easier than it sounds, a good start, not unusual, hard to believe"
        ),
        "source": listed(
            "a magazine, the newspaper, a thick book, an old letter, a short article, "
            "a blog, a brochure, a long report"
        ),
        "when": listed(
            "over lunch, on the way home, the next day, in the evening, later on, "
            "at the weekend, after work, on the train"
        ),
    },
    words=(),
)
