"""What every source has, and the reading that they share.

A source is pinned twice: by the commit in its address, and by the sha256 of the file where it is
known. Rows on sexual harm to minors are dropped at reading and counted; there is no switch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from multitask_bench.data._download import download
from multitask_bench.errors import DataError
from multitask_bench.records import Row, digest, file_digest, read_table, read_text
from multitask_bench.registry import Registry, Spec
from multitask_bench.schema import StrictModel

REQUEST_COLUMNS = (
    "prompt", "request", "goal", "Goal", "behavior", "Behavior", "behaviour", "forbidden_prompt", "prompts_final",
    "prompt_text", "query", "Query", "question", "instruction", "text",
)  # fmt: skip
"""Columns under which lists keep the request, the first that is there."""
CATEGORY_COLUMNS = ("category", "Category", "SemanticCategory", "harm_area", "hazard", "type")
ID_COLUMNS = ("id", "BehaviorID", "release_prompt_id")

_MINOR = (
    r"(?:child(?:ren|hood|ish)?|kids?|minors?|underage[ds]?|under-age|pre-?teens?|teen(?:s|age\w*)?|toddlers?|infants?|"
    r"bab(?:y|ies)|school ?(?:boy|girl)s?|(?:little|young|small) (?:boy|girl)s?|juveniles?|adolescents?|"
    r"\b(?:1[0-7]|[1-9])[- ]years?[- ]old|enfants?|mineure?s?|fillettes?|garçonnets?|adolescente?s?)"
)
_SEXUAL = (
    r"(?:sex\w*|porn\w*|nud(?:e|es|ity)|naked|erotic\w*|explicit|intimate|intercourse|molest\w*|groom(?:s|ed|ing)?|"
    r"paedophil\w*|pedophil\w*|lewd|fetish\w*|prostitut\w*|genital\w*|masturbat\w*|rap(?:e|es|ed|ist|ing)|strip\w*|"
    r"seduc\w*|arous\w*|incest\w*|obscen\w*|lust\w*|érotique\w*|nue?s?|viol(?:er|é|ée|s)?)"
)
_ALWAYS = re.compile(
    r"\b(?:csam|csem|cse|loli|shota|jailbait|child (?:porn\w*|abuse material)|p(?:a)?edophil\w*)\b", re.I
)
_MINOR_WORD = re.compile(rf"\b{_MINOR}\b", re.I)
_SEXUAL_WORD = re.compile(rf"\b{_SEXUAL}\b", re.I)
_CATEGORY = re.compile(r"child (?:sexual )?(?:abuse|exploitation)|^cse|csae|sexual exploitation of children", re.I)


class SourceRow(StrictModel):
    """One request of a list."""

    id: str
    text: str
    category: str | None = None
    benign: bool = False
    """Whether the list itself calls it harmless (XSTest's safe half)."""


class Listed(NamedTuple):
    """A list as it was read, with what was left out and why."""

    name: str
    rows: list[SourceRow]
    dropped: dict[str, int]
    """Reason -> rows."""
    sha256: str
    licence: str
    gated: str
    origin: str
    """Pinned address or file name; no path of this machine."""


class SourceSpec(Spec):
    """A public list."""

    address: ClassVar[str | None] = None
    """Pinned to a commit; None where no revision could be verified and a local file is needed."""
    sha256: ClassVar[str | None] = None
    licence: ClassVar[str]
    gated: ClassVar[str] = "no"
    paper: ClassVar[str]
    file_name: ClassVar[str] = "data.csv"
    request_column: ClassVar[str]
    category_column: ClassVar[str | None] = None

    def row(self, number: int, raw: Row) -> SourceRow | str:
        """The request in one raw row, or the reason why it is left out."""
        text = str(raw[self.request_column] or "").strip()
        category = str(raw[self.category_column] or "") if self.category_column else None
        return SourceRow(id=f"{self.name}-{number:04d}", text=text, category=category) if text else "empty"


sources: Registry[SourceSpec] = Registry("source", "multitask_bench.data.sources")


def sexual_harm_to_minors(text: str, category: str | None = None) -> bool:
    """Whether a request is, or may be, about sexual harm to minors; errs on the side of dropping."""
    if category and _CATEGORY.search(category):
        return True
    return bool(_ALWAYS.search(text) or (_MINOR_WORD.search(text) and _SEXUAL_WORD.search(text)))


def read_list(name: str, *, file: Path | None = None, cache: Path) -> Listed:
    """The rows of a named source, or of any file of requests given as ``name``.

    ``file`` is a local copy of a named source. A file of the user's own is csv, jsonl or parquet
    with one of ``REQUEST_COLUMNS``, or txt with a request a line.
    Raises: DataError: no such list, not reachable, another content than the pinned one, no rows.
    """
    if name in sources.names():
        return _named(sources.make(name), file, cache)
    path = file or Path(name)
    if not path.is_file() and not path.suffix:
        sources.get(name)  # names the known ones
    return _own(path)


def _named(spec: SourceSpec, file: Path | None, cache: Path) -> Listed:
    path = file or _download(spec, cache)
    found = file_digest(path) if path.is_file() else ""
    if file is None and spec.sha256 not in (None, found):
        path.unlink()
        raise DataError(f"{spec.name}: the file at {spec.address} is not the pinned one (sha256 {found[:12]}).")
    kept, dropped = _kept(
        [spec.row(number, raw) for number, raw in enumerate(read_table(path, needed=(spec.request_column,)), start=1)]
    )
    if not kept:
        raise DataError(f"{path}: no requests left ({dropped}).")
    origin = spec.address if found == spec.sha256 or file is None else f"local file {path.name}"
    return Listed(spec.name, kept, dropped, found, spec.licence, spec.gated, str(origin))


def _download(spec: SourceSpec, cache: Path) -> Path:
    if spec.address is None:
        raise DataError(f"{spec.name}: no revision of it is pinned; download it yourself and give --file PATH.")
    path = cache / "sources" / f"{spec.name}-{digest(spec.address)[:12]}{Path(spec.file_name).suffix}"
    if path.is_file():
        return path
    download(spec.name, spec.address, path, instead="give --file PATH")
    return path


def _own(path: Path, *, every: bool = False) -> Listed:
    raw: Sequence[SourceRow | str]
    if path.suffix.lower() == ".txt":
        lines = [line.strip() for line in read_text(path).splitlines()]
        raw = [
            SourceRow(id=f"{path.stem}-{number:05d}", text=line) if line else "empty"
            for number, line in enumerate(lines, start=1)
        ]
    else:
        table = read_table(path)
        column = next((name for name in REQUEST_COLUMNS if name in table[0]), None)
        if column is None:
            raise DataError(
                f"{path}: no column holds requests; name it 'prompt' (it has {', '.join(map(str, table[0]))})."
            )
        raw = [_own_row(path, number, row, column) for number, row in enumerate(table, start=1)]
    kept, dropped = ([row for row in raw if not isinstance(row, str)], {}) if every else _kept(raw)
    if not kept:
        raise DataError(f"{path}: no requests left ({dropped}).")
    ids = [row.id for row in kept]
    twice = next((row_id for row_id in ids if ids.count(row_id) > 1), None) if len(set(ids)) < len(ids) else None
    if twice:
        raise DataError(f"{path}: id '{twice}' occurs twice.")
    return Listed(path.stem, kept, dropped, file_digest(path), "as its owner says", "no", f"local file {path.name}")


def _own_row(path: Path, number: int, row: Row, column: str) -> SourceRow | str:
    if not isinstance(row.get(column) or "", str):
        return "not text"
    text = str(row.get(column) or "").strip()
    if not text:
        return "empty"
    if any("\ud800" <= char <= "\udfff" for char in text):
        return "half characters"
    found = next((row[name] for name in ID_COLUMNS if row.get(name)), None)
    category = next((row[name] for name in CATEGORY_COLUMNS if row.get(name)), None)
    return SourceRow(
        id=str(found or f"{path.stem}-{number:05d}"), text=text, category=str(category) if category else None
    )


def list_texts(name: str, *, file: Path | None = None, cache: Path) -> list[SourceRow]:
    """Every row of a list, those too that are never asked: to compare with, not to send.

    Raises: DataError: as `read_list`.
    """
    if name in sources.names():
        spec = sources.make(name)
        table = read_table(file or _download(spec, cache), needed=(spec.request_column,))
        pairs = ((n, str(raw[spec.request_column] or "").strip()) for n, raw in enumerate(table, start=1))
        return [SourceRow(id=f"{name}-{n:04d}", text=text) for n, text in pairs if text]
    return _own(file or Path(name), every=True).rows


def _kept(rows: Sequence[SourceRow | str]) -> tuple[list[SourceRow], dict[str, int]]:
    """Rows without those that were left out, those on minors and exact repetitions; with counts."""
    kept: list[SourceRow] = []
    dropped: dict[str, int] = {}
    seen: set[bytes] = set()
    for row in rows:
        key = hashlib.sha256((row if isinstance(row, str) else " ".join(row.text.lower().split())).encode()).digest()
        if isinstance(row, str):
            reason = row
        elif sexual_harm_to_minors(row.text, row.category):
            reason = "sexual harm to minors"
        elif key in seen:
            reason = "repeats another row"
        else:
            seen.add(key)
            kept.append(row)
            continue
        dropped[reason] = dropped.get(reason, 0) + 1
    return kept, dropped
