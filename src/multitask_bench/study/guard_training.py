"""Training the embedded guard: which rows, with which weights, and the threshold that validation rows set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multitask_bench.data.sources import sexual_harm_to_minors
from multitask_bench.errors import DataError
from multitask_bench.guards._ngrams import Linear, fit
from multitask_bench.records import digest, read_table, text_digest
from multitask_bench.schema import OWN_FORM
from multitask_bench.study.guard_rows import (
    Example,
    more_benign,
    phrase_examples,
    probe_examples,
    task_examples,
)
from multitask_bench.study.probes import FORMS, rank

PENALTY_INVERSE = 1.0
KEPT_GRAMS = 30_000
WORDINGS = 2
"""Templates that each training intent stands in, of every form and language."""
NEAR_WEIGHT = 0.5
"""Of a probe whose twin shares nearly all of its words; they are hard, and would outweigh everything else."""
TASK_WEIGHT = 1.5
"""Of an ordinary benign row: what a guard reads most."""
FALSE_ALARMS = 0.03
"""Share of ordinary benign validation rows that the threshold lets be stopped, as the mean over their kinds."""
ORDINARY = ("task", "sentence", "goal")
"""Kinds of benign rows that the threshold goes by; twins are reported, not tuned on."""
OWN = "own"
LABELS = {"1": True, "0": False, "true": True, "false": False, "harmful": True, "benign": False}
OWN_VALIDATION = 5
"""One in so many rows of an own file is left for the threshold."""


class Trained(NamedTuple):
    """A guard with what it was made of."""

    model: Linear
    facts: dict[str, Any]
    """Rows by kind, their hash, and the rates on validation rows; no times and no paths."""


def bundled_rows(split: Any, form_names: Sequence[str] = FORMS) -> list[Example]:
    """What the project brings to train on, or to set a threshold with."""
    wordings = WORDINGS if split == "train" else 1
    return [
        *probe_examples(split, held_out=False, form_names=form_names, wordings=wordings),
        *task_examples(split, form_names=form_names),
        *more_benign(split, form_names=form_names),
        *phrase_examples(split, form_names=form_names),
    ]


class OwnRows(NamedTuple):
    """The rows of a file of the user's."""

    train: list[Example]
    validation: list[Example]
    """For the threshold; the same text never stands on both sides."""
    dropped: int
    """Rows on sexual harm to minors, which are never used."""


def own_rows(path: Path) -> OwnRows:
    """The rows of a table with the columns ``prompt`` and ``label``.

    A label is 1, true or harmful, or 0, false or benign; ``form``, ``language`` and ``id`` are optional.
    Raises: DataError: an unknown label, or an empty prompt.
    """
    out = OwnRows([], [], 0)
    for number, row in enumerate(read_table(path, needed=("prompt", "label")), start=1):
        label, text = str(row["label"]).strip().lower(), str(row["prompt"] or "").strip()
        if label not in LABELS:
            raise DataError(f"{path} row {number}: label '{label[:40]}' is none of {', '.join(LABELS)}.")
        if not text:
            raise DataError(f"{path} row {number}: the prompt is empty.")
        if sexual_harm_to_minors(text):
            out = out._replace(dropped=out.dropped + 1)
            continue
        made = Example(
            id=str(row.get("id") or number),
            text=text,
            harmful=LABELS[label],
            form=str(row.get("form") or OWN_FORM),
            language=str(row.get("language") or "en"),
            kind="list",
            group=text_digest(text)[:16],
            source=OWN,
        )
        (out.validation if rank(f"own:{text}") % OWN_VALIDATION == 0 else out.train).append(made)
    return out


def train_linear(
    *, form_names: Sequence[str] = FORMS, own: Path | None = None, bundled: bool = True, keep: int = KEPT_GRAMS
) -> Trained:
    """The embedded guard, trained on the bundled rows, on a file of the user's, or on both.

    The same rows give the same model.
    Raises: DataError: rows of one kind only, or none to set the threshold with; MissingExtraError: no scikit-learn.
    """
    dropped = 0
    train = bundled_rows("train", form_names) if bundled else []
    validation = bundled_rows("validation", form_names) if bundled else []
    if own is not None:
        mine = own_rows(own)
        train, validation, dropped = train + mine.train, validation + mine.validation, mine.dropped
    model = fit(
        [row.text for row in train],
        [row.harmful for row in train],
        [weight_of(row) for row in train],
        keep=keep,
        penalty_inverse=PENALTY_INVERSE,
    )
    scores = model.scores([row.text for row in validation])
    threshold = chosen_threshold(validation, scores)
    facts = {**_facts(train, validation, scores, threshold), "dropped": dropped}
    return Trained(model._replace(threshold=threshold), facts)


def weight_of(row: Example) -> float:
    """How much a training row counts."""
    if row.kind in ("intent", "twin"):
        return NEAR_WEIGHT if row.source == "bundled" else 1.0
    return TASK_WEIGHT if row.kind == "task" else 1.0


def chosen_threshold(rows: Sequence[Example], scores: Sequence[float], *, allowed: float = FALSE_ALARMS) -> float:
    """The lowest threshold at which at most ``allowed`` of ordinary benign rows are stopped, averaged over kinds.

    Raises: DataError: no ordinary benign row.
    """
    kinds: dict[str, list[float]] = {}
    for row, score in zip(rows, scores, strict=True):
        if not row.harmful and row.kind in (*ORDINARY, "list"):
            kinds.setdefault(row.kind, []).append(score)
    if not kinds:
        raise DataError("no benign rows are left to set a threshold with; give more of them.")
    found = sorted({score for each in kinds.values() for score in each})

    def alarms(threshold: float) -> float:
        return sum(sum(s >= threshold for s in each) / len(each) for each in kinds.values()) / len(kinds)

    # Just above a score that occurs, so that rounding decides nothing; above all of them at worst.
    return next((step for score in found if alarms(step := round(score + 5e-5, 4)) <= allowed), 1.0)


def _facts(
    train: Sequence[Example], validation: Sequence[Example], scores: Sequence[float], threshold: float
) -> dict[str, Any]:
    stopped: dict[str, list[bool]] = {}
    for row, score in zip(validation, scores, strict=True):
        name = f"{'harmful' if row.harmful else 'benign'} {row.kind}"
        stopped.setdefault(name, []).append(score >= threshold)
    return {
        "rows": dict(sorted(Counter(f"{'harmful' if r.harmful else 'benign'} {r.kind}" for r in train).items())),
        "rows_sha256": digest([(row.text, row.harmful, weight_of(row)) for row in train]),
        "threshold": threshold,
        "allowed_false_alarms": FALSE_ALARMS,
        "validation_stopped": {name: {"stopped": sum(each), "n": len(each)} for name, each in sorted(stopped.items())},
    }
