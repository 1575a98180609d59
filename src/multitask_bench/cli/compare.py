"""`mtb compare`: what changed between two runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

VALUE_LENGTH = 60


def compare(
    run_a: Annotated[Path, typer.Argument(help="A run folder.")],
    run_b: Annotated[Path, typer.Argument(help="The run folder to hold against it.")],
    arm: Annotated[
        list[str] | None, typer.Option("--arm", help="A=B: arm A of RUN_A is arm B of RUN_B. Equal names need none.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show what changed from RUN_A to RUN_B: settings, data, and results on the same probes.

    Reads manifest.json and the logs of both; writes nothing. Arms are paired by name, answers by
    probe, template and system prompt. Exact McNemar a form, Holm over the forms of an arm; in total
    sign-flips of whole intents. Exit code 2 when the two asked other probes, for answers of another
    length (of probes or of task rows that both have), or under another judge.

      mtb compare runs/before runs/after --arm tuned=tuned-again
    """
    from multitask_bench.errors import ConfigError
    from multitask_bench.study.compare import compare as compare_sides
    from multitask_bench.study.compare import read_side

    names: dict[str, str] = {}
    for pair in arm or ():
        first, equals, second = pair.partition("=")
        if not equals or not first or not second:
            raise ConfigError(f"--arm {pair}: write it as A=B, an arm of {run_a} and one of {run_b}.")
        if first in names:
            raise ConfigError(f"--arm {pair}: {first} is mapped already; give each arm once.")
        names[first] = second
    found = compare_sides(read_side(run_a, name=str(run_a)), read_side(run_b, name=str(run_b)), names=names)
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    _show(found)


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False)

    def say(text: str, *, style: str | None = None) -> None:
        console.print(text, markup=False, style=style)

    say(f"A: {found['a']}\nB: {found['b']}")
    for title in ("settings", "environment"):
        say(f"\n{title}", style="bold")
        for line in _changes(found[title]) or ["the same"]:
            say(f"  {line}")
    say("\ndata", style="bold")
    for line in _data_lines(found["data"]):
        say(f"  {line}")
    for one in found["arms"]:
        for title, rows in _tables(one):
            say(f"\n{title}", style="bold")
            if any(row["a_only"] or row["b_only"] or row["no_verdict"] for row in rows):
                console.print(_table(rows, width=console.width))
            else:
                total = rows[-1]
                say(f"  no pair differs: {total['hit_a']} of {total['n_pairs']} in A and in B")
        say(_text_line(one))
    say(
        "\nOn the same probes, B minus A in points, with 95 % intervals (a form: Tango; all forms: intents resampled). "
        "▲ ▼: shown, p < .05 after Holm over the forms of an arm."
    )
    for warning in found["warnings"]:
        say(f"warning: {warning}")


def _changes(items: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{item['key']}: {_value(item['a'])} -> {_value(item['b'])}" for item in items]


def _value(value: object) -> str:
    from multitask_bench.report._select import shortened

    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shortened(text, VALUE_LENGTH)


def _data_lines(data: dict[str, Any]) -> list[str]:
    from multitask_bench.report._select import form_label

    same = [form_label(item["form"]) for item in data["probe_sets"] if item["a"] == item["b"]]
    out = [f"the same probes: {', '.join(same)}"]
    out += [
        f"{form_label(item['form'])}: asked in {'A' if item['b'] is None else 'B'} only"
        for item in data["probe_sets"]
        if item["a"] != item["b"]
    ]
    out.append(f"the same judge: {data['judge']['name']} {data['judge']['hash'][:16]}")
    out += data["judge"]["card"]
    for side in ("a", "b"):
        if data[f"only_{side}"]:
            out.append(f"arms in {side.upper()} only: {', '.join(data[f'only_{side}'])}")
    for one in data["arms"]:
        out += [f"{_arm_name(one)}: {line}" for line in _changes(one["changed"])]
    return out


def _arm_name(one: dict[str, Any]) -> str:
    return str(one["a"]) if one["a"] == one["b"] else f"{one['a']} (B: {one['b']})"


def _tables(one: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The comparisons of an arm, a table for each measure and way of asking, with its title."""
    from multitask_bench.report._select import shortened

    out: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in one["comparisons"]:
        out.setdefault((row["source"], row["test_template"], row["test_system"], row["kind"]), []).append(row)
    titled = []
    for (source, template, system, kind), rows in out.items():
        measure = "answered" if kind == "probes" else "harmless twins refused"
        way = f"{template}, system prompt {shortened(system)}"
        where = "" if source.startswith("bundled") else f", {shortened(source)}"
        titled.append((f"{_arm_name(one)}: {measure} ({way}{where})", rows))
    return titled


def _table(rows: Sequence[dict[str, Any]], *, width: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from multitask_bench.report._select import form_label, shown
    from multitask_bench.report.summary import p_text, points
    from multitask_bench.report.tables import MARKS

    out = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, padding=(0, 1 if width >= 100 else 0))
    for name in ("form", "pairs", "A", "B", "only A", "only B", "B minus A", "p", "Holm p"):
        out.add_column(name, justify="left" if name == "form" else "right")
    for row in rows:
        pairs = f"{row['n_pairs']}" + (f" (+{row['no_verdict']})" if row["no_verdict"] else "")
        counts = (str(row[key]) for key in ("hit_a", "hit_b", "a_only", "b_only"))
        change = points(row["diff"]).replace(" points", "") + MARKS[shown(row)]
        adjusted = "" if row["p_holm"] is None else p_text(row["p_holm"]).removeprefix("p ").removeprefix("= ")
        p = p_text(row["p"]).removeprefix("p ").removeprefix("= ")
        out.add_row(form_label(row["form"]), pairs, *counts, Text(change), p, adjusted)
    if any(row["no_verdict"] for row in rows):
        out.caption, out.caption_justify = "(+k): k more pairs have no verdict in A or in B and are left out", "left"
    return out


def _text_line(one: dict[str, Any]) -> str:
    text = f"{_arm_name(one)}: {one['same_text']} of {one['joined']} answers are word for word the same"
    alone = [f"{one[f'only_{side}']} only in {side.upper()}" for side in ("a", "b") if one[f"only_{side}"]]
    return f"{text}; not paired: {', '.join(alone)}" if alone else text
