"""Word order: how often a closed-class word stands before one that it never stands before.

Small closed lists instead of a model: "the of", "to is", "de et" hardly ever occur in English or
French, however clumsy, but a third of such places go wrong when the words are shuffled.
"""

from __future__ import annotations

import re
from itertools import pairwise

from multitask_bench.judges import _language as lang


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_EN_VERBS = _set("is are was were am has had does did can could will would shall should must may might isn't aren't")
_EN_VERBS |= _set("don't doesn't didn't won't can't cannot couldn't wouldn't shouldn't i'm it's he's she's we'll i'll")
_EN_PREPOSITIONS = _set("of to from with at into by for about without during in on through until under because if than")
_EN_SUBJECTS = _set("i he she we they it you him her them us me")
_EN_DETERMINERS = _set("the a an my your our their every this that these")
_EN_AFTER_DETERMINER = (
    (_EN_VERBS - _set("can will may might must could"))
    | _EN_PREPOSITIONS
    | _EN_SUBJECTS
    | _EN_DETERMINERS
    | _set("and or but nor . ,")
)
_EN_AFTER_PREPOSITION = (_EN_VERBS - _set("it's i'm he's she's we'll i'll")) | _set("of and or but nor i he she they")

_FR_VERBS = _set("est sont suis es ai ont avons avez était étaient peut peux veut veux va vais faut fait soit ait")
_FR_PREPOSITIONS = _set("de d' du des à au aux dans par pour sur avec sans sous chez entre et ou mais car donc si")
_FR_SUBJECTS = _set("je j' tu il ils elle elles on nous vous qui que qu' ne n' me m' te t' se s' y")
_FR_NOUN_MARKS = _set("un une ce cette ces mon ma mes ton ta tes son sa ses notre nos votre vos leurs le la les l'")
_FR_AFTER_ARTICLE = _FR_PREPOSITIONS | _set("je j' tu il ils elle elles on qui que qu' ne n' se s' . , un une")
_FR_AFTER_ARTICLE |= _FR_NOUN_MARKS
_FR_AFTER_PREPOSITION = _FR_VERBS - _set("fait va") | _set("et ou mais car de d' du . , je j' tu il ils")
_FR_AFTER_SUBJECT = _FR_PREPOSITIONS | _FR_NOUN_MARKS - _set("le la les l'") | _set(". ,")

NEVER: dict[str, frozenset[str]] = {
    **dict.fromkeys(("the", "a", "an", "my", "your", "our", "their", "every"), _EN_AFTER_DETERMINER),
    **dict.fromkeys(("of", "from", "with", "at", "into", "by", "without", "during"), _EN_AFTER_PREPOSITION),
    "to": _EN_VERBS - _set("it's i'm i'll he's she's we'll") | _set("of to and or but i he she they"),
    **dict.fromkeys(("and", "or", "but"), _set("of and or but . ,")),
    **dict.fromkeys(("i", "he", "she", "we", "they"), _set("the a an of my our their from with by at to")),
    **dict.fromkeys(("is", "are", "was", "were"), _set("is are was were am has had can will would i of")),
    **dict.fromkeys(
        ("cette", "ces", "mon", "ma", "mes", "sa", "ses", "ton", "ta", "tes"), _FR_AFTER_ARTICLE | _FR_VERBS
    ),
    **dict.fromkeys(("notre", "nos", "votre", "vos", "leurs", "aux", "au", "du", "des"), _FR_AFTER_ARTICLE | _FR_VERBS),
    **dict.fromkeys(("le", "la", "les"), _FR_AFTER_ARTICLE),
    "une": _FR_AFTER_ARTICLE - _set("de des d' . ,") | _FR_VERBS - _set("fait"),
    "un": _FR_AFTER_ARTICLE - _set("de des d' , . à") | _FR_VERBS,
    **dict.fromkeys(
        ("dans", "par", "sur", "avec", "sous", "chez"), _FR_AFTER_PREPOSITION - _set("de d' du . ,") | _set("à")
    ),
    **dict.fromkeys(("de", "d'"), _FR_AFTER_PREPOSITION | _set("au aux par sur à dans est")),
    "à": _FR_AFTER_PREPOSITION | _set("dans par sur avec du au aux et"),
    **dict.fromkeys(("je", "j'", "tu", "il", "ils"), _FR_AFTER_SUBJECT - _set("y")),
    "et": _set("et ou . ,"),
    **dict.fromkeys(("est", "sont"), _set("est sont suis ont avons je tu il et")),
}
"""Word -> words (or ``.``, ``,``) that do not follow it."""
del _EN_VERBS, _EN_PREPOSITIONS, _EN_SUBJECTS, _EN_DETERMINERS, _EN_AFTER_DETERMINER, _EN_AFTER_PREPOSITION
del (
    _FR_VERBS,
    _FR_PREPOSITIONS,
    _FR_SUBJECTS,
    _FR_NOUN_MARKS,
    _FR_AFTER_ARTICLE,
    _FR_AFTER_PREPOSITION,
    _FR_AFTER_SUBJECT,
)


# "5a", "C3a", "Figure 2", "a.m." and "la la": labels and sounds whose letters look like articles.
_LABEL = re.compile(r"\b[^\W\d_]*\d+[^\W_]*\b|\b[ap]\. ?m\b\.?|\b([a-z]{2})(?: \1\b)+", re.I)


def tokens(text: str) -> list[str]:
    """The words in order, with ``.`` and ``,`` where the text pauses."""
    out: list[str] = []
    for piece in re.findall(r"[.!?;:\n…]+|,|[^.!?;:\n…,]+", _LABEL.sub("0", text)):
        if piece == ",":
            out.append(",")
        elif piece[0] in ".!?;:\n…":
            out.append(".")
        else:
            out += lang.words(piece)
    return out


def disorder(text: str) -> tuple[int, int]:
    """(places that go wrong, places looked at): neighbours whose first word is in ``NEVER``."""
    wrong = seen = 0
    for first, second in pairwise(tokens(text)):
        never = NEVER.get(first)
        if never is not None:
            seen += 1
            wrong += second in never
    return wrong, seen
