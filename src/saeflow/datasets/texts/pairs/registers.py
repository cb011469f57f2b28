"""The same statement in office and academic style, in neutral style and in plain words."""

from __future__ import annotations

from saeflow.datasets.texts.pairs.slots import Grammar, rows

FORMAL = Grammar(
    ("highly_formal", "moderately_formal", "plain"),
    [
        ("$who $must $handle $papers $when.",) * 3,
        ("$who $must $handle $papers.",) * 3,
        (
            "It is imperative that $papers be $handled $when.",
            "It is important that $papers are $handled $when.",
            "We need $papers to be $handled $when.",
        ),
        (
            "The present study endeavours to ascertain whether $cause $affects $effect.",
            "This study asks whether $cause $affects $effect.",
            "We wanted to know if $cause $affects $effect.",
        ),
        (
            "The evidence demonstrates conclusively that $cause $affects $effect.",
            "The evidence shows that $cause $affects $effect.",
            "It is clear that $cause $affects $effect.",
        ),
        (
            "Permission to $handle $papers is hereby granted.",
            "You have permission to $handle $papers.",
            "Sure, you can $handle $papers.",
        ),
        (
            "We regret to inform you that $papers were not $handled $when.",
            "Unfortunately, $papers were not $handled $when.",
            "Sorry, $papers were not $handled $when.",
        ),
    ],
    {
        "who": rows("""\
The undersigned parties | Both sides | We
Members of the board | The board members | The people in charge
The candidates for admission | The applicants | Those who apply
Prospective tenants | Future tenants | New renters
The appointed delegates | The delegates | The folks we sent
Employees of this institution | Our employees | Everyone who works here
The contracting authorities | The authorities | The officials
The principal investigators | The lead researchers | The scientists"""),
        "must": rows("""\
shall be obliged to | must | have to
are respectfully requested to | are asked to | should please
are henceforth entitled to | may now | can now
shall in no event | must not | can't ever"""),
        "handle": rows("""\
furnish | submit | send in
scrutinize | review | look over
retain | keep | hang on to
endorse | approve | say yes to
disseminate | distribute | hand out
amend | correct | fix
countersign | sign | put a name on"""),
        "handled": rows("""\
furnished | submitted | sent in
scrutinized | reviewed | looked over
retained | kept | put away
endorsed | approved | given the okay
disseminated | distributed | handed out
amended | corrected | fixed
countersigned | signed | inked"""),
        "papers": rows("""\
the requisite certificates | the required certificates | the right papers
the annual financial statements | the yearly accounts | the money reports
all confidential correspondence | private letters | the secret mail
the preliminary recommendations | the first proposals | the early ideas
the tenancy agreements | the rental contracts | the flat deals
the recorded minutes | the meeting notes | the notes
the supplementary appendices | the appendices | the extra pages
the invoices appertaining thereto | the related invoices | the bills"""),
        "when": rows("""\
prior to the audit | before the audit starts | before the check
upon termination of the contract | when the contract ends | when it's over
without undue delay | promptly | right away
during the fiscal year | during the year | this year
subsequent to the hearing | after the hearing | after the talk
within fourteen days | within two weeks | in the next two weeks"""),
        "cause": rows("""\
insufficient nocturnal rest | a lack of sleep | sleeping too little
sustained physical exertion | regular exercise | moving a lot
monetary remuneration | better pay | more money
vehicular congestion | heavy traffic | having cars everywhere
early musical instruction | early music lessons | learning songs young
elevated ambient temperature | a warm room | heat
excessive acoustic disturbance | loud noise | a lot of noise"""),
        "affects": rows("""\
impairs | harms | hurts
augments | improves | helps
influences | affects | changes
jeopardizes | threatens | is bad for"""),
        "effect": rows("""\
cognitive performance | thinking | how we think
occupational productivity | work output | how much gets done
adolescent well-being | the health of teenagers | kids
interpersonal relations | relationships | getting along
academic attainment | school results | grades
the economic prosperity of the region | the local economy | business here"""),
    },
)
