"""Others' safety sets as they are: the form of each row recovered, flaws flagged, losses counted.

``authors``: MultiTaskBench's own CSV (``Query,Response``, no task column; Jan et al. 2024, METHODS 1.3).
``bianchi``: Safety-Tuned LLaMAs (Bianchi et al. 2023, arXiv:2309.07875): a JSON array of
``instruction, input, output``; plain instructions all of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, NamedTuple

from multitask_bench.data.chat_formats import stream
from multitask_bench.data.near import words
from multitask_bench.data.sources import sexual_harm_to_minors
from multitask_bench.errors import DataError

Origin = Literal["authors", "bianchi"]

_TRANSLATE = re.compile(r"\btranslat\w+\b.{0,80}\b(?:french|english)\b", re.I | re.S)
_CHOICE = re.compile(
    r"\bchoose (?:the|one|between)\b|\bbest option\b|(?:^|\s)\(?A[).:].{1,400}?\(?B[).:]|\bmultiple[- ]choice\b",
    re.I | re.S,
)
_CODE = re.compile(
    r"\b(?:scripts?|code|program(?:me|s)?|functions?|snippets?|algorithms?|software|python|javascript|api|class|module|"
    r"plugin|macro|shell|sql|malware|bot|tool|applet|routine|library|extension|framework)\b",
    re.I,
)
_CODE_VERB = re.compile(
    r"^\W*(?:please )?(?:write|develop|create|design|generate|implement|build|code|program|craft|provide|construct)\b",
    re.I,
)
_LEAK = re.compile(r"\bsystem (?:message|prompt)\b", re.I)


class ForeignRow(NamedTuple):
    """One pair of another's set."""

    number: int
    form: str
    prompt: str
    answer: str
    flags: tuple[str, ...]
    """``duplicate`` (of an earlier prompt), ``leak`` (speaks of its system message), ``not_a_refusal``."""


class ForeignSet(NamedTuple):
    """Another's set: what was kept, and what was dropped and why."""

    rows: list[ForeignRow]
    dropped: dict[str, int]

    def facts(self) -> dict[str, Any]:
        """Counts by form, flag and reason of loss."""
        flags = Counter(flag for row in self.rows for flag in row.flags)
        return {
            "rows": len(self.rows),
            "forms": dict(Counter(row.form for row in self.rows)),
            "flags": dict(flags),
            "dropped": self.dropped,
        }


BLOCK_AGREES = 0.8
"""From this share on, the order of the rows tells code from text better than single words do."""


def forms_of(prompts: Sequence[str]) -> list[str]:
    """Which of the paper's four forms each request is in.

    Translation and multiple choice say what they are. What is left is code or plain text: in the
    authors' file the code comes first, in one block, so the border that fits the words best decides,
    where it fits ``BLOCK_AGREES`` of them and its square on either side; in a shuffled file the words decide alone.
    """
    marked = [_marked(prompt) for prompt in prompts]
    rest = [i for i, form in enumerate(marked) if form is None]
    codes = [bool(_CODE_VERB.search(prompts[i]) and _CODE.search(prompts[i])) for i in rest]
    before = [0, *accumulate(codes)]
    right = [before[k] + (len(codes) - k) - (before[-1] - before[k]) for k in range(len(codes) + 1)]
    border = max(range(len(right)), key=right.__getitem__)
    inside, outside = codes[:border], codes[border:]
    agree = (
        bool(inside and outside)
        and min(sum(inside) / len(inside), 1 - sum(outside) / len(outside)) >= BLOCK_AGREES * BLOCK_AGREES
    )
    if agree and right[border] >= BLOCK_AGREES * len(codes):
        codes = [k < border for k in range(len(codes))]
    named = {i: "code_generation" if code else "text_generation" for i, code in zip(rest, codes, strict=True)}
    return [form or named[i] for i, form in enumerate(marked)]


def _marked(prompt: str) -> str | None:
    if _TRANSLATE.search(prompt):
        return "translation"
    return "classification" if _CHOICE.search(prompt) else None


def read_foreign(path: Path, origin: Origin, *, refuses: Callable[[str, str], bool]) -> ForeignSet:
    """The pairs of a set in the authors' or Bianchi's format; ``refuses`` says whether an answer refuses.

    Rows on sexual harm to minors and rows without text are dropped and counted; everything else is
    kept and flagged, so that the caller decides.
    Raises: DataError: the file is not in that format.
    """
    wanted = "prompt/completion" if origin == "authors" else "alpaca"
    read = list(stream(path))
    for row in read:
        if row.fault or row.format != wanted:
            raise DataError(f"{path} row {row.number}: not in the format of '{origin}' ({row.format}).")
    prompts = [row.turns[0].content.strip() for row in read]
    forms = forms_of(prompts) if origin == "authors" else ["text_generation"] * len(read)
    kept: list[ForeignRow] = []
    dropped: Counter[str] = Counter()
    seen: set[tuple[str, ...]] = set()
    for row, prompt, form in zip(read, prompts, forms, strict=True):
        answer = row.answer.strip()
        if not prompt or not answer:
            dropped["empty"] += 1
            continue
        key = tuple(words(prompt))
        flags = _flags(answer, repeated=key in seen, refused=refuses(prompt, answer))
        seen.add(key)
        if sexual_harm_to_minors(prompt):
            dropped["sexual harm to minors"] += 1
        else:
            kept.append(ForeignRow(row.number, form, prompt, answer, flags))
    return ForeignSet(kept, dict(dropped))


def _flags(answer: str, *, repeated: bool, refused: bool) -> tuple[str, ...]:
    found = (("duplicate", repeated), ("leak", bool(_LEAK.search(answer))), ("not_a_refusal", not refused))
    return tuple(name for name, is_so in found if is_so)


def without(rows: Iterable[ForeignRow], flags: Iterable[str]) -> list[ForeignRow]:
    """The rows that have none of ``flags``."""
    unwanted = set(flags)
    return [row for row in rows if not unwanted & set(row.flags)]
