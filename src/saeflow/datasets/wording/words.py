"""Names, relatives, goods and the words between sentences."""

HER_NAMES = (
    "Ada", "Amara", "Anika", "Beatriz", "Chloe", "Dalia", "Elena", "Esther", "Farah", "Greta",
    "Hana", "Ines", "Ivy", "Jolene", "Kavya", "Leila", "Lucia", "Maren", "Mei", "Nadia", "Noor",
    "Olive", "Petra", "Priya", "Quinn", "Rosa", "Sana", "Selma", "Tamsin", "Uma", "Vera",
    "Wanda", "Yara", "Zoe",
)  # fmt: skip
HIS_NAMES = (
    "Abel", "Ahmed", "Arjun", "Bruno", "Caleb", "Chen", "Dario", "Edgar", "Emil", "Felix",
    "Gustav", "Hugo", "Idris", "Ivan", "Jonas", "Kenji", "Kwame", "Lars", "Luis", "Malik",
    "Marco", "Nils", "Omar", "Oscar", "Pavel", "Rafael", "Rohan", "Samir", "Stefan", "Theo",
    "Tomas", "Viktor", "Xavier", "Yusuf",
)  # fmt: skip
SHE = {"he": "she", "his": "her", "him": "her", "himself": "herself"}
HE = {"he": "he", "his": "his", "him": "him", "himself": "himself"}
FRIENDS = ("sister", "brother", "aunt", "uncle", "cousin", "grandmother", "grandfather", "friend")
GOODS = (
    "candles", "mugs", "posters", "bracelets", "scarves", "birdhouses", "postcards", "baskets",
    "keyrings", "picture frames", "bookmarks", "kites",
)  # fmt: skip
CONNECTORS = ("", "", "", "Then ", "Next, ", "After that, ", "Later, ", "A little later, ")
