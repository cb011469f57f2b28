"""The same sentence in Spanish, French and German."""

from __future__ import annotations

from saeflow.datasets.texts.pairs.slots import Frame, Grammar, Word, rows

# Spanish, French, German as subject, German as object; the articles tell the gender.
_THINGS = rows("""\
el libro | le livre | das Buch | das Buch
la mesa | la table | der Tisch | den Tisch
la silla | la chaise | der Stuhl | den Stuhl
la casa | la maison | das Haus | das Haus
la llave | la clé | der Schlüssel | den Schlüssel
el coche | la voiture | das Auto | das Auto
la bicicleta | le vélo | das Fahrrad | das Fahrrad
la lámpara | la lampe | die Lampe | die Lampe
la puerta | la porte | die Tür | die Tür
el bolso | le sac | die Tasche | die Tasche
el sombrero | le chapeau | der Hut | den Hut
el pan | le pain | das Brot | das Brot
el queso | le fromage | der Käse | den Käse
la manzana | la pomme | der Apfel | den Apfel
el pastel | le gâteau | der Kuchen | den Kuchen
la carta | la lettre | der Brief | den Brief
el periódico | le journal | die Zeitung | die Zeitung
el reloj | la montre | die Uhr | die Uhr
la camisa | la chemise | das Hemd | das Hemd
el abrigo | le manteau | der Mantel | den Mantel
la flor | la fleur | die Blume | die Blume
la foto | la photo | das Foto | das Foto""")
# Spanish, French and German; masculine and feminine where they differ.
_QUALITIES = rows("""\
grande | grand/grande | groß
pequeño/pequeña | petit/petite | klein
viejo/vieja | vieux/vieille | alt
nuevo/nueva | neuf/neuve | neu
caro/cara | cher/chère | teuer
barato/barata | bon marché | billig
bonito/bonita | joli/jolie | schön
feo/fea | laid/laide | hässlich
práctico/práctica | pratique | praktisch
pesado/pesada | lourd/lourde | schwer
ligero/ligera | léger/légère | leicht""")
_DEGREES = [
    ("es", "est", "ist"),
    ("es muy", "est très", "ist sehr"),
    ("no es", "n'est pas", "ist nicht"),
]


def _agreeing(quality: str, thing: str) -> str:
    masculine, _, feminine = quality.partition("/")
    return feminine if feminine and thing.startswith("la ") else masculine


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _descriptions() -> list[Word]:
    return [
        (
            f"{_capital(spanish)} {degree[0]} {_agreeing(quality[0], spanish)}",
            f"{_capital(french)} {degree[1]} {_agreeing(quality[1], french)}",
            f"{_capital(german)} {degree[2]} {quality[2]}",
        )
        for spanish, french, german, _ in _THINGS
        for quality in _QUALITIES
        for degree in _DEGREES
    ]


_FRAMES: list[Frame] = [
    ("$description",) * 3,
    ("$Person $does $thing $place",) * 3,
    # German puts the time before the object, the verb after a first word, the infinitive last.
    ("$Person $does $thing $time", "$Person $does $thing $time", "$Person $does $time $thing"),
    ("$Time $person $does $thing", "$Time, $person $does $thing", "$Time $does $person $thing"),
    ("$modal $do $thing", "$modal $do $thing", "$modal $thing $do"),
    ("$modal $do $thing $time", "$modal $do $thing $time", "$modal $time $thing $do"),
    ("$What está $place", "$What est $place", "$What ist $place"),
    ("¿$asks $person $thing?", "Est-ce que $person $asks $thing?", "$asks $person $thing?"),
]

_PERSONS = rows("""\
el médico | le médecin | der Arzt
la enfermera | l'infirmière | die Krankenschwester
el vecino | le voisin | der Nachbar
mi hermano | mon frère | mein Bruder
mi hermana | ma sœur | meine Schwester
la abuela | la grand-mère | die Großmutter
el abuelo | le grand-père | der Großvater
la niña | la petite fille | das Mädchen
el cocinero | le cuisinier | der Koch
mi amigo | mon ami | mein Freund
el profesor | le professeur | der Lehrer""")
_VERBS = rows("""\
compra | achète | kauft
busca | cherche | sucht
vende | vend | verkauft
encuentra | trouve | findet
olvida | oublie | vergisst
quiere | veut | will
recibe | reçoit | bekommt
pinta | peint | malt
pierde | perd | verliert
elige | choisit | wählt
paga | paie | bezahlt""")
_TIMES = rows("""\
hoy | aujourd'hui | heute
ahora | maintenant | jetzt
cada día | chaque jour | jeden Tag
esta noche | ce soir | heute Abend
el lunes | lundi | am Montag
el viernes | vendredi | am Freitag
mañana | demain | morgen""")

NON_ENGLISH = Grammar(
    ("spanish", "french", "german"),
    _FRAMES,
    {
        "description": _descriptions(),
        "thing": [(spanish, french, german) for spanish, french, _, german in _THINGS],
        "What": [tuple(map(_capital, names[:3])) for names in _THINGS],
        "person": _PERSONS,
        "Person": [tuple(map(_capital, names)) for names in _PERSONS],
        "does": _VERBS,
        "asks": [(_capital(names[0]), names[1], _capital(names[2])) for names in _VERBS],
        "do": rows("""\
comprar | acheter | kaufen
vender | vendre | verkaufen
buscar | chercher | suchen
pintar | peindre | malen
pagar | payer | bezahlen
traer | apporter | bringen"""),
        "modal": rows("""\
Quiero | Je veux | Ich will
Puedo | Je peux | Ich kann
Debo | Je dois | Ich muss
Queremos | Nous voulons | Wir wollen
Podemos | Nous pouvons | Wir können"""),
        "time": _TIMES,
        "Time": [tuple(map(_capital, names)) for names in _TIMES],
        "place": rows("""\
en la cocina | dans la cuisine | in der Küche
en el mercado | au marché | auf dem Markt
en la ciudad | en ville | in der Stadt
en la estación | à la gare | am Bahnhof
en el parque | dans le parc | im Park
en la escuela | à l'école | in der Schule
en el jardín | dans le jardin | im Garten
en la tienda | dans le magasin | im Laden"""),
    },
)
