"""Calculations and formulas in symbols, read aloud and in prose."""

from __future__ import annotations

from saeflow.datasets.texts.numerals import number_words
from saeflow.datasets.texts.pairs.slots import Frame, Grammar, Word, listed

_FORMS = ("symbolic", "verbal", "prose")
_PARTS = listed("half,a third,a quarter,a fifth,a sixth,a seventh,an eighth,a ninth,a tenth", ",")


def _numbers(first: int, last: int) -> list[Word]:
    return [(str(n), number_words(n), number_words(n)) for n in range(first, last + 1)]


# The smallest sums are left out throughout: everybody's examples are made of them.
def _sums() -> list[Word]:
    pairs = [(a, b) for a in range(2, 21) for b in range(2, 21) if a + b > 11]
    spoken = [(a, b, number_words(a), number_words(b)) for a, b in pairs]
    plain: list[Word] = [
        (f"{a}+{b}", f"{x} plus {y}", f"the sum of {x} and {y}") for a, b, x, y in spoken
    ]
    return plain + [(f"{a}+{b}", f"{x} plus {y}", f"{y} added to {x}") for a, b, x, y in spoken]


def _differences() -> list[Word]:
    pairs = [(a, b) for a in range(10, 31) for b in range(2, 20) if a > b]
    spoken = [(a, b, number_words(a), number_words(b)) for a, b in pairs]
    plain: list[Word] = [
        (f"{a}-{b}", f"{x} minus {y}", f"{y} less than {x}") for a, b, x, y in spoken
    ]
    return plain + [
        (f"{a}-{b}", f"{x} minus {y}", f"{y} taken away from {x}") for a, b, x, y in spoken
    ]


def _products() -> list[Word]:
    pairs = [(a, b) for a in range(2, 16) for b in range(2, 13) if a + b > 11]
    spoken = [(a, b, number_words(a), number_words(b)) for a, b in pairs]
    plain: list[Word] = [
        (f"{a}*{b}", f"{x} times {y}", f"{x} multiplied by {y}") for a, b, x, y in spoken
    ]
    return plain + [
        (f"{a}*{b}", f"{x} times {y}", f"the product of {x} and {y}") for a, b, x, y in spoken
    ]


def _quotients() -> list[Word]:
    return [
        (
            f"{a}/{b}",
            f"{number_words(a)} divided by {number_words(b)}",
            f"{part} of {number_words(a)}",
        )
        for b, part in enumerate(_PARTS, start=2)
        for a in range(b, 61, b)
        if a > 15
    ]


def _powers() -> list[Word]:
    names = {2: "squared", 3: "cubed", 4: "to the fourth"}
    return [
        (
            f"{a}^{p}",
            f"{number_words(a)} {name}",
            f"{number_words(a)} to the power of {number_words(p)}",
        )
        for a in range(6, 21)
        for p, name in names.items()
        if p < 4 or a < 11
    ]


MATH_SIMPLE = Grammar(
    _FORMS,
    [(f"${kind}",) * 3 for kind in ("sum", "difference", "product", "quotient", "power")],
    {
        "sum": _sums(),
        "difference": _differences(),
        "product": _products(),
        "quotient": _quotients(),
        "power": _powers(),
    },
)

_COMPLEX: list[Frame] = [
    (  # quadratics
        "$k$v^2 $o $m$v $s $n",
        "$k $v squared $o $m $v $s $n",
        "$k times the square of $v $o $m times $v $s $n",
    ),
    ("$k$v$p", "$k $v $p", "$k times $p $v"),
    ("$v$p $o $w$p2", "$v $p $o $w $p2", "$p $v $o $p2 $w"),
    ("√($v $o $n)", "the square root of $v $o $n", "what gives $v $o $n when squared"),
    ("√($k$v)", "the square root of $k $v", "the square root of the product of $k and $v"),
    (
        "($v + $n)/($w - $m)",
        "$v plus $n over $w minus $m",
        "the sum of $v and $n divided by the difference of $w and $m",
    ),
    ("$k$v/$m", "$k $v over $m", "$k times $v divided by $m"),
    ("d/d$v($k$v$p)", "the derivative of $k $v $p", "how $k times $p $v changes with $v"),
    (
        "d/d$v($f($k$v))",
        "the derivative of $f of $k $v",
        "the rate of change of $f $k times $v with respect to $v",
    ),
    (
        "∫$k$v$p d$v",
        "the integral of $k $v $p d $v",
        "the integral of $k times $p $v with respect to $v",
    ),
    ("$k$v + $m = $n", "$k $v plus $m equals $n", "$k times $v increased by $m is $n"),
    ("$k$v - $w = $n", "$k $v minus $w equals $n", "$w taken away from $k times $v leaves $n"),
    (
        "$k($v $o $w)",
        "$k times the quantity $v $o $w",
        "the product of $k and the quantity $v $o $w",
    ),
    ("($v $o $n)^2", "the quantity $v $o $n squared", "the square of the quantity $v $o $n"),
    ("g($v) = $k$v$p", "g of $v equals $k $v $p", "the function g of $v is $k times $p $v"),
    ("$f($k$v) = $w", "$f of $k $v equals $w", "$f $k times $v is the same as $w"),
    (
        "$v^2 + $w^2 = $n",
        "$v squared plus $w squared equals $n",
        "the squares of $v and $w add up to $n",
    ),
    ("log_$k($v)", "log base $k of $v", "the logarithm of $v to the base $k"),
    (
        "|$v - $w| < $n",
        "the absolute value of $v minus $w is less than $n",
        "$v and $w are less than $n apart",
    ),
]
MATH_COMPLEX = Grammar(
    _FORMS,
    _COMPLEX,
    {
        "k": _numbers(2, 9),
        "m": _numbers(2, 9),
        "n": _numbers(10, 25),
        "v": tuple("xyzt"),
        "w": tuple("abrs"),
        "o": [("+", "plus", "increased by"), ("-", "minus", "decreased by")],
        "s": [("+", "plus", "and then increased by"), ("-", "minus", "and then decreased by")],
        "p": [
            ("^2", "squared", "the square of"),
            ("^3", "cubed", "the cube of"),
            ("^4", "to the fourth", "the fourth power of"),
            ("^5", "to the fifth", "the fifth power of"),
        ],
        "f": [
            ("sin", "sine", "the sine of"),
            ("cos", "cosine", "the cosine of"),
            ("tan", "tangent", "the tangent of"),
            ("ln", "natural log", "the natural logarithm of"),
        ],
    },
)
