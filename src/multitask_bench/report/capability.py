"""General capability in words and as a table: what `study.capability_rows` found, set as the report has it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multitask_bench.report._select import Results
from multitask_bench.report.summary import moved
from multitask_bench.report.tables import Table

VERDICTS = {
    "noninferior": "has not lost {margin}",
    "inferior": "has lost more than {margin}",
    "inconclusive": "neither shown to have kept within {margin} nor to have lost more",
}


def set_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """What two scores share that are of one set: lm-eval's own tasks share a signature."""
    return str(row["task"]), str(row["signature"])


def label(row: Mapping[str, Any]) -> str:
    """What a set is called: IFEval, the name of a file of choices, or lm-eval's own name."""
    stem = Path(str(row.get("set") or "")).stem
    if row["task"] == "ifeval":
        return "IFEval" if stem.lower() in ("", "ifeval") else f"IFEval, {stem}"
    return stem or str(row["task"])


def verdict(name: str, margin: float) -> str:
    """A verdict of `stats.noninferiority` in words, such as ``has not lost 5 points``."""
    return VERDICTS[name].format(margin=f"{100 * margin:g} points")


def table(results: Results) -> Table:
    """Every arm's score on every set, and how it compares with the arm that it is held against; a row each."""
    rows = []
    for row in results.get("capability") or []:
        ends = f"{100 * row['value']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
        against = ["", "", ""]
        if row["against"] is not None:
            told = f"{moved(row['diff'])} (n = {row['n_pairs']})"
            against = [str(row["against"]), told, verdict(row["verdict"], row["margin"])]
        rows.append(
            [label(row), row["metric"], row["arm"], ends, str(row["n"]), str(row["left_out"]["unfit"]), *against]
        )
    header = ["set", "metric", "arm", "score, %", "n", "left out", "against", "difference, points", "verdict"]
    return Table(header, rows)
