"""`mtb list`: what can be named."""

from __future__ import annotations

from typing import Annotated

import typer

KINDS = (
    "forms", "judges", "guards", "mitigations", "sources", "task-sources", "tasks", "templates", "systems", "hazards",
)  # fmt: skip


def listing(kind: Annotated[str, typer.Argument(help=", ".join(KINDS))]) -> None:
    """List the names of a KIND, one a line, with what is known of each. Writes nothing.

    mtb list judges
    """
    from multitask_bench.cli import guards as guards_cli
    from multitask_bench.data import benign
    from multitask_bench.data.intents import bundled_intents
    from multitask_bench.data.sources import sources
    from multitask_bench.data.task_sources import task_sources
    from multitask_bench.errors import UnknownNameError
    from multitask_bench.forms import forms
    from multitask_bench.guards import guards
    from multitask_bench.judges import judges
    from multitask_bench.judges._card import card
    from multitask_bench.mitigations import mitigations

    if kind not in KINDS:
        raise UnknownNameError.of("kind", kind, KINDS)
    lines: list[str]
    if kind == "judges":
        lines = [f"{n}  {'measured, see its card in reports' if card(n) else 'unmeasured'}" for n in judges.names()]
    elif kind == "guards":
        lines = [f"{n}  {guards_cli.summary(guards.make(n))}" for n in guards.names()]
    elif kind == "forms":
        lines = [f"{n}  {forms.get(n).policy}" for n in forms.names()]
    elif kind == "mitigations":
        lines = [f"{n}  {(mitigations.get(n).__doc__ or '').strip()}" for n in mitigations.names()]
    elif kind == "sources":
        lines = [_source_line(n) for n in sources.names()]
    elif kind == "task-sources":
        lines = [_task_source_line(n) for n in task_sources.names()]
    elif kind == "tasks":
        lines = [f"{n}  {len(benign.rows(n))} rows" for n in (*benign.TASKS, benign.CHAT)]
    elif kind == "hazards":
        names = sorted({i.hazard for i in bundled_intents()})
        lines = [f"{n}  {sum(i.hazard == n for i in bundled_intents())} intents" for n in names]
    else:
        lines = ["native", "alpaca"] if kind == "templates" else ["none", "safety"]
    typer.echo("\n".join(lines))


def _source_line(name: str) -> str:
    from multitask_bench.data.sources import sources

    spec = sources.get(name)
    where = spec.address or "local file only (--file)"
    return f"{name}  {spec.licence}; gated: {spec.gated}; {spec.paper}; {where}"


def _task_source_line(name: str) -> str:
    from multitask_bench.data.task_sources import task_sources

    spec = task_sources.get(name)
    where = f"pinned: {spec.base}" if spec.base else "not pinned: local file only (file: PATH)"
    return f"{name}  {spec.task}; {spec.licence}; gated: {spec.gated}; {spec.paper}; {where}"
