"""Which tokens of a text are syntactic: declared lists, since the study's own are not known.

The study says that 96 % of a specialist's activation falls on syntactic tokens (methods/3, section
4.5, D), and does not say which these are. Here they are digits, operators, punctuation, brackets, and
words of two lists: keywords of code and function words. A token gets its class from the whole text,
so that the ``is`` of ``this`` is no function word, however a tokenizer cuts it.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterator, Sequence

DIGITS, OPERATORS, PUNCTUATION, BRACKETS = "digits", "operators", "punctuation", "brackets"
KEYWORDS, FUNCTION_WORDS = "keywords", "function_words"
SYNTACTIC = (DIGITS, OPERATORS, PUNCTUATION, BRACKETS, KEYWORDS, FUNCTION_WORDS)
"""Classes that count as syntactic."""
BLANKS, CONTENT = "blanks", "content"
CLASSES = (*SYNTACTIC, BLANKS, CONTENT)
"""All classes. Blanks are white space alone; content is every other word, letter and emoji."""

ENGLISH = "english"
# fmt: off
_FUNCTION_WORDS = {
    ENGLISH: """
        a an the this that these those some any each every no all both either neither such same other
        i you he she it we they me him her us them my your his its our their mine yours ours theirs
        myself yourself himself herself itself ourselves themselves who whom whose which what
        am is are was were be been being do does did have has had having will would shall should can
        could may might must ought
        and or but nor so yet if unless because although though while whereas since until when where
        why how than whether as
        of in on at by for with from to into onto over under above below between among through during
        before after about against without within upon off out up down across along around behind
        beside near toward towards per
        not n't 's 're 've 'll 'd 'm there here then too very just only also again ever never""",
    "spanish": """
        el la los las un una unos unas lo al del yo tú él ella ello usted nosotros nosotras ustedes ellos
        ellas me te se nos os le les mi mis tu tus su sus nuestro nuestra este esta estos estas ese esa
        esos esas aquel aquella que quien cual cuyo qué quién cuál y e o u ni pero sino porque aunque si
        cuando donde como cómo cuándo dónde mientras a ante bajo con contra de desde en entre hacia hasta
        para por según sin sobre tras es son era eran fue fueron ser soy eres somos está están estoy
        estaba ha han he hay había haber no ya muy más menos también tan todo toda todos todas cada""",
    "french": """
        le la les l un une des du de d au aux je j tu il elle on nous vous ils elles me m te t se s lui
        leur y en mon ma mes ton ta tes son sa ses notre nos votre vos leurs ce cet cette ces c qui que
        qu quoi dont où quel quelle et ou mais donc or ni car si quand comme parce lorsque puisque à
        dans par pour sur sous avec sans chez entre vers depuis pendant avant après contre est sont
        était étaient être suis es sommes êtes a ont ai as avons avez avait avoir ne n pas plus moins
        très aussi tout toute tous toutes chaque""",
    "german": """
        der die das den dem des ein eine einen einem einer eines kein keine keinen ich du er sie es wir
        ihr mich dich sich uns euch mir dir ihm ihn ihnen mein meine dein deine sein seine unser unsere
        euer eure dieser diese dieses jener jene wer wen wem was welcher welche welches und oder aber
        denn sondern doch dass weil wenn als ob obwohl während bis bevor nachdem wie wo wann warum in im
        an am auf aus bei beim mit nach seit von vom zu zum zur durch für gegen ohne um über unter vor
        hinter neben zwischen ist sind war waren bin bist seid sein hat haben habe hast hatte wird
        werden wurde wurden kann können muss müssen soll will nicht nur auch sehr schon noch so mehr
        alle jeder jede jedes""",
}
# fmt: on
FUNCTION_WORDS_OF = {name: frozenset(words.split()) for name, words in _FUNCTION_WORDS.items()}
"""Function words by language, lower case."""
CODE_KEYWORDS = frozenset([*keyword.kwlist, *keyword.softkwlist]) - {"_"}
"""Keywords of Python."""
CODE_FORMS = ("code", "Python")
"""Form of matched texts, and category, that are written in Python. There keywords are syntactic and
function words are not, since ``a`` and ``i`` are names; elsewhere ``class`` and ``match`` are content."""

_PIECES = re.compile(
    r"(?P<digits>[\d¹²³⁰-⁹]+)"
    r"|(?P<words>(?:[^\W\d_¹²³⁰-⁹]|_(?=\w)|(?<=\w)_|['’](?=[^\W\d_]))+)"
    r"|(?P<brackets>[()\[\]{}⟨⟩]+)"
    r"|(?P<operators>[-+*/%=<>^&|~@×÷−≤≥≠±√·]+)"
    r"|(?P<blanks>\s+)"
    r"|(?P<punctuation>[.,;:!?…\"'’‘“”«»¿¡`#$\\_–—·、。，？！：；]+)"
)

_PARTS = re.compile(r"n['’]t$|['’](?:s|re|ve|ll|d|m)$|['’]|(?:(?!n['’]t$)[^'’])+")


def token_classes(text: str, spans: Sequence[tuple[int, int]], form: str = ENGLISH) -> list[str]:
    """Class of each token of a text.

    Parameters
    ----------
    text : str
        The whole text.
    spans : sequence of (int, int)
        Where tokens begin and end in it, as a fast tokenizer tells; an empty one has the class
        ``blanks``.
    form : str
        Form of the text. That of a language with a list of its own (``spanish``, ``french``,
        ``german``) is read with that list, and one of `CODE_FORMS` as code.

    Returns
    -------
    list of str
        Some of `CLASSES`. A token with characters of several classes has that of most of them, of
        equals the first in `CLASSES`; blanks count only where there is nothing else.
    """
    by_character = [CONTENT] * len(text)
    for start, end, name in _pieces(text, form):
        by_character[start:end] = [name] * (end - start)
    return [_commonest(by_character[start:end]) for start, end in spans]


def word_class(word: str, form: str = ENGLISH) -> str:
    """Class of a word: a keyword in code, a function word elsewhere, or content."""
    if form in CODE_FORMS:
        return KEYWORDS if word in CODE_KEYWORDS else CONTENT
    functions = FUNCTION_WORDS_OF.get(form, FUNCTION_WORDS_OF[ENGLISH])
    return FUNCTION_WORDS if word.lower().replace("’", "'") in functions else CONTENT


def _pieces(text: str, form: str) -> Iterator[tuple[int, int, str]]:
    for match in _PIECES.finditer(text):
        kind = str(match.lastgroup)
        if kind != "words":
            yield match.start(), match.end(), kind
            continue
        # An apostrophe joins two words of which each has a class: l'eau, don't, she's.
        for part in _PARTS.finditer(match[0]):
            start = match.start() + part.start()
            name = PUNCTUATION if part[0] in "'’" else word_class(part[0], form)
            yield start, start + len(part[0]), name


def _commonest(names: Sequence[str]) -> str:
    counted = Counter(name for name in names if name != BLANKS)
    return max(counted, key=lambda name: (counted[name], -CLASSES.index(name)), default=BLANKS)
