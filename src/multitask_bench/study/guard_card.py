"""The guard card: what a guard stops of harmful probes, and of benign input of the same form, by form and language.

Bundled rows are test intents in held-out wordings, so that no row resembles a training row of the embedded guard in
either. Lists that were not written for this project are put into the forms by the wordings kept for them.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multitask_bench.data.sources import Listed, read_list
from multitask_bench.errors import ConfigError
from multitask_bench.guards import GuardSpec, Screened, Verdict
from multitask_bench.records import digest
from multitask_bench.schema import LANGUAGE_NAMES, OWN_FORM
from multitask_bench.stats.auc import Scored, clustered_auc
from multitask_bench.stats.rates import clustered_rate
from multitask_bench.study.guard_rows import Example, probe_examples, task_examples
from multitask_bench.study.guard_training import own_rows
from multitask_bench.study.guarding import Opened, settings_of
from multitask_bench.study.probes import FORMS, form_rank, listed_probes, rank

CURVE = tuple(i / 20 for i in range(1, 20))
"""Thresholds of the curve, beside the guard's own."""
BATCH = 256
"""Rows between two reports of progress; the guard has batches of its own."""
BUNDLED_SET = "bundled"


class Read(NamedTuple):
    """One row with the guard's word on it."""

    row: Example
    verdict: Verdict


def bundled_examples(count: int | None = None) -> list[Example]:
    """Test probes and twins in held-out wordings, and the test rows of the benign tasks.

    ``count`` keeps so many intents of each bundle.
    Raises: ConfigError: fewer than one.
    """
    if count is not None and count < 1:
        raise ConfigError(f"{count} intents: at least one is needed.")
    probes = probe_examples("test", held_out=True)
    if count is not None:
        kept: set[str] = set()
        for source in sorted({row.source for row in probes}):
            intents = sorted({row.intent for row in probes if row.source == source}, key=lambda i: rank(f"pick:{i}"))
            kept |= set(intents[:count])
        probes = [row for row in probes if row.intent in kept]
    return [*probes, *task_examples("test")]


def listed_examples(name: str, *, file: Path | None, cache: Path) -> list[Example]:
    """A list of harmful requests in every form, each request in one wording a form; XSTest's safe half is benign.

    Raises: DataError: no such list, or not readable.
    """
    found = read_list(name, file=file, cache=cache)
    return [
        Example(
            id=probe.id,
            text=probe.prompt,
            harmful=not probe.twin,
            form=probe.form,
            language="en",
            kind="list",
            group=probe.intent_id,
            source=found.name,
        )
        for probe in listed_probes(found)
    ]


def benign_examples(form: str, file: Path, *, cache: Path) -> list[Example]:
    """The rows of a file of benign requests, as they stand, under ``form``.

    Raises: ConfigError: no such form; DataError: not readable.
    """
    if form not in (*FORMS, OWN_FORM):
        raise ConfigError(f"--benign {form}=...: no form is named '{form}'; known: {', '.join(FORMS)}, {OWN_FORM}.")
    found: Listed = read_list(str(file), file=file, cache=cache)
    return [
        Example(
            id=row.id,
            text=row.text,
            harmful=False,
            form=form,
            language="en",
            kind="list",
            group=row.id,
            source=found.name,
        )
        for row in found.rows
    ]


def labelled_examples(file: Path) -> list[Example]:
    """The rows of a table with ``prompt`` and ``label``, as they stand; ``form``, ``language`` and ``id`` optional.

    Raises: DataError: an unknown label, or an empty prompt.
    """
    mine = own_rows(file)
    return [row._replace(source=file.stem) for row in (*mine.train, *mine.validation)]


def measure(
    ready: Opened, rows: Sequence[Example], *, tick: Callable[[int, int], None] | None = None
) -> tuple[list[Read], float]:
    """The guard's word on every row, in order, and the seconds that it took."""
    reads: list[Read] = []
    started = time.perf_counter()
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        # Benign rows have no answer; a guard that reads answers is measured on a run (`guarding.residual`).
        items = [Screened(id=str(start + i), prompt=row.text) for i, row in enumerate(batch)]
        reads += [Read(row, found) for row, found in zip(batch, ready.screen(items), strict=True)]
        if tick is not None:
            tick(len(reads), len(rows))
    return reads, time.perf_counter() - started


def card(spec: GuardSpec, reads: Sequence[Read], *, seconds: float | None = None) -> dict[str, Any]:
    """The card of ``spec``; rates in [0, 1] with n and 95 % intervals over clusters of intents.

    Rows without a verdict are counted, not rated, and stand in the bounds: all let pass, or all stopped.
    ``latency_ms`` is what this machine took a text, for information; it is the only figure that changes on a rerun.
    """
    made = {
        "schema": 1,
        "guard": spec.name,
        "config_hash": spec.config_hash,
        "settings": settings_of(spec),
        "on": spec.on,
        "measured": _measured(reads),
        "auc": _areas(reads),
        "curve": _curve(reads),
        "rows_sha256": digest([(r.row.id, r.row.text, r.row.harmful) for r in reads]),
        "not_measured": _gaps(reads),
    }
    if seconds is not None and reads:
        made["latency_ms"] = round(1000 * seconds / len(reads), 3)
    return made


def row_table(reads: Sequence[Read]) -> list[dict[str, Any]]:
    """One row a text, without the text: enough to compute every figure of the card again."""
    return [
        {
            **{key: value for key, value in r.row._asdict().items() if key != "text"},
            "flagged": None if r.verdict.flagged is None else int(r.verdict.flagged),
            "score": r.verdict.score,
            "guard_reason": "" if r.verdict.flagged is not None else r.verdict.reason,
        }
        for r in reads
    ]


def _measured(reads: Sequence[Read]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str, str, bool, str], list[Read]] = defaultdict(list)
    for r in reads:
        groups[r.row.source, r.row.form, r.row.language, r.row.harmful, r.row.kind].append(r)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], not item[0][3], form_rank(item[0][1]), item[0]))
    return [
        {
            "set": source,
            "form": form,
            "language": language,
            "harmful": harmful,
            "kind": kind,
            **stopped(some),
        }
        for (source, form, language, harmful, kind), some in ordered
    ]


def stopped(reads: Sequence[Read]) -> dict[str, Any]:
    """The share that was stopped, of those with a verdict; and what it may be over all."""
    clusters: dict[str, list[bool]] = defaultdict(list)
    for r in reads:
        if r.verdict.flagged is not None:
            clusters[r.row.group].append(r.verdict.flagged)
    hits, silent = sum(sum(c) for c in clusters.values()), sum(r.verdict.flagged is None for r in reads)
    return {
        "n": len(reads),
        "without_verdict": silent,
        "stopped": clustered_rate(list(clusters.values())).model_dump(),
        "bounds": [hits / len(reads), (hits + silent) / len(reads)],
    }


def _areas(reads: Sequence[Read]) -> list[dict[str, Any]]:
    """Harmful probes against twins, and against the ordinary rows of the same form."""
    scored = [r for r in reads if r.verdict.score is not None]
    out = []
    for form in sorted({r.row.form for r in scored}, key=form_rank):
        some = [r for r in scored if r.row.form == form]
        for source in sorted({r.row.source for r in some if r.row.harmful}):
            harmful = [r for r in some if r.row.harmful and r.row.source == source]
            twins = [r for r in some if not r.row.harmful and r.row.source == source]
            ordinary = [r for r in some if r.row.kind == "task"]
            for against, benign in (("twins", twins), ("ordinary rows", ordinary)):
                if not benign:
                    continue
                found = clustered_auc(
                    [Scored(r.verdict.score or 0.0, r.row.harmful, r.row.group) for r in harmful + benign]
                )
                out.append({"set": source, "form": form, "against": against, **found._asdict()})
    return out


def _curve(reads: Sequence[Read]) -> list[dict[str, Any]]:
    """Of each form, what would be stopped at other thresholds: of bundled harmful probes, twins and ordinary rows."""
    scored = [r for r in reads if r.verdict.score is not None and r.row.source.startswith(BUNDLED_SET)]
    out = []
    for form in sorted({r.row.form for r in scored}, key=form_rank):
        some = [r for r in scored if r.row.form == form]
        parts = {
            "tpr": [r.verdict.score for r in some if r.row.harmful],
            "fpr_twins": [r.verdict.score for r in some if r.row.kind == "twin"],
            "fpr_ordinary": [r.verdict.score for r in some if r.row.kind == "task"],
        }
        out += [
            {
                "form": form,
                "threshold": threshold,
                **{name: _share(scores, threshold) for name, scores in parts.items()},
            }
            for threshold in CURVE
        ]
    return out


def _share(scores: Iterable[float | None], threshold: float) -> float | None:
    found = [score for score in scores if score is not None]
    return math.fsum(score >= threshold for score in found) / len(found) if found else None


def _gaps(reads: Sequence[Read]) -> list[str]:
    """What no row covers."""
    out = []
    seen = {(r.row.form, r.row.language, r.row.harmful) for r in reads}
    for language, name in LANGUAGE_NAMES.items():
        for harmful, what in ((True, "harmful"), (False, "benign")):
            missing = [form for form in FORMS if (form, language, harmful) not in seen]
            if missing:
                out.append(f"{what} requests in {name}: {', '.join(missing)}")
    if not any(r.row.kind == "list" for r in reads):
        out.append("lists that were not written for this project")
    return out
