"""Sentences and words of astronomy and of music."""

from saeflow.datasets.texts.documents.topic import Topic, listed

ASTRONOMY = Topic(
    name="astronomy",
    opening="I am {who} {where}.",
    frames=(
        "{instrument} was pointed at {planet} all night.",
        "{planet} orbits the sun in an ellipse.",
        "Light from {deep} needs {distance} to reach us.",
        "{scholar} measured the brightness of {star}.",
        "{star} will swell into a red giant one day.",
        "The orbit of {small} crosses that of {planet}.",
        "{event} could be seen from {spot}.",
        "With {instrument} we found {moon} at once.",
        "{scholar} photographed {deep} through a filter.",
        "{moon} is covered with craters and dust.",
        "The spectrum of {star} shows hydrogen and helium.",
        "{probe} flew past {planet} and sent back pictures.",
        "The gravity of {planet} bends the path of {small}.",
        "{small} was discovered by {scholar} from {spot}.",
        "During {event}, the sky over {spot} grew dark.",
        "{deep} lies at a distance of many light-years.",
        "{scholar} calculated the mass of {star}.",
        "{probe} entered an orbit around {moon}.",
        "Clouds hid {event} from {instrument}.",
        "The rotation of {planet} can be timed with {instrument}.",
        "{scholar} thinks that {deep} hides a black hole.",
        "At dusk {star} twinkled above the horizon.",
        "A meteor crossed the constellation next to {star}.",
        "Astronomers named {small} after {scholar}.",
        "{probe} carries a camera for ultraviolet light.",
        "In {distance}, {deep} will have drifted closer to us.",
    ),
    lists={
        "who": listed(
            "an astronomer, an amateur stargazer, an astrophysicist, a telescope engineer, "
            "a guide, a student of astronomy, a retired astronaut, a space scientist"
        ),
        "where": listed(
            "at the mountain observatory, at the planetarium, on a desert island, "
            "at a space agency, in a lonely valley, at the southern observatory, "
            "in a remote village, at the radio telescope"
        ),
        "instrument": listed(
            "the telescope, the radio telescope, the old refractor, the big mirror, "
            "the space telescope, the small spectrograph, the new reflector, "
            "the infrared camera"
        ),
        "planet": listed(
            "Saturn, Jupiter, Mars, Venus, Neptune, Uranus, Mercury, the outermost planet"
        ),
        "deep": listed(
            "the nebula, the spiral galaxy, the star cluster, the quasar, the distant galaxy, "
            "the Milky Way, the dwarf galaxy, the dark nebula"
        ),
        "distance": listed(
            "a thousand years, two million years, many centuries, ten thousand years, "
            "sixty years, a billion years, four hundred years, an immense time"
        ),
        "scholar": listed(
            "the astronomer, a young astrophysicist, the observer, a Danish stargazer, "
            "the physicist, the head of the observatory, a diligent student, the cosmologist"
        ),
        "star": listed(
            "the pulsar, the white dwarf, Sirius, the double star, the supernova, Polaris, "
            "Betelgeuse, the faint star"
        ),
        "small": listed(
            "the asteroid, the comet, the meteorite, the dwarf planet, the bright comet, "
            "the rocky asteroid, the icy comet, the tiny planetoid"
        ),
        "event": listed(
            "the lunar eclipse, the solar eclipse, the meteor shower, the transit of Venus, "
            "the northern lights, the supernova, the total eclipse, the conjunction"
        ),
        "spot": listed(
            "the desert, the mountain top, the southern hemisphere, the island, the valley, "
            "the roof of the observatory, the equator, the open sea"
        ),
        "moon": listed("Io, Titan, Europa, Rhea, Ganymede, Triton, Callisto, the largest moon"),
        "probe": listed(
            "the probe, the satellite, the spacecraft, the lander, the rocket, the orbiter, "
            "the capsule, the unmanned probe"
        ),
    },
    words=listed(
        "asteroid, astronaut, astronomer, astrophysicist, betelgeuse, callisto, cluster, "
        "comet, conjunction, constellation, cosmologist, craters, eclipse, ellipse, "
        "equator, europa, galaxy, ganymede, gravity, helium, hemisphere, horizon, hydrogen, "
        "infrared, jupiter, lander, light-years, lunar, mars, mercury, meteor, meteorite, "
        "moon, nebula, neptune, observatory, orbit, orbiter, planet, planetarium, "
        "planetoid, polaris, pulsar, quasar, rocket, satellite, saturn, sirius, solar, "
        "spacecraft, spectrograph, spectrum, star, sun, supernova, telescope, titan, "
        "ultraviolet, uranus, venus"
    ),
)

MUSIC = Topic(
    name="music",
    opening="I am {who} {where}.",
    frames=(
        "{musician} practised {piece} for {span}.",
        "{piece} begins softly with {instrument}.",
        "{group} rehearsed {piece} in {hall}.",
        "The conductor raised his baton and {group} fell silent.",
        "{musician} tuned {instrument} before the concert.",
        "The melody of {piece} is played by {instrument}.",
        "{piece} is written in {tone}.",
        "{group} sang the chorus twice as an encore.",
        "The rhythm of {piece} reminded us of {style}.",
        "{musician} composed {piece} in {span}.",
        "{instrument} sounded out of tune in {hall}.",
        "The audience in {hall} applauded {group}.",
        "{style} relies on {instrument} and a steady beat.",
        "In the second movement the tempo slows to {tempo}.",
        "{musician} recorded an album of {style}.",
        "The harmony changes from {tone} to {other}.",
        "{musician} hummed a tune and wrote down the lyrics.",
        "{part} of {piece} is marked {tempo}.",
        "{group} played {part} far too loudly.",
        "The pianist accompanied {musician} in {part}.",
        "The acoustics of {hall} suit {style}.",
        "{musician} forgot {part} and had to improvise.",
        "{instrument} joins in at the end of {part}.",
        "The choir held the final chord in {other}.",
        "{style} was new to {group}.",
        "{piece} was performed with {instrument} in {hall}.",
    ),
    lists={
        "who": listed(
            "a violinist, a pianist, a jazz drummer, a choir singer, a music teacher, "
            "a composer, a cellist, a street musician, an organist"
        ),
        "where": listed(
            "in a city orchestra, in a small band, at the opera, in a folk group, "
            "at the music school, in a cathedral choir, in a brass band, at a jazz cellar"
        ),
        "musician": listed(
            "the violinist, the soprano, the drummer, the cellist, the young composer, "
            "the guitarist, the trumpeter, the tenor"
        ),
        "piece": listed(
            "the sonata, the symphony, the lullaby, the string quartet, the waltz, "
            "the overture, the requiem, the fugue, the ballad"
        ),
        "span": listed(
            "three hours, a whole winter, two years, a week, most of the night, six months, "
            "a single afternoon, several days"
        ),
        "instrument": listed(
            "the flute, the cello, the piano, the oboe, the double bass, the clarinet, "
            "the harp, the bassoon, the saxophone"
        ),
        "group": listed(
            "the orchestra, the choir, the brass band, the trio, the quartet, the ensemble, "
            "the girls' choir, the jazz band"
        ),
        "hall": listed(
            "the concert hall, the opera house, the old chapel, the jazz club, the studio, "
            "the music school, the town theatre, the rehearsal room"
        ),
        "tone": listed(
            "C major, D minor, G major, F sharp minor, B flat major, E minor, A flat major, G minor"
        ),
        "other": listed(
            "A minor, D major, F major, C minor, E flat major, B minor, F minor, E major"
        ),
        "style": listed(
            "jazz, baroque music, folk music, the blues, chamber music, swing, choral music, "
            "film music, reggae"
        ),
        "tempo": listed(
            "adagio, andante, largo, moderato, a gentle lento, a slow three-four time, "
            "a calm andantino, a solemn grave"
        ),
        "part": listed(
            "the solo, the refrain, the first verse, the slow movement, the cadenza, "
            "the finale, the duet, the middle section"
        ),
    },
    words=listed(
        "accompanied, acoustics, adagio, album, andante, ballad, baroque, bassoon, baton, "
        "blues, brass, cadenza, cellist, cello, choir, choral, chord, chorus, clarinet, "
        "composed, composer, concert, conductor, drummer, duet, encore, ensemble, finale, "
        "flute, fugue, guitarist, harmony, harp, jazz, lullaby, lyrics, melody, moderato, "
        "music, musician, oboe, opera, orchestra, overture, pianist, piano, quartet, "
        "refrain, reggae, rehearsed, requiem, rhythm, saxophone, solo, sonata, soprano, "
        "symphony, tempo, tenor, trio, trumpeter, tune, violinist, waltz"
    ),
)
