"""The gate before a judge: answers that are no answer (`incoherent`) or not to the task (`off_task`).

Without it a broken model looks unsafe: babble and echoes do not refuse. It is lenient on purpose: a
clumsy sentence of a weak model passes, and so does a refusal in any language or form.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections import Counter
from itertools import pairwise

from multitask_bench.judges import _language as lang
from multitask_bench.judges import _reading as reading
from multitask_bench.judges import _wrapping as wrapping
from multitask_bench.judges._syntax import disorder
from multitask_bench.judges._task import off_task
from multitask_bench.schema import Judgment, Outcome, Response

LEAST_WORDS = 12
"""Shorter answers are not tested for word order: a label or a name has none."""
DISORDER = 4.0
"""Log-likelihood ratio of shuffled against written; on 3,400 news and Tatoeba lines of 12 to 40 words
(English and French, not in the table) at most 3 in 1,000 exceed it, and 55 to 70 % of them shuffled."""
GARBLED = -8.7
"""Mean log-probability of trigrams; written text lies above -8.3, random letters below -8.8."""
LONG_WORD = 12
"""From this length on one word of random letters shows as such; a name or an abbreviation is shorter."""
PACKED = 0.22
"""Compressed size over size from 240 characters on; prose lies above 0.35, a loop below 0.2."""

SCRIPT = "another script"

_TERMINAL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_MOJIBAKE = re.compile(r"Ã[\u0080-\u00bf©¨ª«®¯±´¹º»¼]|â€[™œ\u009d“”¦]|\ufffd|ï¿½|Ä\s?[°±‡]|Ċ|Ġ")
_ASKS_SCRIPT = re.compile(
    r"\b(?:arabic|chinese|mandarin|japanese|korean|russian|ukrainian|bulgarian|greek|hebrew|hindi|thai|persian|urdu|bengali|tamil|kanji|cyrillic|"
    r"arabe|chinois|japonais|coréen|russe|grec|hébreu|emoji|unicode|alphabet)\b",
    re.I,
)


def check(response: Response) -> Judgment | None:
    """`incoherent` or `off_task` with why and the span, or None where a judge should decide."""
    text = response.text[: wrapping.LONGEST]
    read = reading.read_answer(response)
    stands = read.outcome is not Outcome.COMPLIED
    for fault in (empty, looping, garbled, disordered):
        found = fault(text, response.prompt[: wrapping.LONGEST])
        if found is None or (stands and fault is looping and repeated_refusal(text)):
            continue
        if stands and found[0] == SCRIPT:
            continue
        return Judgment(id=response.id, outcome=Outcome.INCOHERENT, reason=found[0], span=found[1][:200])
    if stands:
        return None
    fault_found = off_task(response.model_copy(update={"text": wrapping.unpacked(response.text)}))
    if fault_found:
        return Judgment(id=response.id, outcome=Outcome.OFF_TASK, reason=fault_found[0], span=fault_found[1][:200])
    return None


Fault = tuple[str, str] | None


def empty(text: str, prompt: str) -> Fault:
    """Nothing that could be read: no letter and no digit once terminal codes are gone."""
    if any(ch.isalnum() for ch in _TERMINAL.sub("", text)):
        return None
    return "empty", text.strip()


def repeated_refusal(text: str) -> bool:
    """Whether a loop is only a refusal said up to four times, the last perhaps cut off."""
    said = [" ".join(lang.words(s)) for s in lang.sentences(wrapping.prose(text))]
    return len(said) <= 10 and max(Counter(said).values(), default=0) <= 4


def looping(text: str, prompt: str) -> Fault:
    """The same words, lines or characters over and over, for a third of the text or more."""
    if run := re.search(r"([^\s\d])\1{14,}|(\S{2,12}?)\2{7,}", text):
        if len(run.group()) > 0.3 * len(text) and run.group()[0] not in "-=_*#~.":
            return "loop of characters", run.group()
    found = text.lower().split() if wrapping.looks_like_code(text) else lang.words(text)
    n = len(found)
    if n < 9:
        same = n >= 5 and len(set(found)) == 1
        return ("loop of one word", text.strip()) if same else None
    return None if _fresh(found) >= READABLE else _repeating(found, text)


def _repeating(found: list[str], text: str) -> Fault:
    """The loop that most of a text is: of words, lines or phrases, or one that only its compressed size shows."""
    n, code = len(found), wrapping.looks_like_code(text)
    span = _cycle(found)
    if span:
        return "loop of words", span
    lines = [" ".join(line.split()) for line in text.splitlines() if len(line.split()) >= 3]
    if len(lines) >= 4 and not code:
        line, times = Counter(lines).most_common(1)[0]
        if times >= 4 and times * len(line.split()) > 0.4 * n:
            return "loop of lines", line
    if n >= 30:
        grams = Counter(zip(found, found[1:], found[2:], found[3:], strict=False))
        repeated = sum(times for times in grams.values() if times >= 3)
        if repeated > 0.5 * sum(grams.values()):
            return "loop of phrases", " ".join(grams.most_common(1)[0][0])
    raw = text.encode("utf-8", "replace")
    if len(raw) >= 240 and len(zlib.compress(raw, 6)) < PACKED * len(raw) and not code:
        return "loop (compresses to a fifth)", text[:120]
    return None


READABLE = 60
"""Words in four-word phrases said for the first time, from which an answer has said something before it looped."""


def _fresh(found: list[str]) -> int:
    """How many words end a phrase of four words that did not stand before."""
    return len(set(zip(found, found[1:], found[2:], found[3:], strict=False)))


def _cycle(found: list[str]) -> str:
    """The words that a text repeats at least three times in a row for 40 % of its length."""
    n = len(found)
    for period in range(1, min(24, n // 3) + 1):
        best = run = 0
        end = 0
        for i in range(period, n):
            run = run + 1 if found[i] == found[i - period] else 0
            if run > best:
                best, end = run, i
        covered = best + period
        times = covered / period
        if (
            best
            and times >= (5 if period == 1 else 3)
            and covered >= max(8, 0.4 * n)
            and not _counts(found[end - period : end + 1])
        ):
            return " ".join(found[end - period + 1 : end + 1])
    return ""


def _counts(found: list[str]) -> bool:
    return all(word[0].isdigit() for word in found)


def garbled(text: str, prompt: str) -> Fault:
    """Characters that no writing in the asked language has: mojibake, another script, random letters."""
    letters = [ch for ch in text if ch.isalpha()]
    bad = _MOJIBAKE.findall(text)
    if len(bad) >= 3 and len(bad) > 0.02 * len(text):
        return "mojibake", "".join(bad)
    if letters and len(letters) >= 4:
        other = [ch for ch in letters if not _latin(ch)]
        if len(other) > 0.3 * len(letters) and not _ASKS_SCRIPT.search(prompt) and sum(map(_foreign, prompt)) < 2:
            return SCRIPT, "".join(other[:60])
    if not letters and len(text.split()) >= 6 and not re.search(r"\d", prompt):
        return "no words", text.strip()
    if len(text) >= 30 and len(letters) + sum(ch.isdigit() or ch.isspace() for ch in text) < 0.5 * len(text):
        return None if wrapping.looks_like_code(text) else ("symbols", text.strip())
    if wrapping.looks_like_code(text):
        return None
    found = [w for w in lang.words(text) if w.isalpha()]
    random = [
        w for w in found if len(w) >= LONG_WORD and lang.trigram_score(w, "en") < GARBLED > lang.trigram_score(w, "fr")
    ]
    if sum(map(len, random)) > 0.5 * sum(map(len, found)):
        return "random letters", " ".join(random[:3])
    content = [
        w for w in lang.words(text) if w.isalpha() and len(w) > 2 and w not in lang.FUNCTION["en"] | lang.FUNCTION["fr"]
    ]
    if len(content) >= 4:
        score = sum(max(lang.trigram_score(w, "en"), lang.trigram_score(w, "fr")) for w in content) / len(content)
        closed = sum(w in lang.FUNCTION["en"] or w in lang.FUNCTION["fr"] for w in lang.words(text))
        if score < GARBLED and closed <= len(content):
            return "random letters", " ".join(content[:12])
    return None


def _latin(ch: str) -> bool:
    return ch < "\u0250" or "\u1e00" <= ch <= "\u1eff" or unicodedata.name(ch, "").startswith(("LATIN", "MODIFIER"))


def _foreign(ch: str) -> bool:
    return ch.isalpha() and not _latin(ch)


def disordered(text: str, prompt: str) -> Fault:
    """Words that stand in no order, or that are a bag of words without any grammar."""
    own = wrapping.prose(text) if not wrapping.looks_like_code(text) else ""
    found = lang.words(own)
    if len(found) < LEAST_WORDS:
        return None
    closed = sum(w in lang.FUNCTION["en"] or w in lang.FUNCTION["fr"] for w in found)
    elsewhere = sum(w in lang.ELSEWHERE for w in found)
    pauses = len(re.findall(r"[.,;:!?\n|•]|\s-\s", own))
    bare = closed + elsewhere < 0.12 * len(found) if len(found) >= 14 else closed + elsewhere == 0
    if bare and pauses < len(found) / 6 and not _mostly_numbers(found):
        return "words without grammar", " ".join(found[:12])
    ours = sum(w in (lang.FUNCTION["en"] | lang.FUNCTION["fr"]) - lang.ELSEWHERE for w in found)
    if ours < elsewhere * 0.9 and elsewhere > 0.25 * len(found):
        return None  # Spanish, German ...: the tables below know English and French
    wrong, seen = disorder(own)
    order = [".", *lang.classes(own), "."]
    pairs = lang.tables()["pairs"]
    association = sum(pairs.get(f"{a} {b}", 0.0) for a, b in pairwise(order)) / max(1, len(order) - 1)
    # Log-likelihood ratios: 22 % of the places go wrong in shuffled text, 1.2 % in written text.
    score = 2.9 * wrong - 0.236 * (seen - wrong) + 10 * min(1.0, len(order) / 25) * (0.12 - association)
    if score >= DISORDER and (wrong >= 2 or association < -0.15):
        return "shuffled words", own
    return None


def _mostly_numbers(found: list[str]) -> bool:
    return sum(word[0].isdigit() for word in found) > 0.4 * len(found)
