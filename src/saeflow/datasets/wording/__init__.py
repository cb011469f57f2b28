"""Wording of the generated word problems: names, nouns, sentences, questions, stories.

All texts were written for this project. A problem tells of one running amount. The sentences
in ``Family.steps`` change that amount and keep what it means, so that they may follow each
other in any order; the ones in ``closings`` ask their own question and come last.

Placeholders: ``{a}`` and ``{b}`` are the numbers of a sentence, ``{calc}`` the worked
calculation, ``{obj}`` the plural noun that is counted, ``{extra}`` a second word bound to it
(a place, a shop or the singular of a unit); the others are the person's name and pronouns, a
relative (``{friend}``, in closings another one, ``{rival}``) and things for sale
(``{goods}``). Every number is a fraction or at least 2, so that plural nouns are right.
"""
