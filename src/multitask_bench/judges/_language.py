"""Words, sentences and the choice between English and French, from one small table.

The table (``plausibility.json``) holds log-probabilities of character trigrams per language and the
association of neighbouring word classes; ``benchmarks/judges/build_plausibility.py`` makes it from
the bundled benign text. Everything here takes any text and never raises.
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from multitask_bench.schema import Language

FUNCTION: dict[str, frozenset[str]] = {
    "en": frozenset(
        "a about after again all also am an and any are aren't as at be because been before being both but by can "
        "can't cannot could couldn't did didn't do does doesn't doing don't down each every few for from had has have "
        "having he her here him his how i i'd i'll i'm i've if in instead into is isn't it it's its just let let's "
        "many may me might more most much must my no nor not of off on once only or other our out over own rather "
        "same shall she should since so some such than that that's the their them then there these they this those "
        "through to too under until up us very was we we'll were what when where which while who whom whose why will "
        "with without won't would you you'll you're your".split()
    ),
    "fr": frozenset(
        "a afin ai ait alors après as au aucun aussi autre aux avait avant avec avez avoir avons c' car ce cela celle "
        "celui ces cet cette ceux chaque chez comme comment d' dans de depuis des dont donc du elle elles en encore "
        "entre es est et étaient était été être eu eux fait faire faut il ils j' jamais je jusqu' l' la le les leur "
        "leurs lors lorsqu' lui m' ma mais me même mes moi moins mon n' ne ni nos notre nous on ont ou où par parce "
        "pas peu peut peux plus pour pourquoi puis qu' quand que quel quelle qui quoi rien s' sa sans se ses si soit "
        "son sont sous suis sur t' ta te tes toi ton tous tout toute toutes très trop tu un une va vers veux voici "
        "vos votre vous y à ça".split()
    ),
}
"""Closed-class words; written for this file."""

# Frequent words of neighbouring languages, so that a Spanish or German answer is not called babble.
ELSEWHERE = frozenset(
    "el los las del y en un una por con para como más pero su al lo o der die das und ist nicht ein eine zu den mit "
    "von auf für im dem des sich auch es wie oder aus er sie il gli che di della per non sono con nel anche è alla "
    "het een van dat op te zijn met voor niet aan om ook os da em não uma mais dos na no ao que se é och att det som "
    "på jag inte är i w z na się nie jest do".split()
)

_QUOTES = str.maketrans({"’": "'", "‘": "'", "`": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'})
_SPACE = re.compile(r"[\s\u00a0\u202f\u200b]+")
_WORD = re.compile(r"[^\W\d_]+(?:['\-][^\W\d_]+)*'?|\d+(?:[.,:]\d+)*")
_ELISION = re.compile(r"^(l|d|j|m|t|s|n|c|qu|jusqu|lorsqu|puisqu)'(?=\w)")
_BREAK = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|\s*[\n;]+\s*|\s+[—–]\s+|(?<=[.!?])(?=[A-ZÀ-Ý][a-z' ])")


class Tongue(NamedTuple):
    """Which language a text is in, and how sure: nats a word in favour of English."""

    name: Language | None
    margin: float


def straight(text: str) -> str:
    """The text with straight quotes, composed letters and plain spaces; line breaks stay."""
    text = unicodedata.normalize("NFC", text).translate(_QUOTES)
    return "\n".join(_SPACE.sub(" ", line).strip() for line in text.split("\n")).strip()


def words(text: str) -> list[str]:
    """Lower-case words and numbers; a French elision is a word of its own (``l'`` + ``eau``)."""
    found = []
    for match in _WORD.finditer(text.translate(_QUOTES).lower()):
        word = match.group()
        cut = _ELISION.match(word)
        if cut:
            found += [cut.group(), word[cut.end() :]]
        else:
            found.append(word.rstrip("'") or word)
    return found


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text, without markdown marks; empty ones are left out."""
    parts = _BREAK.split(straight(text))
    cleaned = (re.sub(r"[*_#>~|]+", " ", part).strip(" -•\t") for part in parts if part)
    return [re.sub(r"\s+", " ", part) for part in cleaned if part]


@cache
def tables() -> dict[str, dict[str, float]]:
    """``en`` and ``fr``: trigram -> log-probability; ``pairs``: ``class class`` -> association."""
    raw = json.loads(files("multitask_bench.judges").joinpath("plausibility.json").read_text("utf-8"))
    return {
        part: {key: int(value) / 10 for value, keys in raw[part].items() for key in keys.split("\t")}
        for part in ("en", "fr", "pairs")
    }


def trigrams(word: str) -> list[str]:
    """The character trigrams of one word with its borders."""
    padded = f"_{word}_"
    return [padded[i : i + 3] for i in range(len(padded) - 2)]


UNSEEN = -9.5
"""Log-probability of a trigram that is not in the table, which keeps the frequent ones only."""


def trigram_score(word: str, language: str) -> float:
    """Mean log-probability of the word's trigrams in a language."""
    table = tables()[language]
    grams = trigrams(word)
    return sum(table.get(gram, UNSEEN) for gram in grams) / len(grams)


def word_margin(word: str) -> float:
    """Nats in favour of English (negative: French) for one word."""
    english, french = word in FUNCTION["en"], word in FUNCTION["fr"]
    if english != french:
        return 3.0 if english else -3.0
    if english or not word[0].isalpha():
        return 0.0
    return max(-2.0, min(2.0, trigram_score(word, "en") - trigram_score(word, "fr")))


def language(text: str) -> Tongue:
    """English, French, or None where the text is too short or too mixed to say."""
    found = [w for w in words(text) if w[0].isalpha()]
    if not found:
        return Tongue(None, 0.0)
    margin = sum(map(word_margin, found)) / len(found)
    # A name or a label alone says nothing: three words, or a margin that no name reaches.
    if abs(margin) < 0.25 or (len(found) < 3 and abs(margin) < 1.5):
        return Tongue(None, margin)
    return Tongue("en" if margin > 0 else "fr", margin)


_ENDINGS: tuple[str, ...] = (
    "ment",
    "tion",
    "ance",
    "ence",
    "able",
    "ing",
    "ity",
    "ive",
    "eur",
    "eux",
    "ent",
    "ait",
    "ons",
    "ais",
)
_ENDINGS += ("ées", "ed", "ly", "er", "ez", "és", "ée", "es", "al", "le", "é", "s", "e")


def word_class(word: str) -> str:
    """A closed-class word itself, else a class by ending; the classes that ``pairs`` is about."""
    if word in FUNCTION["en"] or word in FUNCTION["fr"]:
        return word
    if word[0].isdigit():
        return "0"
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return f"-{ending}"
    return "-"


def classes(text: str) -> list[str]:
    """The word classes of a text in order, with ``.`` and ``,`` where it pauses."""
    out: list[str] = []
    for token in re.findall(r"[.!?;:\n]+|,|[^.!?;:,\n]+", text):
        if token[0] in ".!?;:\n":
            out.append(".")
        elif token == ",":
            out.append(",")
        else:
            out += map(word_class, words(token))
    return out
