"""Lines of Python and what they do in words."""

from __future__ import annotations

from saeflow.datasets.texts.numerals import number_words
from saeflow.datasets.texts.pairs.slots import Frame, Grammar, listed

_FRAMES: list[Frame] = [
    ("for $s in ${s}s:", "go through each $s in ${s}s"),
    ("for $s in ${s}s[:$n]:", "go through the first $n ${s}s"),
    ("for i in range(len(${s}s)):", "go through the positions of all ${s}s"),
    ("for i, $s in enumerate(${s}s):", "go through the ${s}s with the number of each"),
    ("while $s < $n:", "keep going while $s is smaller than $n"),
    ("while len(${s}s) > $n:", "keep going while there are more than $n ${s}s"),
    ("if $s > $n: return $t", "if $s is greater than $n then return $t"),
    ("if $s == $t:", "if $s is the same as $t"),
    ("if $s not in ${t}s:", "if $s is missing from ${t}s"),
    ("if $s is None: $s = $n", "if there is no $s then set it to $n"),
    ("$s = $t $op $n", "set $s to $t $op $n"),
    ("$s = $t $op $s2", "set $s to $t $op $s2"),
    ("$s += $n", "increase $s by $n"),
    ("$s -= $n", "decrease $s by $n"),
    ("$s = $f(${s}s)", "set $s to $f ${s}s"),
    ("return $f(${s}s)", "give back $f ${s}s"),
    ("print($f(${s}s))", "show $f ${s}s"),
    ("${s}s.append($t)", "put $t at the end of ${s}s"),
    ("${s}s.remove($t)", "take $t out of ${s}s"),
    ("${s}s.insert($n, $t)", "put $t into ${s}s at position $n"),
    ("${s}s[$n] = $t", "store $t in ${s}s at position $n"),
    ("del ${s}s[$n]", "delete what is at position $n of ${s}s"),
    ("${s}s[-$n:]", "the last $n of the ${s}s"),
    ("[$s $op $n for $s in ${s}s]", "a list of each $s $op $n from ${s}s"),
    ("[$s for $s in ${s}s if $s > $n]", "a list of every $s in ${s}s above $n"),
    ("{$s: len($s) for $s in ${s}s}", "a dictionary from each $s in ${s}s to its length"),
    ("set(${s}s) & set(${t}s)", "what ${s}s and ${t}s have in common"),
    ("list(zip(${s}s, ${t}s))", "a list that pairs up ${s}s and ${t}s"),
    (
        "def get_$s($t): return $t $op $n",
        "define function get $s that takes $t and returns $t $op $n",
    ),
    ("def show_$s($t): print($t)", "define function show $s that takes $t and prints it"),
    ("assert $s != $n, '$t'", "make sure $s is not $n or fail with the message $t"),
    ("$s = int(input('$t: '))", "ask for $t and keep the answer as the whole number $s"),
    ("$s = lambda $t: $t $op $n", "let $s be a function that turns $t into $t $op $n"),
]
PYTHON = Grammar(
    ("code", "pseudo"),
    _FRAMES,
    {
        "s": listed("price score point weight length order ticket cost speed grade"),
        "t": listed("user file task name token row limit label page offset"),
        "n": [(str(n), number_words(n)) for n in range(2, 13)],
        "op": [("+", "plus"), ("-", "minus"), ("*", "times"), ("/", "divided by")],
        "f": [
            ("max", "the largest of"),
            ("min", "the smallest of"),
            ("sum", "the sum of"),
            ("len", "the number of"),
            ("sorted", "a sorted copy of"),
            ("any", "whether there is anything true in"),
        ],
    },
)
