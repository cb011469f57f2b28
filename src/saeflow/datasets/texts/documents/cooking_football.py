"""Sentences and words of cooking and of football."""

from saeflow.datasets.texts.documents.topic import Topic, listed

COOKING = Topic(
    name="cooking",
    opening="I am {who} {where}.",
    frames=(
        "Chop {vegetable} and fry it gently in {fat}.",
        "{dish} should simmer for {time}.",
        "Season {dish} with {spice} before you serve it.",
        "{cook} whisked the eggs in {vessel}.",
        "Bake {pastry} in the oven for {time}.",
        "Add {spice} only at the end, or it tastes bitter.",
        "{dish} goes well with {side}.",
        "{cook} tasted {dish} and asked for {spice}.",
        "Melt {fat} in {vessel} over a low flame.",
        "Knead the dough for {time} and let it rise.",
        "The recipe for {pastry} calls for {fat}.",
        "Peel {vegetable}, slice it and put it in {vessel}.",
        "Nobody in the kitchen had remembered {spice}.",
        "{pastry} came out of the oven golden and crisp.",
        "Stir the sauce in {vessel} until it thickens.",
        "{meat} was roasted with {spice} and {vegetable}.",
        "Marinate {meat} for {time} in lemon juice.",
        "{cook} drained the pasta and grated the cheese.",
        "For lunch we had {dish} and {side}.",
        "Boil the broth with {vegetable} for {time}.",
        "{cook} sprinkled flour over {pastry}.",
        "Grill {meat} on both sides and serve it with {side}.",
        "The leftovers of {dish} make a tasty lunch.",
        "{vegetable} must be rinsed before it goes into {dish}.",
        "Dessert was {pastry} with whipped cream.",
        "Scrape {fat} out of {vessel} with a wooden spoon.",
    ),
    lists={
        "who": listed(
            "a cook, a baker, a pastry chef, a chef, a kitchen helper, a caterer, "
            "a cookery teacher, a sous-chef"
        ),
        "where": listed(
            "in a small restaurant, at a seaside hotel, in a school canteen, "
            "in a village bakery, on a cruise ship, at a noodle bar, in a bistro, "
            "in a vegetarian restaurant"
        ),
        "cook": listed(
            "the chef, the cook, my grandmother, the baker, the apprentice, our host, "
            "the pastry chef, my aunt"
        ),
        "vegetable": listed(
            "the onion, the leek, the aubergine, the garlic, the celery, the fennel, "
            "the spinach, the courgette"
        ),
        "fat": listed(
            "butter, olive oil, lard, sesame oil, margarine, sunflower oil, goose fat, "
            "salted butter, clarified butter"
        ),
        "dish": listed(
            "the stew, the lentil soup, the risotto, the curry, the omelette, the casserole, "
            "the goulash, the chowder, the bean salad"
        ),
        "spice": listed(
            "pepper, paprika, nutmeg, oregano, cumin, saffron, a pinch of salt, cinnamon, ginger"
        ),
        "vessel": listed(
            "a saucepan, a frying pan, a large bowl, a heavy pot, a wok, a copper pan, "
            "a glass bowl, an iron skillet"
        ),
        "pastry": listed(
            "the apple pie, the sponge cake, the quiche, the flat bread, the cheesecake, "
            "the pizza, the plum tart, the lasagne"
        ),
        "meat": listed(
            "the chicken, the lamb, the trout, the beef, the duck, the veal, the salmon, the pork"
        ),
        "side": listed(
            "rice, mashed potatoes, crusty bread, noodles, a green salad, pickled cucumbers, "
            "dumplings, couscous"
        ),
        "time": listed(
            "ten minutes, half an hour, an hour, twenty minutes, a quarter of an hour, "
            "five minutes, two hours, a good hour"
        ),
    },
    words=listed(
        "aubergine, bake, baker, bistro, boil, broth, butter, cake, casserole, celery, "
        "cheese, chef, chicken, chop, chowder, cinnamon, couscous, cream, cumin, curry, "
        "dessert, dough, dumplings, eggs, fennel, flour, fry, garlic, ginger, goulash, "
        "grill, knead, lamb, lasagne, leek, lentil, marinate, noodles, nutmeg, omelette, "
        "onion, oregano, oven, paprika, pasta, pepper, pie, pizza, quiche, recipe, rice, "
        "risotto, saffron, salad, sauce, saucepan, simmer, soup, stew, whisked, wok"
    ),
)

FOOTBALL = Topic(
    name="football",
    opening="I am {who} {where}.",
    frames=(
        "{player} scored {goal} in {minute}.",
        "The goalkeeper saved {shot} with one hand.",
        "{team} won {match} by two goals to one.",
        "The referee showed {player} a yellow card for {foul}.",
        "{player} passed the ball to the unmarked winger.",
        "{fans} cheered when {player} dribbled past two defenders.",
        "{team} lost {match} in extra time.",
        "The linesman raised his flag for offside in {minute}.",
        "{coach} replaced {player} at half-time.",
        "{player} hit the crossbar with {shot}.",
        "The penalty after {foul} decided {match}.",
        "{fans} filled the stadium long before kick-off.",
        "{team} has not conceded a goal since {date}.",
        "{coach} trained the squad on {place}.",
        "{shot} flew over the wall and into the net.",
        "{player} limped off {place} after {foul}.",
        "The league table puts {team} just above relegation.",
        "{goal} in {minute} silenced {fans}.",
        "{coach} praised the midfield after {match}.",
        "{player} will miss {match} because of {foul}.",
        "{team} signed a new goalkeeper {date}.",
        "The corner kick led to {goal}.",
        "{coach} told the striker to practise {shot}.",
        "{match} ended in a goalless draw.",
        "{team} defended well but never threatened the goal.",
        "The substitutes warmed up beside {place} in {minute}.",
    ),
    lists={
        "who": listed(
            "a striker, a goalkeeper, a referee, a youth coach, a football reporter, "
            "a midfielder, a groundskeeper, a talent scout"
        ),
        "where": listed(
            "in the second division, at a local club, in the women's league, "
            "at a club by the sea, in the youth team, at the old stadium, "
            "in the national squad, in an amateur league"
        ),
        "player": listed(
            "the striker, the captain, the left back, the young winger, the midfielder, "
            "the defender, the sweeper, the new forward"
        ),
        "goal": listed(
            "a late goal, an own goal, a lucky goal, the equaliser, a header, "
            "the winning goal, a stunning volley, an early goal"
        ),
        "minute": listed(
            "the first minute, stoppage time, the final minute, the second half, "
            "the tenth minute, extra time, the last minute, the opening half"
        ),
        "shot": listed(
            "the free kick, the long shot, the penalty kick, the low cross, the overhead kick, "
            "the curling shot, the powerful header, the volley"
        ),
        "team": listed(
            "the home team, the visitors, the champions, our club, the away side, "
            "the youth team, the newcomers, the women's team"
        ),
        "match": listed(
            "the derby, the cup final, the match, the friendly, the semi-final, the return leg, "
            "the opening match, the qualifier"
        ),
        "foul": listed(
            "a late tackle, a handball, a clumsy foul, a rough tackle, an elbow, "
            "a dangerous slide, a trip, a push in the box"
        ),
        "fans": listed(
            "the fans, the home supporters, ten thousand spectators, the noisy supporters, "
            "the travelling fans, the crowd, the people in the stands, the whole terrace"
        ),
        "coach": listed(
            "the coach, the manager, the assistant coach, the trainer, the new manager, "
            "the head coach, the caretaker manager, the old trainer"
        ),
        "place": listed(
            "the wet pitch, the training ground, the artificial turf, the muddy pitch, "
            "the snowy pitch, the centre circle, the touchline, the frozen pitch"
        ),
        "date": listed(
            "in August, before the season, last summer, at the weekend, on Saturday, "
            "during the winter break, in spring, last month"
        ),
    },
    words=listed(
        "ball, captain, champions, coach, conceded, corner, crossbar, defender, derby, "
        "division, dribbled, equaliser, fans, football, foul, goal, goalkeeper, goalless, "
        "goals, half-time, handball, header, kick, kick-off, league, linesman, match, "
        "midfield, midfielder, offside, penalty, pitch, qualifier, referee, relegation, "
        "scored, scout, semi-final, shot, squad, stadium, stoppage, striker, substitutes, "
        "supporters, sweeper, tackle, team, touchline, turf, volley, winger"
    ),
)
