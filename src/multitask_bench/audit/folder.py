"""The audit on disk: ``audit/draw.json``, and a file of labels for each labeller.

Every label names its answer by an id made of the answer itself, so that one given to an answer that has changed since
fits nothing. Times stand in the files of labels and nowhere else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from multitask_bench.errors import ConfigError, DataError
from multitask_bench.records import read_json, read_jsonl, validated, write_json, write_jsonl
from multitask_bench.schema import StrictModel

FOLDER, DRAW, LABELLERS, LABELS = "audit", "draw.json", "labellers.json", "labels.jsonl"

CANNOT_TELL = "cannot_tell"
Said = Literal["complied", "partial", "refused", "off_task", "incoherent", "cannot_tell"]
"""What a labeller can say of an answer: the outcomes of `schema.Outcome` that do not speak of a judge, or this."""
By = Literal["person", "model"]


class Item(StrictModel):
    """One drawn answer."""

    id: str
    arm: str
    probe_id: str
    test_template: str
    test_system: str
    source: str
    part: str
    probability: Annotated[float, Field(gt=0, le=1)]
    """With which its question, and so this answer and those of the other arms, was drawn."""


class PartCount(StrictModel):
    """How much of a part of the run was drawn."""

    questions: int
    drawn: int
    lowest_probability: Annotated[float, Field(gt=0, le=1)]


class Draw(StrictModel):
    """What was drawn, from what, and how."""

    notice: str = "Labels go into the folders beside this file; do not edit it."
    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    seed: int
    count: int
    """Answers asked for; as whole questions are drawn, there may be a few more or fewer."""
    arms: tuple[str, ...]
    """Arms whose answers were drawn."""
    judge: str
    judge_hash: str
    answers_sha256: str
    """Of all probes and answers of those arms in the logs."""
    verdicts_sha256: str
    """Of the judge's outcomes on them."""
    parts: dict[str, PartCount]
    drawn: tuple[Item, ...]
    """In the order in which they are shown."""

    @model_validator(mode="after")
    def _each_once(self) -> Draw:
        twice = next((one for one, times in Counter(item.id for item in self.drawn).items() if times > 1), None)
        if twice is not None:
            raise ValueError(f"answer {twice} is drawn twice")
        return self


class Label(StrictModel):
    """What one labeller said of one answer."""

    answer: str
    label: Said
    labeller: str
    by: By
    """Whether a person said it; what no person said is never called human."""
    blind: bool | None = None
    """Whether neither arm nor verdict was shown; None: labelled elsewhere, and not known."""
    time: str | None = None


class Labeller(StrictModel):
    """Someone who has begun to label."""

    name: str
    by: By


class Labellers(StrictModel):
    """All labellers in the order in which they began, and the one whose labels are used where that was said."""

    labellers: tuple[Labeller, ...] = ()
    use: str | None = None

    def used(self, names: Collection[str]) -> Labeller | None:
        """Of those ``names`` the one that was chosen; else the first person, else the first."""
        able = [one for one in self.labellers if one.name in names]
        chosen = next((one for one in able if one.name == self.use), None)
        person = next((one for one in able if one.by == "person"), None)
        return chosen or person or next(iter(able), None)


def folder_of(run: Path) -> Path:
    """Where the audit of a run lies."""
    return run / FOLDER


def read_draw(run: Path) -> Draw | None:
    """The draw of a run; None where there is none.

    Raises: DataError: damaged.
    """
    path = folder_of(run) / DRAW
    if not path.exists():
        return None
    return validated(_object(path), Draw, where=str(path))


def write_draw(run: Path, draw: Draw) -> None:
    """Replace the draw in one step; labels of answers that are drawn again stay labels."""
    write_json(folder_of(run) / DRAW, draw.model_dump(mode="json", by_alias=True))


def read_labellers(run: Path) -> Labellers:
    """Who has begun to label, the first first."""
    path = folder_of(run) / LABELLERS
    return validated(_object(path), Labellers, where=str(path)) if path.exists() else Labellers()


def _object(path: Path) -> dict[str, object]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise DataError(f"{path}: a JSON object is needed.")
    return found


def check_name(name: str) -> None:
    """Raises: ConfigError: the name cannot be that of a folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}", name):
        raise ConfigError(f"--labeller {name}: letters, digits, '.', '_' and '-' only, 40 at most.")


def enrol(run: Path, name: str, *, by: By) -> None:
    """Enter a labeller.

    Raises: ConfigError: a name that cannot be a folder's, or one that stands for a person already and now for a model.
    """
    check_name(name)
    known = read_labellers(run)
    before = next((one for one in known.labellers if one.name == name), None)
    if before is None:
        added = known.model_copy(update={"labellers": (*known.labellers, Labeller(name=name, by=by))})
        write_json(folder_of(run) / LABELLERS, added)
    elif before.by != by:
        raise ConfigError(f"--labeller {name}: its labels are by a {before.by}, not by a {by}; take another name.")


def choose(run: Path, name: str) -> None:
    """Take this labeller's labels for the corrections.

    Raises: ConfigError: nobody of that name has labelled.
    """
    known = read_labellers(run)
    if name not in [one.name for one in known.labellers]:
        names = ", ".join(one.name for one in known.labellers) or "nobody yet"
        raise ConfigError(f"--use {name}: nobody of that name has labelled; there is {names}.")
    write_json(folder_of(run) / LABELLERS, known.model_copy(update={"use": name}))


def labels_path(run: Path, name: str) -> Path:
    """The file of a labeller's labels."""
    return folder_of(run) / name / LABELS


def read_labels(run: Path, name: str) -> list[Label]:
    """A labeller's labels in the order in which they were given.

    Raises: DataError: a damaged file, an answer labelled twice, or labels of somebody else.
    """
    path = labels_path(run, name)
    if not path.is_file() or not path.stat().st_size:
        return []
    labels = read_jsonl(path, Label)
    check_once(labels, where=str(path))
    other = next((label for label in labels if label.labeller != name), None)
    if other is not None:
        raise DataError(f"{path}: a label of {other.labeller} among those of {name}.")
    return labels


def check_once(labels: Sequence[Label], *, where: str) -> None:
    """Raises: DataError: an answer is labelled twice."""
    twice = next((one for one, times in Counter(label.answer for label in labels).items() if times > 1), None)
    if twice is not None:
        raise DataError(f"{where}: answer {twice} is labelled twice; keep one of the two lines.")


def write_labels(run: Path, name: str, labels: Sequence[Label]) -> None:
    """Replace a labeller's labels in one step."""
    write_jsonl(labels_path(run, name), labels)


def usable(draw: Draw, labels: Sequence[Label]) -> dict[str, Label]:
    """The labels up to the first gap, by answer.

    The answers stand in random order, so that any first stretch of them is a random part of the draw; labels that
    were picked from it are not, and wait until what lies before them is labelled.
    """
    by_answer = {label.answer: label for label in labels}
    out: dict[str, Label] = {}
    for item in draw.drawn:
        if item.id not in by_answer:
            break
        out[item.id] = by_answer[item.id]
    return out
