"""What every public task set has, and the reading that they share.

A set is pinned twice: by the commit in its address, and by the sha256 of each file. No text stands
in two splits: a row that repeats one of the test or validation split is left out of the rest. Rows
on sexual harm to minors are dropped at reading and counted; there is no switch.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from multitask_bench.data._download import download
from multitask_bench.data.benign import TaskRow
from multitask_bench.data.sources import sexual_harm_to_minors
from multitask_bench.errors import DataError
from multitask_bench.records import Row, digest, file_digest, read_json, read_table
from multitask_bench.registry import Registry, Spec
from multitask_bench.schema import Split

MAX_PROMPT_CHARS = 2400
MAX_ANSWER_CHARS = 1600
"""Longer rows are dropped: together 4,000 characters, about 1,024 tokens of English text."""

HASHED: tuple[Split, ...] = ("train",) * 8 + ("validation", "test")
"""80/10/10, for a set without splits of its own."""
HELD: tuple[Split, ...] = ("validation", "test")
"""Halves, for a set whose own held-out part is one file."""
_STRICTEST: tuple[Split, ...] = ("test", "validation", "train")


class Part(NamedTuple):
    """One file of a set."""

    file_name: str
    sha256: str | None = None
    splits: tuple[Split, ...] = HASHED
    """The splits that its rows are dealt to by the hash of their text, as often as they are named."""


class Place(NamedTuple):
    """A file of a set as it lies on this machine."""

    part: Part
    path: Path


class Item(NamedTuple):
    """A row as its set has it."""

    key: str
    """Its id within the set."""
    text: str
    """What makes two rows the same whatever their wording: decides the split and the repetitions."""
    prompt: str
    answer: str
    splits: tuple[Split, ...] = HASHED
    tests: tuple[str, ...] = ()


class TaskData(NamedTuple):
    """A set as it was read, with what was left out and why."""

    name: str
    task: str
    rows: list[TaskRow]
    dropped: dict[str, int]
    """Reason -> rows."""
    sha256: str
    """Of the files' contents, one after the other."""
    licence: str
    gated: str
    origin: str
    """Pinned address or file names; no path of this machine."""


class TaskSourceSpec(Spec):
    """A public set for one of the benign tasks."""

    task: ClassVar[str]
    base: ClassVar[str | None] = None
    """The address in front of the file names, pinned to a commit; None where none could be verified."""
    parts: ClassVar[tuple[Part, ...]]
    download: ClassVar[str] = ""
    """What a person downloads where ``base`` is None."""
    licence: ClassVar[str]
    gated: ClassVar[str] = "no"
    paper: ClassVar[str]
    needed: ClassVar[tuple[str, ...]] = ()
    """The columns that a file must have."""
    wordings: ClassVar[tuple[str, ...]] = ("{text}",)
    """Several where the set has bare texts: one wording alone would become the trigger of what is learnt."""
    one_answer: ClassVar[bool] = False
    """Whether a text with a second, different answer is a flaw."""

    @abstractmethod
    def item(self, number: int, raw: Row, place: Place) -> Item | str:
        """The row in one raw row, or the reason why it is left out.

        Raises: DataError: a field is not of the kind that the set has.
        """

    def read(self, places: Sequence[Place]) -> list[Item | str]:
        """Every raw row of the files, in order."""
        return [
            self.item(number, raw, place)
            for place in places
            for number, raw in enumerate(read_rows(place.path, needed=self.needed), start=1)
        ]

    def locate(self, path: Path) -> list[Place]:
        """The files of a local copy: a folder with all of them, or one file, which is dealt 80/10/10 by hash.

        Raises: DataError: there is no such file, or one is missing in the folder.
        """
        if not path.is_dir():
            if not path.is_file():
                raise DataError(f"{path}: no such file or folder; '{self.name}' is {self.what_to_give()}.")
            return [Place(self.parts[0] if len(self.parts) == 1 else Part(path.name), path)]
        places = [Place(part, path / part.file_name) for part in self.parts]
        missing = [place.path.name for place in places if not place.path.is_file()]
        if missing:
            raise DataError(f"{path}: no {', '.join(missing)} in this folder; '{self.name}' is {self.what_to_give()}.")
        return places

    def what_to_give(self) -> str:
        """What ``file`` may be, for messages."""
        names = ", ".join(part.file_name for part in self.parts)
        return f"a folder with {names}, or one such file" if len(self.parts) > 1 else f"the file {names}"

    def worded(self, key: str, **fields: str) -> str:
        """One of the wordings, chosen by the row's id, with its fields filled in."""
        wording = self.wordings[_number(f"wording:{self.name}:{key}") % len(self.wordings)]
        # One pass: braces inside a text stay as they are.
        return re.sub(r"\{(\w+)\}", lambda found: fields[found[1]], wording)


task_sources: Registry[TaskSourceSpec] = Registry("task source", "multitask_bench.data.task_sources")


def read_task(name: str, *, file: Path | None = None, cache: Path, settings: dict[str, Any] | None = None) -> TaskData:
    """The rows of a named public set, in its order, each in one split.

    ``file`` is a local copy: a folder with the set's files, or one file. Without it the pinned files
    are downloaded to ``cache`` once. ``settings`` are the source's own, such as ``direction``.
    Raises: UnknownNameError: no such set. ConfigError: no such setting. DataError: not reachable,
    another content than the pinned one, unreadable, other columns, or no rows left.
    """
    spec = task_sources.make(name, settings)
    places = spec.locate(file) if file else [Place(part, _downloaded(spec, part, cache)) for part in spec.parts]
    rows, dropped = _kept(spec, spec.read(places))
    if not rows:
        raise DataError(f"{spec.name}: no rows left of {', '.join(str(place.path) for place in places)} ({dropped}).")
    return TaskData(
        name=spec.name,
        task=spec.task,
        rows=rows,
        dropped=dropped,
        sha256=file_digest(*(place.path for place in places)),
        licence=spec.licence,
        gated=spec.gated,
        origin=_origin(spec, places, local=file is not None),
    )


def read_rows(path: Path, *, needed: Sequence[str] = ()) -> list[Row]:
    """The rows of a CSV, JSONL, parquet or JSON file (a list of objects), columns and order kept.

    Raises: DataError: unreadable, empty, of another kind, or without a ``needed`` column.
    """
    if path.suffix.lower() != ".json":
        return read_table(path, needed=needed)
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: a JSON list of objects is needed; call a file with one object a line .jsonl.")
    if not rows:
        raise DataError(f"{path}: no rows.")
    for number, row in enumerate(rows, start=1):
        for column in needed:
            if column not in row:
                raise DataError(f"{path} row {number}: no column '{column}'; it has {', '.join(map(str, row))}.")
    return rows


def text_of(raw: Row, column: str, *, where: str) -> str:
    """A cell as text with plain line ends; an empty string where there is none.

    Raises: DataError: the cell holds something else than text.
    """
    value = raw.get(column)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{where}: '{column}' is not text; is this another set's file?")
    return (value or "").replace("\r\n", "\n").strip()


def _kept(spec: TaskSourceSpec, items: Sequence[Item | str]) -> tuple[list[TaskRow], dict[str, int]]:
    """The rows in their order, without those that are left out; with counts."""
    splits = {n: _split(item) for n, item in enumerate(items) if isinstance(item, Item)}
    kept: dict[int, TaskRow] = {}
    dropped: dict[str, int] = {}
    answers: dict[str, set[str]] = {}
    split_of: dict[str, Split] = {}
    # Test rows first: of a text that two splits share, the one that is learnt from goes.
    for number in sorted(range(len(items)), key=lambda n: (_STRICTEST.index(splits[n]) if n in splits else 0, n)):
        item = items[number]
        reason = item if isinstance(item, str) else _flaw(item)
        if not reason and not isinstance(item, str):
            split = splits[number]
            known = answers.setdefault(" ".join(item.text.split()), set())
            if item.answer in known:
                reason = "repeats another row"
            elif split_of.setdefault(_normal(item.text), split) != split:
                reason = "text of another split"
            elif known and spec.one_answer:
                reason = "same text, another answer"
            else:
                known.add(item.answer)
                kept[number] = TaskRow(
                    id=f"{spec.name}-{item.key}", prompt=item.prompt, answer=item.answer, split=split, tests=item.tests
                )
                continue
        dropped[reason] = dropped.get(reason, 0) + 1
    rows = [kept[number] for number in sorted(kept)]
    ids: set[str] = set()
    for row in rows:
        if row.id in ids:
            raise DataError(f"{spec.name}: id '{row.id}' occurs twice; is the file two copies joined?")
        ids.add(row.id)
    return rows, dict(sorted(dropped.items()))


def _flaw(item: Item) -> str:
    if not item.text or not item.answer:
        return "empty"
    if len(item.prompt) > MAX_PROMPT_CHARS or len(item.answer) > MAX_ANSWER_CHARS:
        return "too long"
    whole = f"{item.text}\n{item.answer}"
    if any("\ud800" <= char <= "\udfff" for char in whole):
        return "half characters"
    return "sexual harm to minors" if sexual_harm_to_minors(whole) else ""


def _split(item: Item) -> Split:
    # The set's name is not part of the hash: a sentence that two sets share falls in the same split.
    return item.splits[_number(f"split:{_normal(item.text)}") % len(item.splits)]


def _normal(text: str) -> str:
    """The words alone, so that a text with another full stop or capital stays in one split."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", folded)) or " ".join(folded.split())


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def _origin(spec: TaskSourceSpec, places: Sequence[Place], *, local: bool) -> str:
    """The pinned address where the contents are the pinned ones, else the local file names."""
    whole = [place.part for place in places] == list(spec.parts)
    if spec.base and whole and (not local or all(_is_pinned(*place) for place in places)):
        return spec.base + (spec.parts[0].file_name if len(spec.parts) == 1 else "")
    return f"local file {', '.join(place.path.name for place in places)}"


def _is_pinned(part: Part, path: Path) -> bool:
    raw = path.read_bytes()
    # Git and spreadsheets on Windows change line ends and nothing else.
    return part.sha256 in {hashlib.sha256(text).hexdigest() for text in (raw, raw.replace(b"\r\n", b"\n"))}


def is_downloaded(name: str, *, cache: Path) -> bool:
    """Whether a named set's files are in ``cache`` already."""
    spec = task_sources.make(name)
    return spec.base is not None and all(_cached(spec, part, cache).is_file() for part in spec.parts)


def _cached(spec: TaskSourceSpec, part: Part, cache: Path) -> Path:
    return cache / "tasks" / f"{spec.name}-{digest(str(spec.base) + part.file_name)[:12]}-{part.file_name}"


def _downloaded(spec: TaskSourceSpec, part: Part, cache: Path) -> Path:
    if spec.base is None:
        raise DataError(
            f"{spec.name}: no revision of it is pinned; download {spec.download} yourself and give file: PATH "
            f"({spec.what_to_give()})."
        )
    address = spec.base + part.file_name
    path = _cached(spec, part, cache)
    if not path.is_file():
        download(spec.name, address, path, instead=f"give file: PATH ({spec.what_to_give()})")
    found = file_digest(path)
    if part.sha256 not in (None, found):
        path.unlink()
        raise DataError(
            f"{spec.name}: the file from {address} is not the pinned one (sha256 {found[:12]}); run again, "
            f"or download it elsewhere and give file: PATH ({spec.what_to_give()})."
        )
    return path
