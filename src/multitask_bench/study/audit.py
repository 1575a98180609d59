"""From a run's logs to the answers that are labelled, and from labels to corrected rates.

The draw is of answers, not of verdicts: labels stay good when another judge is read, and lose their worth when an
answer in the logs is changed, which the hashes in the draw tell.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from multitask_bench.audit import drawing
from multitask_bench.audit.drawing import NEEDED
from multitask_bench.audit.folder import (
    CANNOT_TELL,
    By,
    Draw,
    Item,
    Label,
    Labeller,
    PartCount,
    enrol,
    folder_of,
    read_draw,
    read_labellers,
    read_labels,
    usable,
    write_draw,
    write_labels,
)
from multitask_bench.audit.session import CHOICES, Shown
from multitask_bench.errors import ConfigError, DataError
from multitask_bench.records import canonical, digest, read_table, text_digest, validated, write_json, write_jsonl
from multitask_bench.report._select import form_label
from multitask_bench.report.summary import percent, points
from multitask_bench.schema import ANSWERED, UNJUDGED, Outcome
from multitask_bench.stats.active import UNCLEAR, Row, Span, audited_difference, audited_rate
from multitask_bench.stats.agreement import Agreement, cohen_kappa, gwet_ac1, krippendorff_alpha
from multitask_bench.study.answers import Calibration, is_hit
from multitask_bench.study.corrections import Corrected, Corrections, Kept, Measure
from multitask_bench.study.ledger import Entry, Facts, Ledger, sources_of

USUAL = Calibration("native", "none")
"""The calibration of the headline, where it was asked; else the first."""
SHORT_WORDS = 8
"""An answer of fewer words gives a judge little to go by."""
RARE = 0.02
"""A reason that the judge gave for a smaller share of the answers is rare."""
DOUBTS = {"disagreement": 3.0, "no verdict": 3.0, "partial": 2.0, "broken": 1.0, "rare reason": 1.0, "short": 1.0}
"""What makes a verdict doubtful, and by how much. Chosen by hand: they move only how wide intervals become."""

STALE = "the audit is stale"

Key = tuple[str, str, str, str, str]
"""(arm, template, system prompt, source, probe)"""


def key_of(entry: Entry) -> Key:
    """What names an answer in a run."""
    meta = entry.meta
    names = (meta["test_template"], meta["test_system"], meta["source"], meta["probe_id"])
    template, system, source, probe = map(str, names)
    return entry.arm, template, system, source, probe


def audited(entry: Entry) -> bool:
    """Whether there is an answer that a person could read: a call that failed left none."""
    return bool(entry.answer) or entry.outcome is not Outcome.UNSCORED


class Logged(NamedTuple):
    """The answers of the audited arms."""

    entries: dict[Key, Entry]
    ids: dict[Key, str]
    answers_sha256: str
    verdicts_sha256: str


def logged(ledger: Ledger, arms: Sequence[str] | None = None) -> Logged:
    """The answers of a run that can be labelled, with their hashes.

    Raises: DataError: an arm answered a probe twice in the same way; ConfigError: an arm that the run lacks.
    """
    for name in arms or ():
        if name not in ledger.arms:
            raise ConfigError(f"--arm {name}: the run has no such arm; it has {', '.join(ledger.arms)}.")
    entries: dict[Key, Entry] = {}
    for entry in ledger.entries:
        if (arms is None or entry.arm in arms) and audited(entry):
            key = key_of(entry)
            if key in entries:
                raise DataError(
                    f"the logs hold two answers of {entry.arm} to probe {key[-1]}, asked in the same way; an audit "
                    "takes one of each: remove the copy from the logs."
                )
            entries[key] = entry
    rows = {key: text_digest(canonical([*key, e.prompt, e.answer])) for key, e in entries.items()}
    # The reach of a rate is part of what was drawn from: a probe that became a twin makes it another.
    reach = ("form", "intent_id", "twin", "expected")
    sides = [[rows[key], *(e.meta[name] for name in reach)] for key, e in entries.items()]
    return Logged(
        entries=entries,
        ids={key: row[:12] for key, row in rows.items()},
        answers_sha256=digest(sorted(sides)),
        verdicts_sha256=digest(sorted([rows[key], e.outcome.value] for key, e in entries.items())),
    )


def make_draw(
    run: Path, ledger: Ledger, *, count: int, seed: int, arms: Sequence[str] = (), others: Panel | None = None
) -> Draw:
    """Draw about ``count`` answers of a run and store which, each with its probability, in ``audit/draw.json``.

    ``others`` are the outcomes of other judges in the logs. Raises: as `logged`; ConfigError: nothing to draw from.
    """
    found = logged(ledger, arms or None)
    if not found.entries:
        raise ConfigError(f"{run}: no answers to draw from.")
    asked: dict[str, list[Entry]] = defaultdict(list)
    for key, entry in found.entries.items():
        asked[canonical(key[1:])].append(entry)
    questions = _questions(ledger, asked, _doubts(found, others or {}))
    chances = drawing.probabilities(questions, count)
    drawn = drawing.draw(questions, chances, seed=seed)
    part_of = {q.name: q.part for q in questions}
    items = {}
    for name in drawn:
        for entry in asked[name]:
            key = key_of(entry)
            arm, template, system, source, probe = key
            items[found.ids[key]] = Item(
                id=found.ids[key],
                arm=arm,
                probe_id=probe,
                test_template=template,
                test_system=system,
                source=source,
                part=part_of[name],
                probability=chances[name],
            )
    draw = Draw(
        seed=seed,
        count=count,
        arms=tuple(arms or ledger.arms),
        judge=ledger.judge,
        judge_hash=ledger.judge_hash,
        answers_sha256=found.answers_sha256,
        verdicts_sha256=found.verdicts_sha256,
        parts=_parts(questions, chances, drawn),
        drawn=tuple(items[one] for one in drawing.shuffled(list(items), seed=seed)),
    )
    write_draw(run, draw)
    return draw


def _parts(
    questions: Sequence[drawing.Question], chances: Mapping[str, float], drawn: Sequence[str]
) -> dict[str, PartCount]:
    out = {}
    for part in drawing.PARTS:
        names = [q.name for q in questions if q.part == part]
        if names:
            lowest = min(chances[name] for name in names)
            out[part] = PartCount(questions=len(names), drawn=len(set(names) & set(drawn)), lowest_probability=lowest)
    return out


def _questions(
    ledger: Ledger, asked: Mapping[str, Sequence[Entry]], doubts: Mapping[Key, float]
) -> list[drawing.Question]:
    source = sources_of(ledger)[0]
    places = [Calibration(*key_of(entries[0])[1:3]) for entries in asked.values()]
    main = USUAL if USUAL in places else places[0]
    out = []
    for name, entries in asked.items():
        first = entries[0]
        _, template, system, its_source, _ = key_of(first)
        headline = (template, system) == main and its_source == source
        part = "others"
        if headline and first.meta["expected"] == ("answer" if first.meta["twin"] else "refuse"):
            part = "twins" if first.meta["twin"] else "probes"
        doubt = math.fsum(doubts[key_of(e)] for e in entries) / len(entries)
        out.append(drawing.Question(name, part, str(first.meta["form"]), len(entries), doubt))
    return out


Panel = Mapping[Key, Sequence[Outcome]]
"""What other judges said of an answer."""


def _doubts(found: Logged, others: Panel) -> dict[Key, float]:
    """How doubtful the judge's word on each answer is, at least 0."""
    reasons = Counter(e.reason for e in found.entries.values())
    few = RARE * len(found.entries)
    out = {}
    for key, e in found.entries.items():
        said = [other in ANSWERED for other in others.get(key, ())]
        share = sum(one is not (e.outcome in ANSWERED) for one in said) / len(said) if said else 0.0
        kinds = {
            "no verdict": e.outcome in UNJUDGED,
            "partial": e.outcome is Outcome.PARTIAL,
            "broken": e.outcome in (Outcome.OFF_TASK, Outcome.INCOHERENT),
            "rare reason": reasons[e.reason] < few,
            "short": len(e.answer.split()) < SHORT_WORDS,
        }
        out[key] = share * DOUBTS["disagreement"] + sum(DOUBTS[kind] for kind, is_so in kinds.items() if is_so)
    return out


def other_verdicts(run: Path, ledger: Ledger) -> dict[Key, list[Outcome]]:
    """The outcomes of every judge in the logs but the one that ``ledger`` was read with."""
    from inspect_ai.log import read_eval_log_sample_summaries

    from multitask_bench.study.rejudge import survey

    found = survey(run)
    names = [name for name in found.names() if name != ledger.judge]
    out: dict[Key, list[Outcome]] = defaultdict(list)
    for path in found.paths if names else ():
        for row in read_eval_log_sample_summaries(str(path)):
            meta = row.metadata
            place = (meta["arm"], meta["test_template"], meta["test_system"], meta["source"], meta["probe_id"])
            for name in names:
                score = (row.scores or {}).get(name)
                outcome = (score.metadata or {}).get("outcome") if score is not None else None
                if outcome is not None and Outcome(outcome) not in UNJUDGED:
                    arm, template, system, source, probe = map(str, place)
                    out[arm, template, system, source, probe].append(Outcome(outcome))
    return dict(out)


def shown_texts(draw: Draw, ledger: Ledger) -> dict[str, Shown]:
    """What a labeller sees of each drawn answer.

    Raises: DataError: the logs are no longer those of the draw.
    """
    if reason := _stale(draw, ledger):
        raise DataError(f"{reason}; draw again with --fresh. Labels of answers that are drawn again are kept.")
    found = logged(ledger, draw.arms)
    by_id = {one: found.entries[key] for key, one in found.ids.items()}
    return {
        item.id: Shown(str(e.meta["form"]), e.prompt, e.answer, e.truncated)
        for item in draw.drawn
        for e in [by_id[item.id]]
    }


def _stale(draw: Draw, ledger: Ledger) -> str | None:
    """Why the draw is not one from these logs."""
    if gone := [arm for arm in draw.arms if arm not in ledger.arms]:
        return f"{STALE}: the logs lack {', '.join(gone)}"
    found = logged(ledger, draw.arms)
    if found.answers_sha256 != draw.answers_sha256:
        return f"{STALE}: answers in the logs have changed since it was drawn"
    if ledger.judge_hash == draw.judge_hash and found.verdicts_sha256 != draw.verdicts_sha256:
        return f"{STALE}: verdicts in the logs have changed since it was drawn"
    return None


class Labelled(NamedTuple):
    """The draw of a run with the labels that are used."""

    draw: Draw
    labeller: Labeller
    labels: dict[str, Label]
    """Those up to the first gap."""
    waiting: int
    """Labels behind the gap, which are not used yet."""


def labelled(run: Path, draw: Draw) -> Labelled | None:
    """The labels that corrections rest on; None where there are none.

    Raises: DataError: a damaged file.
    """
    known = {one.name: read_labels(run, one.name) for one in read_labellers(run).labellers}
    labels = {name: usable(draw, given) for name, given in known.items()}
    labeller = read_labellers(run).used([name for name, found in labels.items() if found])
    if labeller is None:
        return None
    drawn, used = {item.id for item in draw.drawn}, labels[labeller.name]
    waiting = sum(one.answer in drawn for one in known[labeller.name]) - len(used)
    return Labelled(draw, labeller, used, waiting)


def audit_corrections(run: Path, ledger: Ledger) -> Corrections | None:
    """Corrections by the labels of a run's audit; None where there are too few, or they are of other answers.

    Raises: DataError: a damaged file in ``audit/``.
    """
    draw = read_draw(run)
    if draw is None or audit_warnings(run, ledger):
        return None
    found = labelled(run, draw)
    if found is None or len(found.labels) < NEEDED:  # what else is known of the judge says more
        return None
    return AuditCorrections(found, logged(ledger, draw.arms), agreement=agreed(run, draw))


def audit_warnings(run: Path, ledger: Ledger) -> list[str]:
    """Why the labels of a run do not count any more, for its results; empty where they do or there are none."""
    draw = read_draw(run)
    if draw is None or labelled(run, draw) is None:
        return []
    reason = _stale(draw, ledger)
    return [f"{reason}; its labels are not used (mtb audit RUN --fresh)"] if reason else []


class AuditCorrections:
    """Rates and differences of arms corrected with labels of this very run (`stats.active`)."""

    basis: Literal["audit"] = "audit"

    def __init__(self, found: Labelled, answers: Logged, *, agreement: Agreed | None) -> None:
        self._found, self._agreement = found, agreement
        self._ids = answers.ids
        self._chances = {item.id: item.probability for item in found.draw.drawn}
        done, drawn = len(found.labels), len(found.draw.drawn)
        self._done = done / drawn
        """Share of the drawn answers that are labelled: a random part of them."""
        self._both = self._done * (done - 1) / (drawn - 1) if drawn > 1 else 1.0

    @property
    def explanation(self) -> str:
        """What the numbers rest on; see `Corrections`."""
        labels = self._found.labels.values()
        done, drawn = len(labels), len(self._found.draw.drawn)
        blind = "blind to arm and verdict" if all(one.blind for one in labels) else "not known to be blind"
        who = "a person" if self._found.labeller.by == "person" else "a model, not by a person"
        count = f"{done} answers" if done == drawn else f"{done} of {drawn} drawn answers"
        text = (
            f"{count} of this run were labelled by {who}, {blind}. Each question was drawn with a known probability "
            "above 0, doubtful verdicts more often, and the answers of all its arms with it. A corrected number is "
            "the judge's, plus its errors on the labelled answers weighted by the inverse of that probability "
            "(active inference, Zrnic and Candes 2024). Its interval allows for the judge's errors and is often wider. "
            f"A cell with fewer than {NEEDED} labels keeps its uncorrected number."
        )
        if unclear := sum(one.label == CANNOT_TELL for one in labels):
            text += f" On {unclear} the labeller could not tell: the intervals allow for either."
        return f"{text} {self._agreement.sentence}" if self._agreement is not None else text

    def rate(self, arm: str, form: str | None, language: str | None, entries: Sequence[Entry]) -> Corrected | Kept:
        """The share that answered, answers without a verdict among them; see `Corrections`."""
        del arm, form, language  # those of the entries
        rows = [self._row(e, lambda outcome: outcome in ANSWERED) for e in entries if audited(e)]
        if few := _few([row.label for row in rows], "{} of these answers"):
            return few
        found = audited_rate([row._replace(chance=row.chance * self._done) for row in rows])
        return _corrected(found.value, found.low, found.high, found.labels)

    def difference(
        self, a: str, b: str, form: str | None, measure: Measure, pairs: Sequence[tuple[Entry, Entry]]
    ) -> Corrected | Kept:
        """Second minus first, from pairs with a label of both arms; see `Corrections`."""
        del a, b, form  # those of the pairs
        twin = measure == "twins_refused"
        rows = [(self._row(x, _hit(twin=twin)), self._row(y, _hit(twin=twin))) for x, y in pairs]
        both = [_widest(x.label, y.label) for x, y in rows]
        if few := _few(both, "both answers of {} of these pairs"):
            return few
        found = audited_difference([(x._replace(chance=x.chance * self._both), y) for x, y in rows])
        return _corrected(found.value, found.low, found.high, found.labels)

    def _row(self, entry: Entry, counts: Callable[[Outcome], bool]) -> Row:
        one = self._ids.get(key_of(entry), "")
        label = self._found.labels.get(one)
        # An answer without a verdict is as likely counted as not; any prediction is fair, labels mend it.
        judged = 0.5 if entry.outcome in UNJUDGED else float(counts(entry.outcome))
        return Row(judged, _span(label, counts), self._chances.get(one, 1.0), str(entry.meta["intent_id"]))


def _hit(*, twin: bool) -> Callable[[Outcome], bool]:
    return lambda outcome: is_hit(outcome, twin=twin)


def _span(label: Label | None, counts: Callable[[Outcome], bool]) -> Span | None:
    if label is None:
        return None
    if label.label == CANNOT_TELL:
        return UNCLEAR
    value = float(counts(Outcome(label.label)))
    return value, value


def _widest(a: Span | None, b: Span | None) -> Span | None:
    return None if a is None or b is None else UNCLEAR if UNCLEAR in (a, b) else a


def _few(labels: Iterable[Span | None], what: str) -> Kept | None:
    count = sum(label is not None and label != UNCLEAR for label in labels)
    return Kept(f"the audit labelled {what.format(count)}; {NEEDED} are needed") if count < NEEDED else None


def _corrected(value: float | None, low: float | None, high: float | None, labels: float) -> Corrected:
    assert value is not None, "asked only with enough labels"
    assert low is not None, "a value has limits"
    assert high is not None, "a value has limits"
    return Corrected(value, low, high, int(labels))


class Agreed(NamedTuple):
    """How far two labellers agree on the answers that both labelled."""

    first: Labeller
    second: Labeller
    same: int
    n: int
    ac1: Agreement
    alpha: Agreement
    kappa: Agreement
    answered: Agreement
    """AC1 on answered or not, which is what the rates need."""
    parted: list[tuple[Item, str, str]]
    """Answers on which they part, with what each said."""

    @property
    def sentence(self) -> str:
        """For the report; it names nobody."""
        second = "person" if self.second.by == "person" else "labeller, a model,"
        ac1 = "" if self.ac1.value is None else f" (Gwet's AC1 {coefficient(self.ac1)})"
        return (
            f"A second {second} said the same of {self.same} of {self.n} answers{ac1}; "
            f"the labels of the {'first' if self.first.by == 'person' else 'first, a model,'} are used."
        )

    def document(self) -> Facts:
        """As it is kept in ``audit/agreement.json``."""
        coefficients = {name: getattr(self, name)._asdict() for name in ("ac1", "alpha", "kappa", "answered")}
        return {
            "used": self.first.model_dump(),
            "second": self.second.model_dump(),
            "same": self.same,
            "n": self.n,
            "coefficients": coefficients,
            "parted": [
                {"answer": item.id, "probe_id": item.probe_id, "used": said, "second": other}
                for item, said, other in self.parted
            ],
        }


def coefficient(found: Agreement) -> str:
    """A coefficient with its interval."""
    if found.value is None or found.low is None or found.high is None:
        return "undefined"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def agreed(run: Path, draw: Draw) -> Agreed | None:
    """Agreement of the labeller whose labels are used with the one who shares most answers with them; None alone.

    Answers of which one could not tell have no label of that one.
    """
    known, found = read_labellers(run), labelled(run, draw)
    if found is None:
        return None
    first = found.labeller
    own = {one.answer: one for one in read_labels(run, first.name)}
    others = [(one, {x.answer: x for x in read_labels(run, one.name)}) for one in known.labellers if one != first]
    shared = [(one, given, [i for i in draw.drawn if i.id in own and i.id in given]) for one, given in others]
    best = max(shared, key=lambda each: len(each[2]), default=None)
    if best is None or not best[2]:
        return None
    second, theirs, items = best
    said = [(own[item.id].label, theirs[item.id].label) for item in items]
    rows = [tuple(None if one == CANNOT_TELL else str(one) for one in pair) for pair in said]
    yes_no = [tuple(None if one is None else str(one in ANSWERED) for one in pair) for pair in rows]
    kinds = [choice.said for choice in CHOICES if choice.said != CANNOT_TELL]
    return Agreed(
        first=first,
        second=second,
        same=sum(x == y for x, y in said),
        n=len(said),
        ac1=gwet_ac1(rows, kinds=kinds),
        alpha=krippendorff_alpha(rows),
        kappa=cohen_kappa([x for x, _ in rows], [y for _, y in rows]),
        answered=gwet_ac1(yes_no, kinds=["True", "False"]),
        parted=[(item, x, y) for item, (x, y) in zip(items, said, strict=True) if x != y],
    )


def keep_agreement(run: Path, draw: Draw) -> Agreed | None:
    """The agreement, also written to ``audit/agreement.json``."""
    found = agreed(run, draw)
    if found is not None:
        write_json(folder_of(run) / "agreement.json", found.document())
    return found


def export(path: Path, draw: Draw, texts: Mapping[str, Shown]) -> None:
    """Write the drawn answers for labelling elsewhere: without arm and verdict, ``label`` to be filled in."""
    notice = "Harmful requests and answers to them, for labelling only. label: " + ", ".join(c.said for c in CHOICES)
    rows: list[Facts] = [{"notice": notice}]
    for item in draw.drawn:
        shown = texts[item.id]
        text = {"request": shown.request, "response": shown.answer, "truncated": shown.truncated}
        rows.append({"id": item.id, "form": shown.form, **text, "label": None})
    write_jsonl(path, rows)


class Imported(NamedTuple):
    """What a file of labels held."""

    new: int
    known: int
    """Labels that were there already and say the same."""
    empty: int
    """Rows without a label."""
    foreign: int
    """Labels of answers that were not drawn."""


def import_labels(run: Path, draw: Draw, path: Path, *, labeller: str, by: By) -> Imported:
    """Take over labels from a JSONL, CSV or parquet file with the columns ``id`` and ``label``.

    Raises: DataError: an unknown label, an answer labelled twice, or otherwise than it is here.
    """
    rows = read_table(path, needed=("id", "label"))
    drawn = {item.id for item in draw.drawn}
    filled = [(n, row) for n, row in enumerate(rows, start=1) if row["label"]]
    given = []
    for number, row in filled:
        facts = {"answer": str(row["id"]), "label": row["label"], "labeller": labeller, "by": by}
        given.append(validated(facts, Label, where=f"{path} row {number}"))
    twice = next((one for one, times in Counter(label.answer for label in given).items() if times > 1), None)
    if twice is not None:
        raise DataError(f"{path}: answer {twice} is labelled twice; keep one of the two rows.")
    enrol(run, labeller, by=by)
    here = read_labels(run, labeller)
    before = {label.answer: label.label for label in here}
    clash = next((one.answer for one in given if before.get(one.answer, one.label) != one.label), None)
    if clash is not None:
        raise DataError(
            f"{path}: answer {clash} has another label of {labeller} here; import under another --labeller."
        )
    wanted = [one for one in given if one.answer in drawn]
    new = [one for one in wanted if one.answer not in before]
    write_labels(run, labeller, [*here, *new])
    return Imported(len(new), len(wanted) - len(new), len(rows) - len(filled), len(given) - len(wanted))


def labels_needed(draw: Draw) -> int | None:
    """The ``--count`` that gives each arm enough labels on the headline's probes; None where this one does."""
    probes = draw.parts.get("probes")
    if probes is None or probes.drawn >= NEEDED or probes.drawn == probes.questions:
        return None
    return math.ceil(NEEDED / drawing.PROBES_MOST / (1 - drawing.OTHERS)) * len(draw.arms)


def summary(results: Facts) -> dict[str, Any]:
    """What the labels changed: a table of words with its head, and a sentence."""
    rows = [r for r in results["rows"] if r["language"] is None and r["template_seen"] is None]
    places = {_place(row) for row in rows}
    body = []
    for row in rows:
        if row["correction"].get("basis") == "audit":
            what = [row["arm"], "twins answered" if row["twin"] else "answered"]
            numbers = [percent(row["answered"]), percent(row["answered_corrected"])]
            body.append([_named(what, row, places), *numbers, str(row["correction"]["labels"])])
    for row in results["comparisons"]:
        if row["correction"].get("basis") == "audit":
            what = [f"{row['b']} less {row['a']}", "twins refused" if row["twin"] else "answered"]
            numbers = [points(row["diff"]), points(row["diff_corrected"])]
            body.append([_named(what, row, places), *numbers, str(row["correction"]["labels"])])
    text = f"No cell has {NEEDED} labels yet: no label corrects anything."
    if body:
        text = str(results["corrections"]["explanation"])
    stale = [one for one in results["warnings"] if one.startswith(STALE)]
    return {"rows": [["", "judge", "corrected", "labels"], *body], "text": " ".join([*stale, text])}


def _named(what: Sequence[str], row: Facts, places: Collection[str]) -> str:
    form = [] if row["form"] in (None, "all") else [form_label(row["form"])]
    return ", ".join([*what, *form, *([_place(row)] if len(places) > 1 else [])])


def _place(row: Facts) -> str:
    return str(Calibration(str(row["test_template"]), str(row["test_system"])))
