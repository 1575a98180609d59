"""Counts of answers that were published elsewhere: totals with intervals, and a study of ours beside them.

A count file is CSV, with the columns ``finetune_task`` (``none``: before fine-tuning), ``train_template`` and
``test_system`` (or, in their place, ``calibration``: ``native``, ``native+safety``, ``alpaca``, ...), and then

- wide: a column of counts for each form, and ``total_n``;
- or long, a row for each form: ``form``, ``answered``, ``n`` (may be empty), and ``total_n`` where ``n`` is.

A form whose ``n`` is not known has a count and neither a share nor an interval.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from multitask_bench.errors import DataError, did_you_mean
from multitask_bench.records import Row, read_table, read_text
from multitask_bench.report._select import FORM_ORDER, form_label, shortened, wilson
from multitask_bench.report.tables import Table, as_markdown
from multitask_bench.schema import Rate

PUBLISHED = "published"
"""Names the bundled counts instead of a file."""

BUNDLED = Path(str(files("multitask_bench") / "data" / "bundled" / "published")) / "gemma-1.1-7b-it.csv"

NONE = "none"
SHORT = {
    "text_generation": "text",
    "code_generation": "code",
    "translation": "transl.",
    "classification": "classif.",
    "summarization": "summ.",
}
ABBREVIATIONS = {"nat": "native", "alp": "alpaca", "sys": "safety", "-": NONE, "": NONE, "base": NONE}

CAUTION = (
    "Models, probes and judges differ between the two, so only directions may be compared, never the shares "
    "themselves. Ours counts every answer that was not refused, as the paper's rubric does; answered, the "
    "stricter rate, is ours alone; vs base: points from the model before fine-tuning under the same system prompt."
)

RANKED_TASKS = 3
"""From so many fine-tuning tasks on, their order is compared."""


class Cell(NamedTuple):
    """One form: how many were answered, of how many; ``n`` is None where the source does not say."""

    answered: int
    n: int | None


class Counted(NamedTuple):
    """One model asked in one way. ``none`` stands for no fine-tuning, template or system prompt."""

    task: str
    template: str
    system: str
    cells: dict[str, Cell]
    answered: int
    total: Rate

    @property
    def asked(self) -> str:
        """Template and system prompt in one word, such as ``native+safety``."""
        parts = [shortened(name) for name in (self.template, self.system) if name != NONE]
        return "+".join(parts) or "-"


class Counts(NamedTuple):
    """A count file."""

    title: str
    source: str
    groups: list[Counted]

    @property
    def forms(self) -> list[str]:
        """The forms that any group has, in the order of reports."""
        return [form for form in FORM_ORDER if any(form in group.cells for group in self.groups)]


class Ours(NamedTuple):
    """An arm of a run where the counts have a counterpart: ``cells`` count what was not refused.

    The two rates are over the forms that both have; None where the run lacks one of the counts' forms.
    """

    arm: str
    task: str
    template: str
    system: str
    cells: dict[str, Cell]
    not_refused: Rate | None
    answered: Rate | None
    model: str | None = None
    """The base model that the arm starts from; None where the run is no grid of models."""


class Agreement(NamedTuple):
    """How alike the order of tasks is under one template and system prompt; tau is None where one has only ties."""

    template: str
    system: str
    tasks: list[str]
    tau: float | None
    model: str | None = None
    """Ours, where the run is a grid of models: each has an order of its own."""


def read_counts(name: str) -> Counts:
    """The counts in a CSV file, or the bundled ones (``published``).

    Raises: DataError: names the row and what to do.
    """
    path = BUNDLED if name == PUBLISHED else Path(name)
    if path.suffix.lower() != ".csv":
        raise DataError(f"{path}: counts are read from a .csv file; or use --counts {PUBLISHED}.")
    header = _header(path)
    rows = read_table(path)
    _check_columns(path, header)
    groups = _long(path, rows) if "form" in header else _wide(path, rows, [c for c in header if c in FORM_ORDER])
    source = " ".join(read_text(path.with_suffix(".md")).split("\n\n")[0].split()) if path == BUNDLED else path.name
    return Counts(path.stem, source, groups)


def _header(path: Path) -> list[str]:
    line = next(iter(read_text(path).splitlines()), "")
    if ";" in line and "," not in line:
        raise DataError(f"{path}: its columns are separated by semicolons; save it with commas.")
    return next(csv.reader(io.StringIO(line)), [])


def _check_columns(path: Path, header: Sequence[str]) -> None:
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: two columns are named '{twice}'; keep one.")
    long = "form" in header
    keys = ["finetune_task", *(["calibration"] if "calibration" in header else ["train_template", "test_system"])]
    known = [*keys, *(["form", "answered", "n"] if long else FORM_ORDER), "total_n"]
    for name in header:
        if name not in known:
            near = did_you_mean(name, known)
            raise DataError(f"{path}: a column '{name}' is not known here.{near} Known: {', '.join(known)}.")
    for name in [*keys, *(["answered"] if long else ["total_n"])]:
        if name not in header:
            raise DataError(f"{path}: no column '{name}'; it has {', '.join(header)}.")
    if not long and not any(name in FORM_ORDER for name in header):
        raise DataError(f"{path}: no column of counts; name one by its form: {', '.join(FORM_ORDER)}.")


def _wide(path: Path, rows: Sequence[Row], forms: Sequence[str]) -> list[Counted]:
    first: dict[tuple[str, str, str], int] = {}
    out = []
    for number, row in enumerate(rows, start=1):
        where, key = f"{path} row {number}", _key(row)
        if key in first:
            raise DataError(f"{where}: {', '.join(key)} stands in row {first[key]} already; keep one of them.")
        first[key] = number
        cells = {form: Cell(_count(row, form, where), None) for form in forms}
        out.append(_counted(key, cells, _count(row, "total_n", where), where))
    return out


def _long(path: Path, rows: Sequence[Row]) -> list[Counted]:
    groups: dict[tuple[str, str, str], dict[str, Cell]] = {}
    totals: dict[tuple[str, str, str], int] = {}
    last: dict[tuple[str, str, str], str] = {}
    for number, row in enumerate(rows, start=1):
        where, key, form = f"{path} row {number}", _key(row), row["form"].strip()
        if form not in FORM_ORDER:
            near = did_you_mean(form, FORM_ORDER)
            raise DataError(f"{where}: no form is named '{form}'.{near} Known: {', '.join(FORM_ORDER)}.")
        cells = groups.setdefault(key, {})
        if form in cells:
            raise DataError(f"{where}: {', '.join(key)}, {form} stands in an earlier row already; keep one of them.")
        n = _count(row, "n", where) if row.get("n", "").strip() else None
        cells[form] = Cell(_count(row, "answered", where), n)
        if n is not None and cells[form].answered > n:
            raise DataError(f"{where}: answered {cells[form].answered} is more than n {n}; correct one of them.")
        if row.get("total_n", "").strip():
            total = _count(row, "total_n", where)
            if totals.setdefault(key, total) != total:
                raise DataError(f"{where}: total_n {total}, but {totals[key]} in an earlier row of {', '.join(key)}.")
        last[key] = where
    return [_counted(key, cells, totals.get(key), last[key]) for key, cells in groups.items()]


def _counted(key: tuple[str, str, str], cells: dict[str, Cell], total_n: int | None, where: str) -> Counted:
    answered = sum(cell.answered for cell in cells.values())
    sizes = [cell.n for cell in cells.values() if cell.n is not None]
    if total_n is None:
        if len(sizes) < len(cells):
            raise DataError(f"{where}: neither total_n nor n of every form of {', '.join(key)}; give one of the two.")
        total_n = sum(sizes)
    if total_n < answered:
        raise DataError(f"{where}: total_n {total_n} is less than the {answered} answered in all; correct one of them.")
    if total_n < sum(sizes) or (len(sizes) == len(cells) and total_n != sum(sizes)):
        raise DataError(f"{where}: total_n is {total_n}, but the n of its forms add up to {sum(sizes)}; correct one.")
    return Counted(*key, cells, answered, _interval(answered, total_n))


def _key(row: Row) -> tuple[str, str, str]:
    if "calibration" in row:
        template, _, system = row["calibration"].strip().partition("+")
    else:
        template, system = row["train_template"], row["test_system"]
    task, template, system = (part.strip() for part in (row["finetune_task"], template, system))
    return ABBREVIATIONS.get(task, task), ABBREVIATIONS.get(template, template), ABBREVIATIONS.get(system, system)


def _count(row: Row, column: str, where: str) -> int:
    text = row[column].strip()
    if not text:
        raise DataError(f"{where}: no '{column}'; write the number.")
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise DataError(f"{where}: {column} '{shortened(text)}' is not a whole number; write the count, not a share.")
    if int(text) < 0:
        raise DataError(f"{where}: {column} {text} is negative; a count is 0 or more.")
    return int(text)


def _interval(k: int, n: int) -> Rate:
    if n == 0:
        return Rate(value=None, low=None, high=None, n=0)
    low, high = wilson(k / n, n)
    return Rate(value=k / n, low=low, high=high, n=n)


def counts_table(counts: Counts, *, short: bool = False) -> Table:
    """A line for each model and way of asking: counts by form, then the total with its interval."""
    names = [_form_name(form, short=short) for form in counts.forms]
    rows = [
        [
            _task_name(group.task),
            group.asked,
            *(_cell(group.cells.get(form), rate=True) for form in counts.forms),
            str(group.answered) if _one_n(counts) else f"{group.answered} of {group.total.n}",
            _share(group.total),
            _ends(group.total),
        ]
        for group in counts.groups
    ]
    return Table(["fine-tuned on", "asked with", *names, "total", "share", "95 % CI"], rows)


def counts_notes(counts: Counts) -> list[str]:
    """What the table's reader must know, a sentence or two a line."""
    size = f" of n = {counts.groups[0].total.n}" if _one_n(counts) else ""
    notes = [counts.source, f"Share{size} with Wilson's 95 % interval, as if the answers were independent."]
    if any(cell.n is None for group in counts.groups for cell in group.cells.values()):
        notes.append("A form has a count only where its n was not published: no share, no interval.")
    return notes


def pairs_of(counts: Counts, ours: Sequence[Ours]) -> list[tuple[Counted, list[Ours]]]:
    """The groups that a study of ours has too, with its arms there."""
    found = [
        (
            group,
            [one for one in ours if (one.task, one.template, one.system) == (group.task, group.template, group.system)],
        )
        for group in counts.groups
    ]
    return [(group, arms) for group, arms in found if arms]


def beside_table(counts: Counts, ours: Sequence[Ours], *, short: bool = False) -> list[Table]:
    """For each shared group a small table: theirs in the first line, our arms below, the same columns."""
    pairs = pairs_of(counts, ours)
    shared = [form for form in counts.forms if any(form in one.cells for _, arms in pairs for one in arms)]
    names = [_form_name(form, short=short) for form in shared]
    header = [*names, "not refused", "answered", "vs base"]
    out = []
    for group, arms in pairs:
        cells = [_cell(group.cells.get(form), rate=False) for form in shared]
        rows = [
            [counts.title, *cells, _with_ends(group.total), "", _from_base(group.total, _their_base(counts, group))]
        ]
        for one in arms:
            base = next((o for o in ours if (o.task, o.system, o.model) == (NONE, one.system, one.model)), None)
            rows.append(
                [
                    one.arm,
                    *(_cell(one.cells.get(form), rate=False) for form in shared),
                    _with_ends(one.not_refused),
                    _with_ends(one.answered),
                    _from_base(one.not_refused, base.not_refused if base and base != one else None),
                ]
            )
        out.append(Table([f"{_task_name(group.task)}, {group.asked}", *header], rows))
    return out


def agreements(counts: Counts, ours: Sequence[Ours]) -> list[Agreement]:
    """Kendall's tau-b of the tasks by total share, where both have three or more under the same way of asking.

    A task of ours counts once a model: the mean of its arms, which differ in their seeds.
    """
    from scipy.stats import kendalltau

    found: dict[tuple[str | None, str, str], list[tuple[str, float, float]]] = {}
    for group, arms in pairs_of(counts, ours):
        if group.task == NONE or group.total.value is None:
            continue
        shares: dict[str | None, list[float]] = {}
        for one in arms:
            if one.not_refused is not None and one.not_refused.value is not None:
                shares.setdefault(one.model, []).append(one.not_refused.value)
        for model, mine in shares.items():
            place = found.setdefault((model, group.template, group.system), [])
            place.append((group.task, group.total.value, sum(mine) / len(mine)))
    out = []
    for (model, template, system), ranked in found.items():
        if len(ranked) < RANKED_TASKS:
            continue
        tau = float(kendalltau([theirs for _, theirs, _ in ranked], [mine for *_, mine in ranked]).statistic)
        tasks = [task for task, *_ in ranked]
        out.append(Agreement(template, system, tasks, None if math.isnan(tau) else tau, model))
    return out


def beside_notes(counts: Counts, ours: Sequence[Ours], asked: Sequence[str]) -> list[str]:
    """The caution, what was left out, and how alike the order of tasks is; ``asked`` are the run's forms."""
    notes = [CAUTION, counts.source]
    if extra := [form for form in asked if form not in counts.forms]:
        notes.append(f"Left out of ours, because theirs has no such form: {', '.join(map(form_label, extra))}.")
    if lacking := [form for form in counts.forms if form not in asked]:
        notes.append(
            f"Ours was not asked for {', '.join(map(form_label, lacking))}, so its totals are not given beside theirs."
        )
    found = agreements(counts, ours)
    for one in found:
        way = Counted("", one.template, one.system, {}, 0, Rate(value=None, low=None, high=None, n=0)).asked
        tau = "not defined, because one side has only ties" if one.tau is None else f"{one.tau:.2f}"
        notes.append(
            f"Order of tasks by share not refused, {way}{f', {one.model}' if one.model is not None else ''}: "
            f"Kendall tau {tau} (n = {len(one.tasks)} tasks: "
            f"{', '.join(one.tasks)}; untested: so few are often ordered alike by chance)."
        )
    if not found:
        notes.append(f"Fewer than {RANKED_TASKS} tasks stand beside each other, so their order is not compared.")
    return notes


def as_console(tables: Sequence[Table], *, width: int) -> RichTable:
    """Tables of the same columns as one for a rich console; each further table is a section under its own name."""
    first = tables[0]
    out = RichTable(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, padding=(0, 1 if width >= 100 else 0))
    several = len(tables) > 1 or first.header[1] != "asked with"
    left = 1 if several else 2
    for number, name in enumerate(first.header):
        heading = "" if several and not number else name
        out.add_column(heading, justify="left" if number < left else "right", overflow="fold")
    for table in tables:
        if several:
            out.add_section()
            out.add_row(Text(table.header[0], style="bold"))
        for row in table.rows:
            # Text, because rich would read a bracketed cell as markup.
            out.add_row(*(Text(cell.replace(" [", "\n[", 1)) for cell in row))
    return out


def markdown(counts: Counts, ours: Sequence[Ours] | None = None, asked: Sequence[str] = ()) -> str:
    """The counts as Markdown, and a study of ours beside them where it is given."""
    text = f"# Counts: {counts.title}\n\n{as_markdown(counts_table(counts))}\n" + _paragraphs(counts_notes(counts))
    return text if ours is None else text + "\n" + beside_markdown(counts, ours, asked)


def beside_markdown(counts: Counts, ours: Sequence[Ours], asked: Sequence[str]) -> str:
    """The tables beside each other as Markdown."""
    tables = "\n".join(as_markdown(table) for table in beside_table(counts, ours))
    return f"# Beside {counts.title}\n\n{tables}\n" + _paragraphs(beside_notes(counts, ours, asked))


def document(counts: Counts, ours: Sequence[Ours] | None = None) -> dict[str, Any]:
    """The same as JSON: shares are fractions."""
    groups = [
        {
            "finetune_task": group.task,
            "train_template": group.template,
            "test_system": group.system,
            "forms": {form: cell._asdict() for form, cell in group.cells.items()},
            "answered": group.answered,
            "total": group.total.model_dump(),
        }
        for group in counts.groups
    ]
    out: dict[str, Any] = {"schema": 1, "title": counts.title, "source": counts.source, "groups": groups}
    if ours is not None:
        out["caution"] = CAUTION
        out["ours"] = [
            {
                "arm": one.arm,
                "model": one.model,
                "finetune_task": one.task,
                "train_template": one.template,
                "test_system": one.system,
                "forms": {form: {"not_refused": cell.answered, "n": cell.n} for form, cell in one.cells.items()},
                "not_refused": one.not_refused and one.not_refused.model_dump(),
                "answered": one.answered and one.answered.model_dump(),
            }
            for _, arms in pairs_of(counts, ours)
            for one in arms
        ]
        out["rank_agreement"] = [{**one._asdict(), "n": len(one.tasks)} for one in agreements(counts, ours)]
    return out


def _paragraphs(notes: Sequence[str]) -> str:
    return "".join(f"{note}\n\n" for note in notes).rstrip("\n") + "\n"


def _one_n(counts: Counts) -> bool:
    return len({group.total.n for group in counts.groups}) == 1


def _their_base(counts: Counts, group: Counted) -> Rate | None:
    bases = [g.total for g in counts.groups if g.task == NONE and g.system == group.system]
    return bases[0] if bases and group.task != NONE else None


def _from_base(rate: Rate | None, base: Rate | None) -> str:
    if rate is None or rate.value is None or base is None or base.value is None:
        return ""
    return f"{100 * (rate.value - base.value):+.1f}"


def _form_name(form: str, *, short: bool) -> str:
    return SHORT.get(form, form) if short else form_label(form)


def _task_name(task: str) -> str:
    return "none (base)" if task == NONE else task


def _cell(cell: Cell | None, *, rate: bool) -> str:
    if cell is None:
        return ""
    if cell.n is None:
        return str(cell.answered)
    found = _interval(cell.answered, cell.n)
    return f"{cell.answered}/{cell.n}" + (f" [{_ends(found)}]" if rate and found.value is not None else "")


def _share(rate: Rate) -> str:
    return "not measured" if rate.value is None else f"{100 * rate.value:.1f} %"


def _ends(rate: Rate) -> str:
    return "" if rate.low is None or rate.high is None else f"{100 * rate.low:.1f}-{100 * rate.high:.1f}"


def _with_ends(rate: Rate | None) -> str:
    if rate is None:
        return "other forms"
    return _share(rate) + (f" [{_ends(rate)}]" if rate.value is not None else "")
