"""The findings of a study, each with its verdict and numbers, and the parts that it rests on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from multitask_bench.records import Row
from multitask_bench.report._select import Results, p_value
from multitask_bench.report.summary import p_text, points
from multitask_bench.report.tables import Table


def findings_table(results: Results) -> Table:
    """Every finding with its verdict and numbers, its parts under it; their role where parts have one."""
    named: list[tuple[str, Row]] = []
    for item in results.get("findings") or []:
        name = str(item.get("id", ""))
        named += [(name, item), *((f"{name}.{i}", part) for i, part in enumerate(item.get("parts") or [], 1))]
    roles = any(item.get("role") for _, item in named)
    header = ["finding", "verdict", *(["role"] if roles else []), "claim", "difference", "p", "n", "seeds"]
    return Table([*header, "what was found"], [_finding_row(name, item, role=roles) for name, item in named])


def shown_claim(item: Mapping[str, Any]) -> dict[str, Any]:
    """A finding as the report shows it: its numbers on one line, its parts as a table."""
    numbers = []
    if item.get("diff"):
        numbers.append(points(item["diff"]))
    if item.get("p") is not None:
        numbers.append(p_text(item["p"]))
    numbers += [
        f"{word} {listed(item[key])}"
        for key, word in (("n", "n ="), ("seeds", "seeds:"), ("estimand", "estimand:"), ("test", "test:"))
        if item.get(key) is not None
    ]
    text = item.get("text") or ""
    return {
        "id": item.get("id"),
        "claim": item["claim"],
        "verdict": item.get("verdict"),
        "text": unbroken(str(text)),
        "numbers": unbroken("; ".join(numbers)),
        "parts": _parts(item.get("parts") or []),
    }


def _parts(parts: Sequence[Mapping[str, Any]]) -> Table:
    """The parts of a finding: verdict, role where parts have one, what was found, numbers."""
    roles = any(part.get("role") for part in parts)
    rows = []
    for part in parts:
        numbers = [points(part["diff"])] if part.get("diff") else []
        if (p := p_value(dict(part))) is not None:
            numbers.append(("Holm " if part.get("p_holm") is not None else "") + p_text(p))
        if part.get("n") is not None:
            numbers.append(f"n = {part['n']}")
        role = [str(part.get("role") or "")] if roles else []
        text = str(part.get("text") or part.get("claim") or "")
        rows.append([str(part.get("verdict") or ""), *role, text, unbroken("; ".join(numbers))])
    return Table(["verdict", *(["role"] if roles else []), "what was found", "numbers"], rows)


def _finding_row(name: str, item: Row, *, role: bool) -> list[str]:
    difference = points(item["diff"]) if item.get("diff") else ""
    p = p_text(p_value(item)) if p_value(item) is not None else ""
    who = [item.get("role")] if role else []
    numbers = (difference, p, item.get("n"), listed(item.get("seeds")))
    found = (item.get("verdict"), *who, item.get("claim"), *numbers)
    return [name, *("" if value is None else str(value) for value in found), str(item.get("text") or "")]


def listed(value: object) -> str:
    """A number, or several of them, as text."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def unbroken(text: str) -> str:
    """``text`` with figures that do not break at the end of a line."""
    return re.sub(r" (?=%)|(?<=n) (?== )|(?<=n =) |(?<=p) (?=[=<] )|(?<=p [=<]) |(?<=\d,) (?=\d+\])", "\u00a0", text)
