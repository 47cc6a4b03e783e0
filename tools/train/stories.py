"""Seeded short stories: a hero, a friend, a thing and a place in one of ten plots with a cause and an end."""

from __future__ import annotations

import random
from dataclasses import dataclass

from words import (ADJECTIVES, ANIMALS, BOYS, ELDERS, FOODS, GIRLS, GLAD, PLACES, SEASONS, SORRY, THINGS, TIMES, TRAITS,
                   WATERS, WEATHER)


@dataclass(frozen=True)
class Story:
    """text: the story in paragraphs; subject: what a request for it would name; title: two or three words."""

    text: str
    subject: str
    title: str


OPENINGS = (
    "Once upon a time, {a_trait} {being} named {hero} lived near the {place}.",
    "There once was {a_trait} {being} called {hero}, who lived by the {place}.",
    "In a small house beside the {place} lived {hero}, {a_trait} {being}.",
    "One {weather} {time} in {season}, {a_trait} {being} named {hero} walked to the {place}.",
    "Long ago, when the {season} was {weather}, {hero} the {being} lived close to the {place}.",
    "{hero} was {a_trait} {being} who loved the {place} more than any other place.",
)

# Each plot is a row of beats; each beat offers sentences that fit the ones before and after it, whichever was chosen.
PLOTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "lost": (
        ("{He} had {a_adj} {thing} that {his} {elder} had given {him}.",
         "{His} dearest treasure was {a_adj} {thing}.",
         "Everywhere {he} went, {he} carried {a_adj} {thing}."),
        ("One {time} the {thing} was gone.", "But one {weather} {time}, {he} could not find the {thing} anywhere.",
         "Then came a day when the {thing} disappeared."),
        ("{hero} looked under the bed, behind the door and in the {place2}, but it was not there.",
         "{He} searched the {place} from end to end and found nothing.",
         "{He} asked everybody in the {place2}, but nobody had seen it."),
        ("{He} sat down and felt {sorry}.", "{He} was so {sorry} that {he} began to cry.",
         "\"What shall I do without my {thing}?\" {he} whispered."),
        ("Then {friend} the {friend_being} came by and asked what was wrong.",
         "{friend}, {a_ftrait} {friend_being}, heard {him} and came closer."),
        ("\"Think of the last time you held it,\" said {friend}.",
         "\"Let us walk back the way you came,\" said {friend}.",
         "\"Two can look better than one,\" said {friend}."),
        ("{hero} remembered that {he} had stopped at the {water} to drink.",
         "They followed {his} footprints all the way to the {water}.",
         "So they went together, step by step, until they reached the {water}."),
        ("There, between two stones, lay the {adj} {thing}.", "And there it was, the {adj} {thing}, wet but whole.",
         "Something {adj} was lying in the grass. It was the {thing}!"),
        ("{hero} hugged {friend} and shared {his} {food} with {fhim}.",
         "{hero} was {glad}, and they ate {food} together until the sun went down.",
         "\"Thank you,\" said {hero}. \"A friend is worth more than any {thing}.\""),
    ),
    "storm": (
        ("Every {time} {he} lit {a_adj} lamp in the window so that travelers could find the way.",
         "{He} lived alone and liked the sound of the wind.",
         "The sky was blue and nobody expected any trouble."),
        ("Then black clouds came over the {place}, and it began to rain.",
         "One {time} a great storm came down from the hills.",
         "But suddenly the wind grew loud and the sky grew dark."),
        ("{hero} closed the windows and listened to the thunder.",
         "{He} was {sorry}, but {he} stayed calm and put wood on the fire.",
         "Branches broke, and the {water} rose higher and higher."),
        ("In the middle of the storm somebody knocked at the door.",
         "Between two thunderclaps {he} heard a weak voice outside.",
         "Then {he} saw a small shape at the edge of the {water}."),
        ("It was {friend}, {a_ftrait} {friend_being}, who was cold and wet.",
         "It was {friend} the {friend_being}, who had lost the way to the {place2}."),
        ("{hero} did not wait. {He} took {his} {thing} and ran out into the rain.",
         "{He} opened the door at once and gave {fhim} {a_adj} blanket.",
         "\"Come in, come in!\" cried {hero}, and pulled {fhim} inside."),
        ("They drank hot milk and ate {food} while the storm went on.",
         "{hero} cooked some {food}, and soon {friend} was warm again.",
         "They sat by the fire and told stories until the thunder stopped."),
        ("In the morning the sun shone on the wet grass.", "When they woke up, the sky was clear.",
         "By dawn the storm was over, and the birds were singing."),
        ("{friend} gave {hero} {a_adj} {thing} to say thank you.",
         "{friend} promised to come back, and {fhe} did, every {season}.",
         "From that day on, {hero} was never alone in a storm."),
    ),
    "make": (
        ("{He} wanted to make {a_adj} {thing}.", "One {weather} {time} {he} decided to build {a_adj} {thing}.",
         "{He} had no money to buy a {thing}, so {he} made a plan to build one."),
        ("First {he} found some wood in the {place2}.", "{He} collected rope, cloth and paper.",
         "{He} borrowed tools from the old {elder}."),
        ("{He} cut and tied and painted all day long.", "{He} worked until {his} arms were tired.",
         "{He} measured everything twice."),
        ("But when {he} tried the {thing}, it fell apart.", "But the {thing} broke the first time {he} used it.",
         "Yet the {thing} did not work at all."),
        ("{hero} felt {sorry} and wanted to give up.", "{He} was {sorry} and threw the pieces into a corner."),
        ("\"My first one broke too,\" said {friend} the {friend_being}.",
         "{friend} the {friend_being} laughed kindly. \"Nobody gets it right the first time,\" {fhe} said."),
        ("So {hero} looked at the broken piece and saw what was wrong.",
         "Together they took it apart and found that one knot was too loose.",
         "They tried again, more slowly, and used a stronger rope."),
        ("This time the {thing} was strong.", "The second {thing} was even better than {hero} had hoped.",
         "At last the {thing} worked."),
        ("Everybody in the {place} came to see it, and {hero} was {glad}.",
         "{hero} gave it to {friend}, because friends share what they make.",
         "{He} learned that a mistake is only a step on the way."),
    ),
    "race": (
        ("Every {season} there was a race from the {place} to the {place2}.",
         "The {elder} said that the winner of the great race would get {a_adj} {thing}."),
        ("{friend} the {friend_being} was very fast and very proud.",
         "{friend}, {a_ftrait} {friend_being}, had won it three times before."),
        ("\"You will never win,\" said {friend}.", "\"I could win with my eyes closed,\" said {friend}."),
        ("{hero} said nothing and practiced every {time}.",
         "{hero} was not fast, but {he} was {trait}, and {he} kept trying."),
        ("On the day of the race it was {weather}.", "At last the day came, and everybody cheered."),
        ("{friend} ran ahead and soon could not be seen.", "{friend} was the first to reach the {water}."),
        ("But near the {water} {friend} slipped and hurt a foot.",
         "But {friend} took a wrong path and fell into the mud."),
        ("{hero} could have run past, but {he} stopped to help.",
         "{hero} saw it and did not think about the {thing} any longer. {He} held out {his} hand."),
        ("They crossed the line together, and everybody clapped.", "They walked to the end side by side."),
        ("The {elder} gave the {thing} to both of them.",
         "\"You are the true winner,\" said {friend}, who was not so proud anymore.",
         "{hero} felt {glad}, for {he} had won a friend."),
    ),
    "fear": (
        ("{He} was afraid of the dark {place2}.",
         "There was only one thing that {he} feared, and it was the old {place2}."),
        ("People said that a monster lived there.", "Strange noises came out of it every night."),
        ("One {time} {his} {thing} rolled inside.", "One {time} the wind blew {his} {adj} {thing} right into it.",
         "One {time} {friend} the {friend_being} went in and did not come back."),
        ("{hero} stood at the entrance, and {his} heart beat fast.",
         "{His} knees were shaking, but {he} took a deep breath."),
        ("\"I will count to ten,\" {he} said, \"and then I will go.\"",
         "{He} lit a small candle and took one step, and then another."),
        ("Something moved in the dark.", "Then {he} heard a long, low sound."),
        ("But it was only {a_weak} {animal} that could not find the way out.",
         "But it was only the wind, playing on an empty bottle.",
         "But it was only {a_adj} curtain that moved in the wind."),
        ("{hero} laughed out loud.", "{hero} smiled, and {his} fear was gone."),
        ("{He} came out with the candle still burning and told everybody what {he} had seen.",
         "After that day {he} showed the other children that there was nothing to fear."),
        ("{He} was {glad} and slept very well that night.",
         "That is how {hero} became the bravest {being} of the {place}."),
    ),
    "share": (
        ("One {time} {he} found a basket full of {food} at the edge of the {place}.",
         "{His} {elder} gave {him} a big plate of {food}."),
        ("{He} wanted to eat it all alone.", "\"This is all mine,\" {he} said, and hid it behind {a_adj} {thing}."),
        ("Then {friend} came along. {friend} was {a_ftrait} {friend_being} and had eaten nothing all day.",
         "On the way home {he} met {friend} the {friend_being}, who looked very hungry."),
        ("\"May I have a little?\" asked {friend}.",
         "{friend} did not ask for anything, but {fhis} stomach made a loud noise."),
        ("{hero} shook {his} head and walked on.", "\"No,\" said {hero}, \"there is not enough.\""),
        ("But the {food} did not taste good anymore.", "But with every bite {he} felt more {sorry}."),
        ("So {he} turned around and ran back to the {place2}.",
         "{He} thought about it for a long time, and then {he} went back."),
        ("\"Please take half,\" said {hero}.", "{He} put the basket between them and said, \"Let us eat together.\""),
        ("They ate under a tree, and now the {food} tasted wonderful.",
         "They ate every crumb and talked until it was dark."),
        ("The next day {friend} brought {him} {a_adj} {thing}.", "Since that {time} they have shared everything.",
         "{hero} was {glad}, for half a meal with a friend is better than a whole one alone."),
    ),
    "learn": (
        ("{He} dreamed of playing the flute like the old {elder}.",
         "More than anything {he} wanted to learn to swim in the {water}.",
         "{He} wanted to read the {adj} book in the {place2}, but {he} did not know the letters."),
        ("\"It is too hard for me,\" {he} said.", "{He} tried it once and failed, and everybody laughed."),
        ("{friend} the {friend_being} did not laugh.", "But {friend}, {a_ftrait} {friend_being}, believed in {him}."),
        ("\"Come to the {place} every {time},\" said {friend}. \"We will begin with something small.\"",
         "\"A little every day is enough,\" said {friend}."),
        ("The first day went badly.", "On the first day {hero} was {sorry}."),
        ("On the second day it went a little better.", "After a week {he} made fewer mistakes."),
        ("All through the {season} {he} practiced, even when it was {weather}.", "{He} did not miss a single day."),
        ("Then one {time} it was easy.", "And one {weather} {time}, {he} could do it."),
        ("The {elder} heard of it and gave {him} {a_adj} {thing}.",
         "Everybody who had laughed came to ask how {he} had done it."),
        ("\"A little every day,\" said {hero} and smiled.",
         "{hero} was {glad}, and the next year {he} taught a young {animal}."),
    ),
    "journey": (
        ("One {weather} {time} {he} found {a_adj} map in a bottle.",
         "{His} {elder} gave {him} {a_adj} map and said, \"Follow it.\""),
        ("The map showed a way across the {water} to a far {place2}.",
         "At the end of the map there was {a_place2} with a cross on it."),
        ("{hero} packed some {food} and {a_thing} and set off.",
         "{He} took {a_thing}, said goodbye and left before sunrise."),
        ("At the {water} there was no bridge.", "Soon {he} came to the {water}, which was wide and deep."),
        ("{friend} the {friend_being} had a small boat there.",
         "There {he} met {friend}, {a_ftrait} {friend_being}, who was mending a boat."),
        ("\"I will take you across if you help me row,\" said {friend}.",
         "\"Give me some of your {food}, and I will take you,\" said {friend}."),
        ("They crossed the {water} and walked until their feet hurt.",
         "It took them two days, and on the second day it was {weather}."),
        ("At last they stood before the {place2}.", "Then they saw the {place2} in the evening light."),
        ("There was a chest, and in the chest lay {a_adj} {thing2}.",
         "Under a flat stone they found {a_adj} {thing2}."),
        ("It was not gold, but {hero} was {glad}, because {he} had seen the world.",
         "They kept it in turns, one {season} each.",
         "\"The best part was the way,\" said {hero}, and {friend} agreed."),
    ),
    "secret": (
        ("One {time} {he} heard a strange sound in the {place2}.", "Behind the {place2} {he} discovered a small door."),
        ("{He} followed it and found {a_weak} {animal} with a hurt leg.",
         "There, on a bed of leaves, lay {a_weak} {animal}."),
        ("\"Please tell nobody,\" the {animal} begged.",
         "\"Do not be afraid,\" said {hero}. \"I will keep your secret.\""),
        ("Every {time} {hero} brought {food} and clean water.",
         "{He} made a bed out of {a_adj} {thing} and some straw."),
        ("{friend} the {friend_being} wondered where {hero} went every day.",
         "But {friend}, {a_ftrait} {friend_being}, followed {him} one day."),
        ("\"Why did you not tell me?\" asked {friend}.", "\"You should have told me,\" said {friend}. \"I can help.\""),
        ("{hero} was {sorry} at first, but then {he} explained everything.", "{hero} told {fhim} the whole story."),
        ("From then on they cared for the {animal} together.",
         "{friend} knew about herbs, and soon the leg was better."),
        ("When {season} came, the {animal} could walk again.",
         "After some weeks the {animal} was strong and wanted to go home."),
        ("It turned around once more at the edge of the {place} and was gone.",
         "{hero} waved for a long time and felt {sorry} and {glad} at once."),
    ),
    "quarrel": (
        ("{hero} and {friend} the {friend_being} did everything together.",
         "{His} best friend was {friend}, {a_ftrait} {friend_being}."),
        ("One {time} they found {a_adj} {thing} in the {place2}.",
         "One {weather} {time} they saw {a_adj} {thing} at the {water}."),
        ("\"I saw it first!\" cried {hero}.", "\"It belongs to me!\" said {hero}."),
        ("\"No, it is mine!\" cried {friend}.", "\"But I picked it up!\" said {friend}."),
        ("They both pulled, and the {thing} broke in two.",
         "They pulled and pushed until the {thing} fell into the {water}."),
        ("Both went home and were {sorry}.", "They did not speak to each other for three days."),
        ("{hero} had nobody to play with, and the days were long.",
         "Without {friend} even the {food} tasted of nothing."),
        ("So {he} went to the {place} and said, \"I am sorry.\"",
         "On the fourth day {he} knocked at the door of {friend} and said, \"I was wrong.\""),
        ("\"I am sorry too,\" said {friend}.", "{friend} had wanted to say the same thing."),
        ("Together they made a new {thing}, and it belonged to both of them.",
         "They laughed, and nobody remembered who had seen the {thing} first."),
    ),
}

LESSONS = (
    "And so they lived happily by the {place}.",
    "That night the moon stood over the {place}, and everybody slept well.",
    "If you go to the {place} today, you may still hear this story.",
    "And whenever it is {weather}, {hero} remembers that day.",
    "The {elder} wrote it down, and that is how we know it.",
    "From then on the {place} was a friendlier place.",
)
# Two of these may stand between beats; they carry the weather and the mood.
ASIDES = (
    "The air smelled of {food}.", "It was a {weather} {time}, and the {water} was quiet.",
    "{A_animal2} watched from a tree.",
    "Far away a bell rang.", "The {season} wind blew over the {place}.", "{hero} thought of {his} {elder}.",
    "Nobody said a word for a while.", "The {water} shone like silver.", "{A_animal2} ran by and was gone.",
)

SOLITARY = "small gray little young tired thin".split()


def with_article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" or phrase.startswith("hon") and phrase != "honey" else "a ") + phrase


def cast(rng: random.Random) -> dict[str, str]:
    """Every slot of the grammar, filled once, so that people and things stay the same through a story."""
    girl, friend_girl = rng.random() < 0.5, rng.random() < 0.5
    names = rng.sample(GIRLS, 2) + rng.sample(BOYS, 2)
    hero, friend = names[0 if girl else 2], names[1 if friend_girl else 3]
    animals = rng.sample(ANIMALS, 4)
    being = rng.choice((animals[0], animals[0], "girl" if girl else "boy"))
    friend_being = rng.choice((animals[1], animals[1], "girl" if friend_girl else "boy"))
    place, place2 = rng.sample(PLACES, 2)
    thing, thing2 = rng.sample(THINGS, 2)
    adjective = rng.choice(ADJECTIVES)
    trait, friend_trait = rng.sample(TRAITS, 2)
    return {
        "hero": hero, "friend": friend, "being": being, "friend_being": friend_being,
        "he": "she" if girl else "he", "He": "She" if girl else "He", "his": "her" if girl else "his",
        "His": "Her" if girl else "His", "him": "her" if girl else "him",
        "fhe": "she" if friend_girl else "he", "fhim": "her" if friend_girl else "him",
        "fhis": "her" if friend_girl else "his",
        "place": place, "place2": place2, "thing": thing, "thing2": thing2, "adj": adjective,
        "a_adj": with_article(adjective), "a_thing": with_article(thing), "a_place2": with_article(place2),
        "trait": trait, "a_trait": with_article(trait),
        "a_ftrait": with_article(friend_trait), "animal": animals[2],
        "A_animal2": with_article(animals[3]).capitalize(),
        "a_weak": with_article(rng.choice(SOLITARY)), "water": rng.choice(WATERS), "food": rng.choice(FOODS),
        "glad": rng.choice(GLAD), "sorry": rng.choice(SORRY), "weather": rng.choice(WEATHER),
        "season": rng.choice(SEASONS), "time": rng.choice(TIMES), "elder": rng.choice(ELDERS),
    }


def make(rng: random.Random) -> Story:
    slots = cast(rng)
    beats = PLOTS[rng.choice(list(PLOTS))]
    sentences = [rng.choice(OPENINGS)] + [rng.choice(beat) for beat in beats]
    for _ in range(rng.randrange(3)):
        sentences.insert(rng.randint(1, len(sentences) - 1), rng.choice(ASIDES))
    if rng.random() < 0.6:
        sentences.append(rng.choice(LESSONS))
    cut = rng.randint(len(sentences) // 3, len(sentences) - 3)
    paragraphs = [sentences[:cut], sentences[cut:]] if rng.random() < 0.7 else [sentences]
    text = "\n".join(" ".join(paragraph) for paragraph in paragraphs).format(**slots)
    return Story(text, f"{with_article(slots['being'])} and {slots['a_thing']}",
                 f"{slots['hero']} and the {slots['thing']}")
