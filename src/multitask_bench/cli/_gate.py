"""What `mtb gate` and `mtb check` say of the gate, on the console, as JSON and as JUnit XML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from multitask_bench.records import write_json, write_text
from multitask_bench.report._select import form_label
from multitask_bench.stats.gate import OVER_REFUSAL, FormResult, broken_tasks

if TYPE_CHECKING:
    from multitask_bench.study.gate import Early, Gated


def write_files(found: Gated, *, as_json: Path | None, junit: Path | None) -> None:
    """The files that were asked for."""
    if as_json is not None:
        write_json(as_json, found.document)
    if junit is not None:
        write_text(junit, junit_xml(found))


def show_gate(found: Gated, console: Console) -> None:
    """Verdict, the forms of probes and twins, tasks, reasons and notes."""
    show_verdict(found, console)
    show_forms(found, console)
    show_reasons(found, console)


def show_verdict(found: Gated, console: Console) -> None:
    """The verdict, what was compared, and where looking stopped."""
    say(console, found.result.verdict, style="bold")
    for role in ("base", "tuned"):
        say(console, f"{role}: {found.settings[role]['arm']} of {found.settings[role]['run']}")
    if found.early is not None:
        say(console, _early_line(found.early))


def show_forms(found: Gated, console: Console) -> None:
    """A table for the probes and one for the twins, and a line a task."""
    result, settings = found.result, found.settings
    tables = (
        (result.forms, "harmful probes answered", settings["margin"]),
        (result.twins, "harmless twins refused", settings["twins_margin"]),
    )
    for forms, title, margin in tables:
        if forms:
            console.print(_table(found, forms, title=title, margin=margin, width=console.width))
    for name, task in result.tasks.items():
        ends = "too little to compare" if task.value is None else f"{100 * task.value:+.1f} points"
        if task.low is not None and task.high is not None:
            ends += f" [{100 * task.low:+.1f} to {100 * task.high:+.1f}]"
        say(console, f"task {name}: {ends}, {task.n} rows, margin -{100 * task.margin:g}: {task.verdict}")


def show_reasons(found: Gated, console: Console) -> None:
    """What keeps the result from 0, and what the reader must know."""
    for line in together(found.result.reasons):
        say(console, f"  {line}")
    for note in found.notes:
        say(console, f"note: {note}")


def together(lines: Iterable[str]) -> list[str]:
    """Lines ``form: text``, those of one text as one: ``translation, classification: text``; twins apart."""
    names: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        name, colon, text = line.partition(": ")
        twins = OVER_REFUSAL if name.startswith(OVER_REFUSAL) else ""
        key = (twins, text) if colon else ("", "")
        names.setdefault(key, []).append(name.removeprefix(twins))
    out = []
    for (twins, text), found in names.items():
        out += [f"{twins}{', '.join(found)}: {text}"] if text else found
    return out


def say(console: Console, text: str, *, style: str | None = None) -> None:
    """One line, as it is."""
    console.print(text, markup=False, style=style, soft_wrap=True)


def _early_line(early: Early) -> str:
    if early.stopped_after is None:
        return f"sequential: no early stop within {early.intents} intents; this is the answer on all of them"
    if early.asked < early.intents:
        saved = 100 * (1 - early.asked / early.intents)
        return f"sequential: {early.asked} of {early.intents} intents were asked, {saved:.0f} % were saved"
    return (
        f"sequential: stopped after {early.stopped_after} of {early.intents} intents, in an order fixed by the "
        "probes; all of them had been asked"
    )


def _table(found: Gated, forms: tuple[FormResult, ...], *, title: str, margin: float, width: int) -> Table:
    out = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, padding=(0, 1 if width >= 100 else 0))
    out.title, out.title_justify = title, "left"
    for name in ("form", "pairs", "base", "tuned", "rise", "95 %", "most", "finding", "needs"):
        left = name in ("form", "finding")
        out.add_column(name, justify="left" if left else "right", no_wrap=name != "finding")
    for f in forms:
        shares = ["" if r.value is None else f"{100 * r.value:.0f} %" for r in (f.base, f.tuned)]
        ends = "" if f.low is None or f.high is None else f"{_signed(f.low)} to {_signed(f.high)}"
        finding = f.status.replace("_", " ")
        finding += f", rate {f.max_rate_status}" if f.max_rate_status not in (None, "within") else ""
        needs = "" if f.intents_needed is None else str(f.intents_needed)
        out.add_row(form_label(f.form), str(f.n), *shares, _signed(f.rise), ends, _signed(f.upper), finding, needs)
    early = found.early is not None and found.early.stopped_after is not None
    kind = "time-uniform" if early else "Tango"
    out.caption = f"points; 95 %: {kind}; most: one-sided limit, to be held against {100 * margin:g}; needs: intents"
    out.caption_justify = "left"
    return out


def _signed(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:+.1f}"


def next_step(found: Gated) -> str:
    """What to do with the answer, in one line."""
    result = found.result
    forms = (*result.forms, *result.twins)
    tuned = Path(found.settings["tuned"]["run"])
    if result.code == 3:
        return f"look at {tuned / 'report.html'}, then tune again with the safety_mix mitigation (mtb train --help)"
    if result.code == 5:
        return (
            "mend what the reasons name, such as mtb judges measure for a judge without card, then run the gate again"
        )
    if any(f.status == "saturated" for f in forms):
        return "use requests that the base refuses (--prompts FILE): in saturated forms a rise cannot be seen"
    needed = [f.intents_needed for f in forms if f.status == "inconclusive" or f.max_rate_status == "unsettled"]
    known = [count for count in needed if count is not None]
    if result.code == 4 and len(known) < len(needed):
        return "accept a wider margin, or ask far more intents: as the shares stand, no number of them would settle it"
    if result.code == 4 and known:
        return f"run both again with about {max(known)} intents, or accept a wider margin"
    if result.code == 4:
        return "run both again with more task rows, or accept a wider margin"
    return "nothing to do"


_Kind = Literal["failure", "skipped", "error"] | None


class _Case(NamedTuple):
    suite: str
    name: str
    kind: _Kind
    text: str


def junit_xml(found: Gated) -> str:
    """The result as JUnit XML: a test case for each form, for each form of the twins, and for each task.

    Returns: a document with failures where the exit code is 3, errors where it is 5, skipped cases where it is 4.
    """
    from xml.etree import ElementTree as ET

    cases = list(_cases(found))
    root = ET.Element("testsuites", name="mtb gate")
    for name in dict.fromkeys(case.suite for case in cases):
        rows = [case for case in cases if case.suite == name]
        suite = ET.SubElement(root, "testsuite", name=name, tests=str(len(rows)))
        for tag, kind in _COUNTED.items():
            suite.set(tag, str(sum(case.kind == kind for case in rows)))
        properties = ET.SubElement(suite, "properties")
        for key in ("margin", "max_rate", "twins_margin", "task_margin", "sequential"):
            ET.SubElement(properties, "property", name=key, value=str(found.settings[key]))
        for case in rows:
            element = ET.SubElement(suite, "testcase", classname=f"mtb.gate.{name}", name=_plain(case.name), time="0")
            if case.kind is not None:
                ET.SubElement(element, case.kind, message=_plain(case.text))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


_COUNTED = {"failures": "failure", "errors": "error", "skipped": "skipped"}


def _plain(text: str) -> str:
    """Without what XML cannot hold."""
    return "".join(c if c.isprintable() else " " for c in text)


def _cases(found: Gated) -> Iterator[_Case]:
    result = found.result
    for suite, prefix, forms in (("forms", "", result.forms), ("twins", OVER_REFUSAL, result.twins)):
        for f in forms:
            why = next((r for r in result.reasons if r.startswith(f"{prefix}{f.form}: ")), f.status.replace("_", " "))
            yield _Case(suite, f.form, _kind(f), why)
    broken = broken_tasks(result.tasks, alpha=found.settings["alpha"])
    for name, task in result.tasks.items():
        kind: _Kind = None if task.verdict == "noninferior" else "skipped"
        kind = "failure" if name in broken else kind
        why = next((r for r in result.reasons if r.startswith(f"{name}: ")), task.verdict)
        yield _Case("tasks", name, kind, why)
    if not result.forms:
        yield _Case("forms", "all", "error", result.verdict)


def _kind(form: FormResult) -> _Kind:
    if form.status == "rise" or form.max_rate_status == "above":
        return "failure"
    if form.status == "cannot_judge":
        return "error"
    return None if form.status == "no_rise_shown" and form.max_rate_status in (None, "within") else "skipped"
