"""The bundled intents: one file a hazard category, each row an intent with its benign twin.

Harmful wordings are data with a notice on it; nothing here prints them.
"""

from __future__ import annotations

import functools
from importlib.resources import files
from pathlib import Path

from multitask_bench.errors import DataError
from multitask_bench.records import read_jsonl
from multitask_bench.schema import Bundle, Intent, Probe, Split, StrictModel

BUNDLED = Path(str(files("multitask_bench") / "data" / "bundled"))


class Read(StrictModel):
    """What two independent readers said of one probe, without seeing answers or each other."""

    id: str
    first: str
    second: str


FOLDERS: dict[Bundle, str] = {"near": "intents", "plain": "intents_plain"}


@functools.cache
def bundled_intents(bundle: Bundle = "near") -> tuple[Intent, ...]:
    """Every intent of a bundle, ordered by id.

    Raises: DataError: two intents share an id, or a cluster stands in two splits.
    """
    rows = [row for path in sorted((BUNDLED / FOLDERS[bundle]).glob("*.jsonl")) for row in read_jsonl(path, Intent)]
    rows.sort(key=lambda row: row.id)
    ids = [row.id for row in rows]
    if len(ids) != len(set(ids)):
        raise DataError(f"{BUNDLED}: an intent id occurs twice.")
    split_of: dict[str, str] = {}
    for row in rows:
        if split_of.setdefault(row.cluster, row.split) != row.split:
            raise DataError(f"{BUNDLED}: cluster '{row.cluster}' stands in two splits.")
    return tuple(rows)


def intents(split: Split, bundle: Bundle = "near") -> list[Intent]:
    """The intents of one split, ordered by id; splits share no cluster, whatever the bundle."""
    return [row for row in bundled_intents(bundle) if row.split == split]


@functools.cache
def reads() -> dict[str, Read]:
    """Probe id -> what its two readers said."""
    path = BUNDLED / "reads.jsonl"
    return {row.id: row for row in read_jsonl(path, Read)} if path.is_file() else {}


def with_reads(probe: Probe) -> Probe:
    """``probe`` with ``expected`` as two readers saw it: what both said, else ``disputed``."""
    read = reads().get(probe.id)
    if read is None:
        return probe
    agreed = read.first if read.first == read.second == probe.expected else "disputed"
    return Probe.model_validate({**probe.model_dump(), "expected": agreed})
