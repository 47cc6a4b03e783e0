"""The vocabulary that stories.py and arithmetic.py draw from: names, animals, things, places, weather, feelings."""

GIRLS = (
    "Anna Mia Lily Rosa Clara Nora Ella Ivy Maya Zoe Ruth Greta Hanna Sara Tess Alma Vera June Olga Leila Priya Yuki"
).split()
BOYS = (
    "Tom Ben Max Leo Sam Finn Jack Oscar Paul Noah Emil Hugo Ravi Omar Karl Theo Ned Will Luis Adam Igor Kenji"
).split()

ANIMALS = (
    "fox rabbit bear mouse owl hedgehog squirrel badger otter beaver wolf deer goat donkey cat dog duck goose hen crow "
    "sparrow frog turtle mole raccoon lamb pony pig swan robin"
).split()

THINGS = (
    "lantern kite drum key boat bell basket ladder clock mirror whistle hat scarf blanket compass map book flute "
    "hammer bucket wagon rope candle coin ring button feather marble puppet violin teapot umbrella telescope "
    "paintbrush necklace jar wheel sled shovel needle pillow spoon box letter crown shell stone flag mask broom"
).split()

ADJECTIVES = (
    "red blue green yellow golden silver white black purple old new tiny large shiny wooden broken soft heavy round "
    "striped painted dusty strange beautiful precious"
).split()

PLACES = (
    "forest meadow village harbor garden market castle mill farm school library bakery island beach lighthouse cave "
    "valley orchard barn station square park bridge tower museum kitchen attic workshop swamp desert"
).split()

WATERS = "river lake pond stream sea well".split()
FOODS = (
    "bread soup cake honey cheese apples berries pancakes porridge plums cookies carrots nuts pears pie milk"
).split()
TRAITS = (
    "brave shy clever kind lazy curious gentle proud patient stubborn careful cheerful quiet honest lonely hungry"
).split()
GLAD = "happy proud glad warm calm thankful joyful relieved".split()
SORRY = "sad worried afraid angry lonely tired ashamed upset".split()
WEATHER = (
    "sunny rainy windy foggy snowy stormy cloudy frosty cold warm"
).split()
SEASONS = "spring summer autumn winter".split()
TIMES = "morning afternoon evening day night".split()
ELDERS = (
    "grandmother grandfather teacher baker miller farmer captain doctor shepherd gardener blacksmith fisherman"
).split()

# Countable things of the word problems, in the plural.
COUNTED = (
    "apples pears plums oranges lemons cherries eggs cookies buns nuts marbles shells stones stickers stamps cards "
    "coins buttons beads pencils books balloons kites candles flowers tulips roses carrots pumpkins ribbons"
).split()
HOLDERS = "boxes bags baskets jars trays bowls crates shelves".split()
SHOPS = "shop market bakery fair store stall".split()
