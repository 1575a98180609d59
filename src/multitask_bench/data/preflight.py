"""Pre-flight of a training file: what would make the training wrong, or the model less safe.

Each finding names its rows, says why it matters and what to do. ``error`` findings make training
wrong and stop it (exit code 2); a ``warning`` may cost safety or quality; a ``note`` is worth knowing.
Text of rows is never printed: personal data and harmful requests are row numbers only.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multitask_bench.data._findings import KINDS
from multitask_bench.data._harm import looks_harmful
from multitask_bench.data._row_checks import personal_data, text_codes
from multitask_bench.data.chat_formats import TrainRow, stream
from multitask_bench.data.near import near_duplicates, words

KEPT_ROWS = 10_000
"""Row numbers kept for each finding; the count goes on."""
NEAR_LIMIT = 20_000
"""So many prompts are held against each other for near duplicates; later ones only for exact ones."""
NEAR_JACCARD = 0.85
NEAR_WORDS = 5
"""A shorter prompt is a near duplicate of too much."""
FLAGGED_SHARE, FLAGGED_ROWS = 0.01, 10
"""Above this share, and from so many flagged harmful completions on, training stops unless it is allowed: ten
rows were enough in Qi et al. (2023), and the flag is too coarse for one."""
CHARACTERS_A_TOKEN = 3
"""Without a model: a cautious estimate of how many characters make a token."""
FEW_ROWS = 10

_MAYBE_REFUSAL = re.compile(
    r"sorry|apolog|can(?:no|')t|can not|cannot|unable|won't|will not|not able|refus|declin|not comfortable|désol|"
    r"ne (?:peux|puis|veux|vais)|impossible|je n[e']|against my|not something i", re.I
)  # fmt: skip
REFUSAL_HEAD = 400
"""Characters of an answer in which a first cue of refusal is looked for before the judge reads it."""

Measure = Callable[[TrainRow], "tuple[int, Sequence[str]]"]
"""A row -> its tokens, and the codes of what is wrong with its rendering."""
Refuses = Callable[[str, str], bool]
"""(request, answer) -> whether the answer refuses."""


class Options(NamedTuple):
    """What a check is told."""

    max_length: int
    """Tokens a row at most."""
    system: str | None = None
    """The deployment's system prompt; None: not said."""
    refuses: Refuses | None = None
    measure: Measure | None = None
    known_benign: Callable[[str], bool] | None = None
    """Whether a request is known to be harmless, whatever its words: bundled twins are."""


class Finding(NamedTuple):
    """One code with the rows it was found in."""

    code: str
    rows: tuple[int, ...]
    found: int
    """How often; ``rows`` holds the first of them."""
    detail: str = ""

    def facts(self) -> dict[str, Any]:
        """The finding as JSON values."""
        kind = KINDS[self.code]
        return {
            "code": self.code, "severity": kind.severity, "what": kind.what, "why": kind.why, "todo": kind.todo,
            "count": self.found, "rows": list(self.rows), "detail": self.detail,
        }  # fmt: skip


class Preflight(NamedTuple):
    """What a file holds and what is wrong with it."""

    rows: int
    formats: dict[str, int]
    tokens: dict[str, float]
    """``mean`` and ``max`` tokens a row (estimated without a model)."""
    findings: tuple[Finding, ...]
    near_checked: int
    """Prompts that were held against each other for near duplicates."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that make training wrong."""
        return tuple(f for f in self.findings if KINDS[f.code].severity == "error")


class _Tally:
    """Row numbers by code, bounded."""

    def __init__(self) -> None:
        self.rows: dict[str, list[int]] = {}
        self.found: Counter[str] = Counter()
        self.detail: dict[str, Counter[str]] = {}

    def add(self, code: str, number: int, detail: str = "") -> None:
        self.found[code] += 1
        kept = self.rows.setdefault(code, [])
        if len(kept) < KEPT_ROWS:
            kept.append(number)
        if detail:
            self.detail.setdefault(code, Counter())[detail] += 1

    def findings(self) -> Iterator[Finding]:
        order = list(KINDS)
        for code in sorted(self.found, key=order.index):
            detail = ", ".join(f"{name} ({n})" for name, n in self.detail.get(code, Counter()).most_common(6))
            yield Finding(code, tuple(self.rows.get(code, ())), self.found[code], detail)


class _Repeats:
    """Exact repetitions by hash, near ones among the first rows."""

    def __init__(self) -> None:
        self._rows: set[int] = set()
        self._prompts: set[int] = set()
        self.near: list[tuple[int, str]] = []

    def code(self, row: TrainRow) -> str | None:
        whole, asked = _hash(row.asked, row.answer), _hash(row.asked)
        repeated, conflicting = whole in self._rows, asked in self._prompts
        self._rows.add(whole)
        self._prompts.add(asked)
        if repeated or conflicting:
            return "duplicate" if repeated else "conflict"
        if len(self.near) < NEAR_LIMIT and len(words(row.questions)) >= NEAR_WORDS:
            self.near.append((row.number, row.questions))
        return None

    def near_rows(self) -> Iterator[int]:
        pairs = near_duplicates([text for _, text in self.near], jaccard=NEAR_JACCARD)
        return (self.near[number][0] for number in sorted({later for _, later, _ in pairs}))


def preflight(path: Path, options: Options) -> Preflight:
    """Check every row of a training file, streamed.

    Raises: DataError: the file cannot be read at all.
    """
    return check_rows(stream(path), options)


def check_rows(rows: Iterable[TrainRow], options: Options) -> Preflight:
    """Check rows one at a time; memory grows by some hundred bytes a row."""
    tally, repeats = _Tally(), _Repeats()
    formats: Counter[str] = Counter()
    total = longest = count = 0
    first: str | None = None
    for row in rows:
        count += 1
        formats[row.format] += 1
        if row.fault is not None:
            tally.add(row.fault.code, row.number)
            continue
        first = first or row.format
        if row.format != first:
            tally.add("mixed_formats", row.number, row.format)
        shown = list(text_codes(row))
        tokens, codes = _length(row, options) if "surrogates" not in shown else (0, ())
        total, longest = total + tokens, max(longest, tokens)
        repeated = repeats.code(row)
        for code in (*codes, *shown, *([repeated] if repeated else [])):
            tally.add(code, row.number)
        for name in personal_data(f"{row.asked}\n{row.answer}"):
            tally.add("personal", row.number, name)
        _judge(row, options, tally)
        if row.ignored:
            tally.add("ignored", row.number, ", ".join(row.ignored))
    for number in repeats.near_rows():
        tally.add("near_duplicate", number)
    _whole_file(tally, count)
    lengths = {"mean": total / max(1, count), "max": float(longest)}
    return Preflight(count, dict(formats), lengths, tuple(tally.findings()), len(repeats.near))


def _hash(*texts: str) -> int:
    joined = "\0".join(" ".join(text.split()) for text in texts)
    return int.from_bytes(hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _length(row: TrainRow, options: Options) -> tuple[int, Sequence[str]]:
    if options.measure is not None:
        return options.measure(row)
    tokens = sum(len(turn.content) for turn in row.turns) // CHARACTERS_A_TOKEN
    return tokens, ("maybe_too_long",) if tokens > options.max_length else ()


def _judge(row: TrainRow, options: Options, tally: _Tally) -> None:
    """Refusals, answered harm, and the system prompt."""
    request, answer = row.turns[-2].content, row.answer
    refuses = options.refuses
    refused = bool(refuses and _MAYBE_REFUSAL.search(answer[:REFUSAL_HEAD]) and refuses(request, answer))
    if refused:
        tally.add("refusal", row.number)
    elif answer.strip() and looks_harmful(request) and not (options.known_benign and options.known_benign(request)):
        tally.add("answered_harm", row.number)
    if options.system is not None and (row.system or "") != options.system:
        tally.add("system_differs", row.number)


def _whole_file(tally: _Tally, count: int) -> None:
    flagged = tally.found.get("answered_harm", 0)
    if flagged >= FLAGGED_ROWS and flagged > FLAGGED_SHARE * count:
        tally.found["flagged_share"] = flagged
        tally.rows["flagged_share"] = list(tally.rows["answered_harm"])
    if 0 < count < FEW_ROWS:
        tally.found["few_rows"] = count
