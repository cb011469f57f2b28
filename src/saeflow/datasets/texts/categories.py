"""One-line texts of seven kinds, as a model meets them on the web."""

from __future__ import annotations

import random

from saeflow.datasets.texts.pairs.slots import Grammar, distinct, listed, single
from saeflow.datasets.texts.text import Text, split_of

_NUMBERS = [str(n) for n in range(2, 13)]

_PYTHON = single(
    [
        "def $verb_$noun($arg):\n    return $arg $op $n",
        "def $verb_$noun(${noun}s, $arg=$n):\n    for $noun in ${noun}s:\n        $noun.$verb($arg)",
        "class $Class($Class2):\n    def $verb(self, $arg):\n        self.$noun = $arg",
        "class $Class:\n    $noun: $type = $n",
        "from app.${noun}s import $Class, $Class2",
        "import $module\nimport $module2 as $short",
        "with open('$noun.$suffix') as $short:\n    ${noun}s = $short.readlines()",
        "try:\n    $noun = $type(${noun2}s[$n])\nexcept $error:\n    $noun = None",
        "if $noun is not None and len(${noun2}s) $less $n:\n    raise $error('$noun')",
        "while $noun $less $n:\n    $noun += $verb($arg)",
        "${noun}s = [$verb($short) for $short in range($n)]",
        "${noun}s = sorted(${noun}s, key=lambda $short: $short.$noun2)[:$n]",
        "$noun = {'$noun2': $n, '$arg': ${type}()}",
        "assert $verb(${noun}s)[$n] == '$noun2'",
        "print(f'{$noun} {$noun2:.${n}f}')",
        "@$short.fixture\ndef $noun():\n    yield $Class($arg=$n)",
        "async def $verb_$noun(self) -> $type:\n    return await self.$noun2.$verb()",
    ],
    {
        "verb_": listed("load_ parse_ send_ count_ merge_ build_ check_ store_ fetch_ reset_"),
        "verb": listed("load parse send count merge build check store fetch reset"),
        "noun": listed("record metric signal table node frame event packet sample route widget"),
        "arg": listed("depth width size mode source target scale"),
        "op": listed("+ - * / // % **"),
        "less": listed("< > <= >= == !="),
        "n": _NUMBERS,
        "type": listed("int str float list dict set bool"),
        "Class": listed("Parser Engine Session Ledger Matrix Worker Buffer Camera Invoice Robot"),
        "module": listed("collections pathlib asyncio logging decimal itertools sqlite3 socket"),
        "short": listed("f k p q t u"),
        "suffix": listed("csv txt log cfg"),
        "error": listed("KeyError TypeError OSError IndexError RuntimeError"),
    },
)
_URLS = single(
    [
        "https://www.$site.$end/$page/$n$n2",
        "http://$page.$site.$end/$topic?page=$n",
        "https://$site.$end/$topic/$topic2-and-$topic3.html",
        "See https://$site.$end/$topic for $more.",
        "You will find $more at www.$site.$end/$page.",
        '<a href="https://$site.$end/$topic">$Label</a>',
        '<img src="/$page/$topic.png" width="${n}0" alt="$topic2">',
        '<div id="$topic"><h$digit>$Label</h$digit></div>',
        "<ul><li>$topic</li><li>$topic2</li></ul>",
        '<input type="text" name="$topic" value="$n">',
        "$method /$page/$topic/$n HTTP/1.1",
        "curl -O https://$page.$site.$end/$topic.tar.gz",
        "mailto:$topic@$site.$end?subject=$topic2",
        "ftp://$page.$site.$end/$topic/$n.zip",
        "$Label: www.$site.$end/#$topic",
        "git clone https://git.$site.$end/$topic/$topic2.git",
        '<link rel="stylesheet" href="$page/$topic.css?v=$n">',
    ],
    {
        "site": listed("bluekite oakdesk riverline tinylab parcelo mapfox sunmill quietbyte"),
        "end": listed("com org net io de co.uk"),
        "page": listed("docs blog shop files api help media forum"),
        "topic": listed("cameras recipes trains gardens maps tickets news music boats tools"),
        "n": _NUMBERS,
        "digit": listed("1 2 3 4"),
        "more": listed("the schedule,more pictures,the full list,our prices,a short video", ","),
        "Label": listed("Read more,Sign up,Our team,Download,Next page,Contact,Prices", ","),
        "method": listed("POST PUT DELETE HEAD PATCH"),
    },
)
_MATH = single(
    [
        "$f($v) = $k$v² $o $m$v $o2 $n",
        "∫ ($k$v $o $m) d$v = $k$v²/2 $o $m$v + C",
        "lim($v→∞) ($v $o $k)/($m$v) = 1/$m",
        "∑(i=$k to $n) ($m·i $o $k2) ≤ $n2$m",
        "√($v² $o $w²) $less $n",
        "d/d$v ($k·$trig($m$v)) = $f'($v)",
        "$trig(π/$m) $o $trig2(π/$k) = $v",
        "$v² + $w² ≤ $n²",
        "|$v $o $k| < $m",
        "P($v $less $k) = $m/$n",
        "∂²$f/∂$v∂$w = $k$v $o $m$w",
        "log_$k($v^$m) = $m·log_$k($v)",
        "($v $o $k)($w $o2 $m) = $n",
        "∀$v ∈ ℝ: $k$v² + $n > 0",
        "$k/$m $o $k2/$n = $v",
        "$term = $start · $k^n $o $m",
        "[[$k, $m], [$n, $n2]] · ($v, $w) = 0",
        "e^($k$v) $o e^(-$m$v) = $n",
        "∏(j=1 to $n) (1 $o $v/$k)",
        "$v ≡ $k (mod $n)",
    ],
    {
        "f": listed("f g h F φ"),
        "v": listed("x y z t u"),
        "term": listed("aₙ bₙ cₙ"),
        "start": listed("α β γ"),
        "w": listed("a b r s θ"),
        "o": listed("+ - ±"),
        "k": listed("2 3 4 5 6 7 8 9"),
        "m": listed("2 3 4 5 6 7 8 9"),
        "n": listed("10 11 12 13 15 16 18 20 24 25 27 30"),
        "trig": listed("sin cos tan sinh"),
        "less": listed("< > ≤ ≥ ≠ ="),
    },
)
_NON_ENGLISH = single(
    [
        "$es_who $es_does $es_what $es_when.",
        "¿$es_can $es_do $es_what?",
        "$fr_who $fr_does $fr_what $fr_when.",
        "Peux-tu $fr_do $fr_what $fr_when ?",
        "$de_when $de_does $de_who $de_what.",
        "Kannst du $de_when_later $de_what $de_do?",
        "$zh_who$zh_when$zh_does$zh_what。",
        "$zh_who想$zh_does$zh_what吗？",
        "$ja_whoは$ja_when$ja_whatを$ja_does。",
        "$ja_whatを$ja_doesか？",
        "$ru_when $ru_who $ru_does $ru_what.",
        "Где $ru_what и $ru_what2?",
    ],
    {
        "es_who": listed("Mi tía,Nuestro equipo,La cantante,El camarero,Mi primo", ","),
        "es_does": listed("prepara guarda comparte necesita cambia"),
        "es_what": listed("la cena,el mapa,una canción,los zapatos,las entradas,un regalo", ","),
        "es_when": listed("antes del viaje,por la tarde,este verano,en casa,otra vez", ","),
        "es_can": listed("Puedes,Quieres,Sabes,Vas a", ","),
        "es_do": listed("preparar guardar compartir cambiar llevar"),
        "fr_who": listed("Ma tante,Notre équipe,La chanteuse,Le serveur,Mon cousin", ","),
        "fr_does": listed("prépare garde partage change demande"),
        "fr_what": listed("le dîner,la carte,une chanson,les chaussures,un cadeau", ","),
        "fr_when": listed("avant le voyage,cet après-midi,cet été,à la maison,dimanche", ","),
        "fr_do": listed("préparer garder partager changer chercher"),
        "de_who": listed("meine Tante,unser Verein,die Sängerin,der Kellner,mein Vetter", ","),
        "de_does": listed("braucht behält teilt ändert bestellt"),
        "de_what": listed("das Essen,die Karte,ein Lied,einen Koffer,ein Geschenk", ","),
        "de_when": listed("Am Nachmittag,Im Sommer,Vor der Reise,Zu Hause,Am Sonntag", ","),
        "de_when_later": listed("am Nachmittag,im Sommer,vor der Reise,am Sonntag", ","),
        "de_do": listed("behalten teilen ändern bestellen mitbringen"),
        "zh_who": listed("我妹妹 老师 我们 他的朋友 邻居"),
        "zh_when": listed("明天 每天 晚上 周末 现在"),
        "zh_does": listed("买 找 喜欢 带 画"),
        "zh_what": listed("苹果 自行车 地图 礼物 花"),
        "ja_who": listed("母 友達 先生 弟 隣の人"),
        "ja_when": listed("明日 毎日 夜に 週末に 駅で"),
        "ja_what": listed("本 写真 りんご 地図 手紙"),
        "ja_does": listed("買います 探します 見ます 忘れます 送ります"),
        "ru_who": listed("моя сестра,наш учитель,бабушка,мой друг,сосед", ","),
        "ru_does": listed("покупает ищет рисует забывает любит"),
        "ru_what": listed("письмо дом хлеб чай стол велосипед"),
        "ru_when": listed("Сегодня,Каждый день,Вечером,Сейчас,Зимой", ","),
    },
)
_SOCIAL = single(
    [
        "$wow $thing $just $emoji",
        "$thing $just $slang $emoji$emoji2 #$tag",
        "who else is $doing $when?? $emoji",
        "me $doing $when $emoji$emoji",
        "$slang $thing is everything $emoji #$tag #$tag2",
        "POV: ur $doing $when $emoji",
        "not me $doing $when $slang",
        "$wow ${wow2}!!! $thing won $emoji$emoji2",
        "dm me if u want $thing $slang #$tag",
        "u guys $thing $just im so done $emoji",
        "$when + $thing = $emoji$emoji2$emoji3",
        "rt if ur $doing $when $slang #$tag",
    ],
    {
        "wow": listed("omggg,yooo,wait what,no wayyy,ayyy,helloo", ","),
        "thing": listed(
            "this sunset,my new sneakers,that plot twist,his dance,our team,the vinyl drop,"
            "grandmas cooking,this filter",
            ",",
        ),
        "just": listed("broke me,made my day,ate,went viral,got an upgrade", ","),
        "slang": listed("no cap,iykyk,smh,istg,deadass,fr tho", ","),
        "emoji": listed("🌅 👟 🤯 🕺 🏀 🎧 🍲 📸 😂 😱 🫶 🌈"),
        "tag": listed("mood blessed foodie nofilter throwback gameday weekendvibes ootd"),
        "doing": listed("eating cereal,doomscrolling,vibing,skipping leg day,crying", ","),
        "when": listed("at 3am,in class,on a monday,all day,during finals", ","),
    },
)
_FORMAL = single(
    [
        "The $body hereby $confirms $matter of the $object.",
        "$Matter of the $object shall be governed by $rule.",
        "Pending $matter of the $object, all $others remain suspended.",
        "The $study presented herein addresses $matter of the $object.",
        "It is respectfully submitted that the $object contravenes $rule.",
        "Please find enclosed the $object with respect to $matter.",
        "The $body concluded that $matter was consistent with $rule.",
        "Notwithstanding $rule, the $body $confirms the $object.",
        "A $study of $matter was conducted at the request of the $body.",
        "All $others shall notify the $body of the $object in writing.",
    ],
    {
        "body": listed(
            "tribunal,faculty senate,audit committee,appellate court,ministry,"
            "licensing board,editorial board,chancellor",
            ",",
        ),
        "confirms": listed("confirms rejects ratifies acknowledges rescinds"),
        "matter": listed(
            "the assessment,the renewal,the dissolution,the valuation,"
            "the interpretation,the transfer",
            ",",
        ),
        "Matter": listed("Renewal,Valuation,Interpretation,Dissolution,Transfer", ","),
        "object": listed(
            "lease agreement,pension scheme,research grant,corporate charter,"
            "sampling procedure,doctoral thesis,insurance policy,trade licence",
            ",",
        ),
        "rule": listed(
            "section nine of the act,the general conditions,the code of ethics,"
            "established precedent,the terms of reference",
            ",",
        ),
        "study": listed("meta-analysis,survey,theoretical framework,regression model", ","),
        "others": listed("shareholders,signatories,beneficiaries,applicants,trustees", ","),
    },
)
_CONVERSATIONAL = single(
    [
        "So I was $doing, and guess who called? $Name!",
        "Did $Name tell you about $thing?",
        "Honestly, I don't mind $doing as long as we have $thing.",
        "Well, $thing turned out $how, didn't it?",
        "Have you ever tried $doing $when?",
        "You know what, let's ask $Name about $thing.",
        "Oh, come on, $thing wasn't $how at all!",
        "Remember when $Name and I were $doing every day?",
        "I mean, $doing $when sounds $how to me.",
        "Sorry, were you $doing? I can ring back $when.",
        "Right, so who's bringing $thing $when?",
        "My $relative keeps $doing whenever $Name comes over.",
    ],
    {
        "Name": listed("Nora Felix Priya Omar Ruth Dana Hugo Lena"),
        "doing": listed(
            "fixing the sink,baking bread,walking the dog,painting the fence,"
            "learning the drums,watching old films",
            ",",
        ),
        "thing": listed(
            "the camping gear,that soup,the new bus route,your birthday cake,"
            "the school play,the broken heater",
            ",",
        ),
        "how": listed("pretty good,a bit strange,really expensive,so boring,lovely", ","),
        "when": listed("tonight,after lunch,on Saturday,in the rain,next week", ","),
        "relative": listed("uncle grandma sister roommate cousin dad"),
    },
)
CATEGORIES: dict[str, Grammar] = {
    "Python": _PYTHON,
    "URLs": _URLS,
    "Math": _MATH,
    "Non-English": _NON_ENGLISH,
    "Social": _SOCIAL,
    "Formal": _FORMAL,
    "Conversational": _CONVERSATIONAL,
}


def category_texts(*, seed: int, n_per_category: int) -> list[Text]:
    """Texts of every category; asking for more only appends within each.

    Parameters
    ----------
    seed : int
        Seed of the mixture.
    n_per_category : int
        Texts of each category.

    Returns
    -------
    list of Text
        Category by category.

    Raises
    ------
    ValueError
        If a category has too few distinct texts.
    """
    return [
        text
        for category, grammar in CATEGORIES.items()
        for text in _of(seed, category, grammar, n_per_category)
    ]


def _of(seed: int, category: str, grammar: Grammar, n: int) -> list[Text]:
    rng = random.Random(f"{seed}/categories/{category}")
    return [
        Text("categories", category, "", item, split_of(seed, category, text), "", text)
        for item, (text,) in distinct(lambda: grammar.draw(rng), n, category)
    ]
