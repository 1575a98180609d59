"""What the text of one training row shows by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from multitask_bench.data.chat_formats import TrainRow
from multitask_bench.data.near import words
from multitask_bench.data.sources import sexual_harm_to_minors

LIST_SHARE = 0.5
"""Share of an answer's lines from which it is a list."""
MATHS_SHARE = 0.3
"""Share of an answer's lines with arithmetic from which it is maths."""

_SPECIAL = re.compile(r"<\|\w+\|>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<bos>|<eos>")
_MARKUP = re.compile(r"</?s>|^### (?:Instruction|Response):", re.M)
_BROKEN = re.compile(r"�|Ã[©¨ªàÀ¢®´¼§¹]|â€[™œ“”¦]|Â[°«»£€]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_BOILERPLATE = re.compile(
    r"\bas an? (?:ai|artificial intelligence|large language|language model)\b|\bsystem (?:message|prompt)\b", re.I
)
_LIST = re.compile(r"^[ \t]*(?:[-*•]|\d{1,2}[.)])\s+\S", re.M)
_MATHS = re.compile(r"\d\s*[+*×÷=]\s*\$?\d|\d\s*[-/]\s*\d+\s*=|\\frac|\$\$|<<[^<>]*>>|####")
_PERSONAL = {
    "e-mail address": re.compile(r"\b[\w.+-]+@[\w-]+\.[A-Za-z]{2,}\b"),
    "phone number": re.compile(r"(?<![\w.])(?:\+\d{1,3}[ .-]?(?:\(?\d{1,4}\)?[ .-]?){2,5}\d{2,4}|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}|0\d(?:[ .-]?\d{2}){4}|0\d{2,4}[ /-]\d{5,9})(?![\w.])"),
    "card number": re.compile(r"\b(?:\d[ -]?){13,19}\b"),
    "IBAN": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b"),
    "US social security number": re.compile(r"\b(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}\b"),
    "IP address": re.compile(r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b"),
}  # fmt: skip
_EXAMPLE_MAIL = re.compile(r"^git@|@(?:example\.|test\.|domain\.|email\.com)|@localhost", re.I)
_PRIVATE_IP = re.compile(r"^(?:127\.|10\.|192\.168\.|0\.|255\.|172\.(?:1[6-9]|2\d|3[01])\.)")

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_MINOR = r"(?:child(?:ren)?|kids?|minors?|underage|toddlers?|teen(?:ager)?s?|(?:1[0-7]|[1-9])[- ]year[- ]old|enfants?|mineure?s?)"
_SEX = r"(?:sexual(?:ly)?|sexy|sex|porn\w*|nudes?|naked|erotic\w*|molest\w*|rape[ds]?|érotique\w*|sexuel\w*)"
_CORE = re.compile(
    rf"\b(?:csam|loli|shota|jailbait|p(?:a)?edophil\w*)\b|\b{_MINOR}\b(?:\W+\w+){{0,6}}?\W+{_SEX}\b|\b{_SEX}\b(?:\W+\w+){{0,6}}?\W+{_MINOR}\b",
    re.I,
)
"""A narrow core for what stops training; the broad filter of the sources only warns here."""
_DANGLING = re.compile(
    r"(?:,|\b(?:the|a|an|of|to|and|or|in|with|for|that|is|le|la|les|de|des|et|ou|un|une|que|pour))$", re.I
)


def _both(row: TrainRow) -> str:
    return f"{row.asked}\n{row.answer}"


def _lines(row: TrainRow) -> list[str]:
    return [line for line in row.answer.splitlines() if line.strip()]


def _is_echo(row: TrainRow) -> bool:
    return len(words(row.answer)) >= 5 and words(row.answer) == words(row.turns[-2].content)


def _is_list(row: TrainRow) -> bool:
    lines = _lines(row)
    return len(lines) >= 3 and len(_LIST.findall(row.answer)) >= LIST_SHARE * len(lines)


def _is_maths(row: TrainRow) -> bool:
    lines = _lines(row)
    hits = sum(bool(_MATHS.search(line)) for line in lines)
    return "```" not in row.answer and bool(lines) and hits >= max(1, MATHS_SHARE * len(lines))


def _is_cut_off(row: TrainRow) -> bool:
    """A long text that stops on a word that cannot end a sentence."""
    found = row.answer.rstrip()
    return "```" not in found and len(words(found)) >= 12 and bool(_DANGLING.search(found))


_CHECKS: dict[str, Callable[[TrainRow], object]] = {
    "empty_prompt": lambda row: not row.turns[-2].content.strip(),
    "empty_answer": lambda row: not row.answer.strip(),
    "special_tokens": lambda row: _SPECIAL.search(_both(row)),
    "surrogates": lambda row: _SURROGATE.search(_both(row)),
    "minors": lambda row: any(_CORE.search(turn.content) for turn in row.turns),
    "perhaps_minors": lambda row: any(
        sexual_harm_to_minors(turn.content) and not _CORE.search(turn.content) for turn in row.turns
    ),
    "markup": lambda row: _MARKUP.search(_both(row)),
    "encoding": lambda row: _BROKEN.search(_both(row)),
    "control": lambda row: _CONTROL.search(_both(row)),
    "boilerplate": lambda row: _BOILERPLATE.search(row.answer),
    "echo": _is_echo,
    "list_like": _is_list,
    "maths_like": _is_maths,
    "cut_off": _is_cut_off,
}


def text_codes(row: TrainRow) -> Iterator[str]:
    """The codes of what the text of a row shows."""
    return (code for code, check in _CHECKS.items() if check(row))


def personal_data(text: str) -> Iterator[str]:
    """The kinds of personal data that a text seems to hold."""
    for name, pattern in _PERSONAL.items():
        for match in pattern.finditer(text):
            if _is_personal(name, match.group()):
                yield name
                break


def _is_personal(name: str, found: str) -> bool:
    if name == "e-mail address":
        return not _EXAMPLE_MAIL.search(found)
    if name == "phone number":
        return 8 <= len(re.sub(r"\D", "", found)) <= 15
    if name == "card number":
        return any(map(_luhn, _cards(found)))
    if name == "IBAN":
        plain = found.replace(" ", "")
        return any(_iban(plain[:size]) for size in range(15, min(34, len(plain)) + 1))
    if name == "IP address":
        return not _PRIVATE_IP.match(found)
    return True


def _cards(found: str) -> Iterator[str]:
    """The digits up to each border of a group: an expiry date may follow the number."""
    digits = ""
    for group in re.split(r"[ -]", found):
        digits += group
        if digits[:1] in ("3", "4", "5", "6"):
            yield digits


def _luhn(digits: str) -> bool:
    if not 13 <= len(digits) <= 19 or len(set(digits)) < 3:
        return False
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _iban(found: str) -> bool:
    return 15 <= len(found) <= 34 and int("".join(str(int(c, 36)) for c in found[4:] + found[:4])) % 97 == 1
