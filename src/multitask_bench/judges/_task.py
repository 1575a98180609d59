"""Whether an answer does the task of its form at all: echo, wrong language, no option, no code."""

from __future__ import annotations

import ast
import re

from multitask_bench.judges import _language as lang
from multitask_bench.judges import _reading as reading
from multitask_bench.judges._acts import Act
from multitask_bench.schema import OWN_FORM, Response

Fault = tuple[str, str] | None

_INSTRUCTION = re.compile(
    r"\b(?:translate|put the|how do i|how can i|how to|give me|please|write|complete this|turn this|implement|choose one|multiple choice|which one|"
    r"which of|answer with|reply with|label this|classify|summari[sz]e|shorten|boil this|tl;dr|one-sentence|in one sentence|main point|i want to|i need|"
    r"my aim|i will use it|explain|tell me|what should i|purpose:|it will help me|this function|explique|comment puis-je|donne-moi|écris|traduis|résume|dis-moi|"
    r"je veux)\b"
)
_SUMMARY_REQUEST = re.compile(
    r"\b(?:summari\w+|shorten|boil this|tl dr|one[- ]sentence|main point|i want to|my aim is|my notes|it will help me)\b"
)
_CODE = re.compile(
    r"```|^\s*(?:def|class|import|from|for|while|if|try|with|return|function|const|let|var|public|#include|SELECT|async)\b.*[:;({\w]\s*$|"
    r"^\s*[\w.\[\]\"']+\s*[-+*/]?=\s*\S|^\s*[\w.]+\([^)]*\)?\s*;?\s*$|\bdef \w+\(|\bprint\(|\bimport \w+\b$|\blambda \w+:|=>",
    re.M,
)
_LETTER = re.compile(
    r"^\W*(?:(?:the |la |my )?(?:(?:correct|right|best|bonne) )?(?:answer|option|choice|réponse|choix)(?: is| would be| est)?\W*)?(?:option |letter )?"
    r"\(?([A-Da-d])\b(?:[).:,*]|\s*[-–—]|\s*$|\s+(?=is\b|because\b|would\b|est\b))",
    re.M,
)
_LETTER_INSIDE = re.compile(
    r"\b(?:answer|option|choice|choose|pick|select|réponse|choisis)\W+(?:is\W+|would be\W+|est\W+)?(?:option )?\(?([A-D])\b|\b([A-D])\)"
)
_OPTION_LINE = re.compile(r"^\s*\(?([A-D])[).:]\s*(\S.*)$", re.M)


PLEASANTRY_WORDS = 6
"""A longer apology may be one that a text in the prompt speaks of."""


def off_task(response: Response) -> Fault:
    """Why the answer is not to the task, with the span; None where it is, or where none can say."""
    if fault := echo(response) or copied_request(response):
        return fault
    if response.form in ("text_generation", "summarization") and only_pleasantries(response):
        return "says nothing about the request", response.text
    if response.form == "translation":
        return wrong_language(response)
    if response.form == "classification":
        return no_choice(response)
    if response.form == "code_generation" and not has_code(response.text):
        return "no code", response.text
    return None


def _grams(found: list[str], n: int) -> set[tuple[str, ...]]:
    return {tuple(found[i : i + n]) for i in range(len(found) - n + 1)}


def echo(response: Response) -> Fault:
    """Most of the answer stands in the prompt, and the request itself is among it."""
    answer, asked = lang.words(response.text), lang.words(response.prompt)
    if len(answer) < 6 or len(asked) < 6:
        return None
    size = 4 if len(answer) < 12 else 5
    mine = [tuple(answer[i : i + size]) for i in range(len(answer) - size + 1)]
    theirs = _grams(asked, size)
    if sum(gram in theirs for gram in mine) < 0.7 * len(mine):
        return None
    shared = _grams(answer, size) & theirs
    # Half of a summarization prompt is more than a sentence: the notes themselves, not their point.
    whole = len(shared) >= (0.5 if response.form == "summarization" else 0.8) * len(theirs)
    if response.form == "classification" and not whole and not _INSTRUCTION.search(" ".join(answer)):
        return None
    if response.form == "translation":
        # A copy of the message is judged by its language; only the request around it is an echo.
        return ("echo of the prompt", response.text) if whole else None
    payload = response.form in ("summarization", "classification", OWN_FORM)
    request = _SUMMARY_REQUEST if response.form == "summarization" else _INSTRUCTION
    instruction = any(request.search(" ".join(gram)) for gram in shared)
    # A summary may copy a sentence of the notes; a plan that only restates its goal is no plan.
    if whole or instruction or not payload:
        fresh = {w for w in answer if w not in set(asked) and len(w) > 3}
        if len(fresh) <= 5 or whole:
            return "echo of the prompt", response.text
    return None


def copied_request(response: Response) -> Fault:
    """The whole answer is one stretch of the prompt, and that stretch asks rather than tells."""
    answer, asked = lang.words(response.text), lang.words(response.prompt)
    if len(answer) < 4 or " ".join(answer) not in " ".join(asked):
        return None
    request = _SUMMARY_REQUEST if response.form == "summarization" else _INSTRUCTION
    asks = request.search(" ".join(answer)) or response.text.rstrip().endswith("?")
    # Advice that only repeats words of the question is no advice; a label or a summary may be a quotation.
    return ("echo of the prompt", response.text) if asks or response.form == "text_generation" else None


def only_pleasantries(response: Response) -> bool:
    """Whether the answer introduces itself, thanks or apologizes, and does nothing else."""
    found = reading.parts(response.text, response.prompt)
    idle = all(part.act is Act.FILLER or (part.act is Act.SORRY and part.n <= PLEASANTRY_WORDS) for part in found)
    return bool(found) and idle and not has_code(response.text)


def wrong_language(response: Response) -> Fault:
    """No part of a translation is in the language asked for."""
    target = response.target_language
    if target is None:
        return None
    text = re.sub(r"```\w*", " ", response.text)
    pieces = [piece for piece in re.split(r'[\n":.!?;()]+', lang.straight(text)) if piece.strip()]
    right = wrong = 0
    for piece in pieces:
        found = len(lang.words(piece))
        name = lang.language(piece).name
        right += found if name == target else 0
        wrong += found if name not in (None, target) else 0
    if wrong < 3 or right >= 0.35 * (right + wrong):
        return None
    # A mixed sentence still counts when a third of its words are of the target language alone.
    toward = [lang.word_margin(w) * (1 if target == "en" else -1) for w in lang.words(text) if w[0].isalpha()]
    sure = [m for m in toward if abs(m) >= 1.0]
    if sure and sum(m > 0 for m in sure) >= 0.4 * len(sure):
        return None
    message_words = len(lang.words(response.prompt)) / 2
    if right >= max(4, 0.3 * message_words):
        return None
    return "not in the language asked for", response.text


def options_of(response: Response) -> tuple[str, ...]:
    """The options the answer may choose from: given, or read from lines such as ``A) ...``."""
    return response.options or tuple(text.strip() for _, text in _OPTION_LINE.findall(response.prompt))


def no_choice(response: Response) -> Fault:
    """None of the options is chosen, or more than one; None where there are no options to compare with."""
    options = options_of(response)
    if len(options) < 2:
        return None
    chosen = chosen_options(response.text, options, lettered=bool(_OPTION_LINE.search(response.prompt)))
    if len(chosen) == 1:
        return None
    return ("chooses several options" if chosen else "chooses no option"), response.text


def chosen_options(text: str, options: tuple[str, ...], *, lettered: bool) -> set[int]:
    """The indices of the options that the answer settles on."""
    plain = " ".join(lang.words(lang.straight(text)))
    wanted = [" ".join(lang.words(option)) for option in options]
    letters: set[int] = set()
    if lettered:
        found = [m for pair in _LETTER_INSIDE.findall(text) for m in pair if m] + _LETTER.findall(text)
        letters = {"abcd".index(letter.lower()) for letter in found}
        letters = {i for i in letters if i < len(options)}
        if len(letters) == 1:
            return letters
        first = _LETTER.match(text.strip())
        if first and len(letters) < len(options) and "abcd".index(first.group(1).lower()) < len(options):
            return {"abcd".index(first.group(1).lower())}
    named = {i for i, option in enumerate(wanted) if option and re.search(rf"\b{re.escape(option)}\b", plain)}
    # "calm" inside "not calm", or inside the longer option, is not chosen.
    named = {i for i in named if not any(i != j and wanted[i] in wanted[j] for j in named)}
    chosen = {
        i
        for i in named
        if not re.search(
            rf"\b(?:not|n't|rather than|instead of|pas|isn't|never) (?:a |an |the |un |une )?{re.escape(wanted[i])}\b",
            plain,
        )
    }
    if len(chosen) > 1:
        opening = {i for i in chosen if re.match(rf"(?:\w+ ){{0,4}}{re.escape(wanted[i])}\b", plain)}
        if len(opening) == 1 and len(chosen) < len(options) + (len(options) == 2):
            return _settled(opening, chosen, plain)
        return chosen
    return chosen or letters or paraphrased(plain, wanted)


def _settled(opening: set[int], chosen: set[int], plain: str) -> set[int]:
    """The opening option, unless the answer only joins the options by "or" and "and"."""
    return chosen if re.search(r"\b(?:both|either|all of|les deux)\b", plain) or len(plain.split()) <= 8 else opening


def paraphrased(plain: str, wanted: list[str]) -> set[int]:
    """The one option of whose content words the answer holds 60 % or more, stems compared."""

    def stems(text: str) -> set[str]:
        return {w[:5] for w in text.split() if w not in lang.FUNCTION["en"] and w not in lang.FUNCTION["fr"]}

    said = stems(plain)
    shares = []
    for option in wanted:
        content = stems(option)
        shares.append(len(content & said) / len(content) if content else 0.0)
    best = max(shares)
    return {shares.index(best)} if best >= 0.6 and shares.count(best) == 1 else set()


def has_code(text: str) -> bool:
    """Whether any line is code: a fence, a definition, an assignment, a call, a loop, an expression."""
    if _CODE.search(text):
        return True
    try:
        tree = ast.parse(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(not isinstance(node, ast.Expr) or isinstance(node.value, ast.Call) for node in tree.body)
