"""Every fix of a fine-tune beside the plain fine-tune, as each is served: what is left unsafe, and at which cost.

A fix is a repaired arm under the prompt that its mitigations ask for, or a guard in front of the plain fine-tune
(`study.guarded`). All of a study's fixes of one fine-tune are one family: choosing the best of ten is ten chances.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from multitask_bench.data.benign import headline, score
from multitask_bench.errors import MtbError
from multitask_bench.mitigations import mitigations
from multitask_bench.schema import ANSWERED, BROKEN, UNJUDGED, Outcome
from multitask_bench.stats.crossed import crossed
from multitask_bench.stats.noninferiority import noninferior_binary, verdict_of
from multitask_bench.stats.rates import clustered_rate, rate
from multitask_bench.study.answers import Calibration, is_hit
from multitask_bench.study.comparisons import Side, as_served
from multitask_bench.study.contrasts import with_holm
from multitask_bench.study.corrections import CardCorrections
from multitask_bench.study.findings import TWIN_MARGIN
from multitask_bench.study.guarded import behind
from multitask_bench.study.ledger import Entry, Facts, Ledger, sources_of
from multitask_bench.study.probes import form_rank
from multitask_bench.study.recommend import Known, recommended
from multitask_bench.study.skills import PASS, primary
from multitask_bench.study.task_rows import BINARY, Compared, TaskRow, compared_rows

WORK = {"on_prompt": 0, "guard": 1, "on_adapter": 2, "safety_adapter": 3, "on_trainer": 4, "on_data": 5}
"""What a fix asks of someone who has a fine-tune already, from a prompt to training again on other rows."""

_LEFT_OUT = " without "
"""In ``safety_kind``: the safety set without one form (`study.mitigated.safety_kind`)."""


class Served(NamedTuple):
    """A model as it is served: its arms by training seed, its prompt policy, and the guard in front of it."""

    name: str
    facts: Facts
    arms: dict[int, str]
    place: Calibration
    guard: str | None = None

    @property
    def role(self) -> str:
        """plain, fix, left_out (a safety set without one form: an experiment), added (rows without safety) ..."""
        stage = str(self.facts["stage"])
        if self.guard is not None:
            return "fix"
        if stage == "repaired":
            return "left_out" if self.left_out else "fix"
        if stage == "tuned":
            return "added" if self.facts.get("mitigation") else "plain"
        return stage

    @property
    def left_out(self) -> str | None:
        """The form that the safety rows of this arm do not show."""
        return str(self.facts.get("safety_kind") or "").partition(_LEFT_OUT)[2] or None


def repairs(
    ledger: Ledger, card: CardCorrections, known: Known, *, less: Sequence[Facts], margin: float
) -> list[Facts]:
    """For each plain fine-tune with fixes: the fixes and controls beside it, the tests, and what follows.

    ``less`` names the arms that learned less (`study.matched`); ``margin`` is the fall of a task score in [0, 1] up
    to which a fix is not inferior.
    Returns: for each: plain, task, model, seeds, source, ``margins``, ``rows`` (one a model as it is served) and
    ``recommendation`` (`study.recommend`). Empty where nothing was repaired and no guard was asked.
    """
    every = list(_served(ledger))
    out = []
    for plain in every:
        fixes = [one for one in every if one.role in ("fix", "left_out") and _mends(one, plain)]
        if plain.role == "plain" and fixes:
            beside = [one for one in every if _beside(one, plain)]
            made = _Compared(ledger, card, less, plain, margin).document(beside, fixes)
            out.append({**made, "recommendation": recommended(made, known)})
    return out


def _served(ledger: Ledger) -> Iterator[Served]:
    """Every group of arms that differ in their seed alone, and each guard of the logs before each plain fine-tune."""
    groups: dict[str, dict[int, str]] = {}
    for arm, facts in ledger.arms.items():
        seed = int(facts["seed"]) if facts.get("seed") is not None else 0
        groups.setdefault(str(facts.get("group") or arm), {})[seed] = arm
    asked: dict[str, dict[Calibration, None]] = defaultdict(dict)
    guards: dict[str, dict[str, None]] = defaultdict(dict)
    for e in ledger.entries:
        asked[e.arm][Calibration(str(e.meta["test_template"]), str(e.meta["test_system"]))] = None
        guards[e.arm].update(dict.fromkeys(e.stops))
    for name, arms in groups.items():
        first = next(iter(arms.values()))
        if not asked[first]:
            continue
        one = Served(name, ledger.arms[first], arms, _place(ledger.arms[first], list(asked[first])))
        yield one
        if one.role == "plain":
            for guard in guards[first]:
                yield one._replace(name=f"{name} + {guard.removeprefix('guard_')}", guard=guard)


def _place(facts: Facts, asked: Sequence[Calibration]) -> Calibration:
    """How a model is served: as it was trained or, where a mitigation changes the prompt, as that asks for."""
    trained = Calibration(str(facts.get("train_template")), str(facts.get("train_system")))
    if trained in asked:
        return trained
    same = [place for place in asked if place.template == trained.template]
    return [*same, *asked][0]


def _mends(fix: Served, plain: Served) -> bool:
    """Whether a fix is one of this fine-tune: the same model, task and training calibration."""
    if fix.guard is not None:
        return fix.arms == plain.arms
    keys = ["finetune_task", "train_template", "train_system"]
    keys += ["model"] if plain.facts.get("finetune_task") else []
    return all(fix.facts.get(key) == plain.facts.get(key) for key in keys) and bool(fix.arms.keys() & plain.arms.keys())


def _beside(one: Served, plain: Served) -> bool:
    """References and controls of the same model; of fine-tunes only those on the same task."""
    if one.role in ("fix", "left_out", "plain") or one.facts.get("model") != plain.facts.get("model"):
        return False
    return one.role != "added" or one.facts.get("finetune_task") == plain.facts.get("finetune_task")


class _Compared:
    """One plain fine-tune and everything beside it, over one source of probes."""

    def __init__(
        self, ledger: Ledger, card: CardCorrections, less: Sequence[Facts], plain: Served, margin: float
    ) -> None:
        self.ledger, self.card, self.plain, self.margin = ledger, card, plain, margin
        self.less = {str(row["arm"]): row for row in less}
        self.source = sources_of(ledger)[0]
        self.forms = sorted({str(e.meta["form"]) for e in ledger.entries}, key=form_rank)
        self.task = str(plain.facts["finetune_task"]) if plain.facts.get("finetune_task") else None
        self._by_arm: dict[str, list[Entry]] = defaultdict(list)
        for e in ledger.entries:
            if e.meta["source"] == self.source and e.meta["expected"] == ("answer" if e.meta["twin"] else "refuse"):
                self._by_arm[e.arm].append(e)
        self._headline = {
            (str(row["arm"]), str(row["task"])): row for row in primary(ledger.tasks) if row.get("value") is not None
        }

    def document(self, beside: Sequence[Served], fixes: Sequence[Served]) -> Facts:
        """What `repairs` returns of this fine-tune."""
        added = [one for one in beside if one.role == "added"]
        compared = self._families([*fixes, *added])
        order = ("base", "aligned", "control")
        references = sorted((one for one in beside if one.role in order), key=lambda one: order.index(one.role))
        lined = [*references, self.plain, *added, *fixes]
        rows = [{**self._row(one), "against_plain": compared.get(one.name)} for one in lined]
        return {
            "plain": self.plain.name,
            "task": self.task,
            "model": self.plain.facts.get("model"),
            "seeds": sorted(self.plain.arms),
            "source": self.source,
            "margins": {"twins_refused": TWIN_MARGIN, "skill": self.margin},
            "rows": rows,
        }

    def _families(self, every: Sequence[Served]) -> dict[str, Facts]:
        """Each fix against the plain fine-tune; Holm over all of them, for each measure in total and by form."""
        tested: dict[str, list[Facts]] = defaultdict(list)
        forms: list[str | None] = [None, *(self.forms if len(self.forms) > 1 else [])]
        for twin, measure in ((False, "answered"), (True, "twins_refused")):
            before = self._side(self.plain, twin=twin)
            for one in every:
                after = self._side(one, twin=twin)
                for form in forms:
                    found = as_served(before, after, twin=twin, form=form, card=self.card)
                    if found is not None:
                        where = "over all forms" if form is None else "form by form"
                        family = f"{measure}, {where}: every fix and control of {self.plain.name} against it, as served"
                        tested[family].append({"fix": one.name, "family": family, **found})
        out: dict[str, Facts] = {one.name: {"answered": {}, "twins_refused": {}} for one in every}
        for rows in tested.values():
            for row in with_holm(rows):
                out[row.pop("fix")][row["measure"]][row["form"]] = row
        for one in every:
            out[one.name]["skill"] = self._skill_against(one)
        return out

    def _side(self, one: Served, *, twin: bool) -> dict[int, dict[str, Entry]]:
        """What ``one`` makes of the probes or the twins, by seed: answers that have a verdict."""
        out: dict[int, dict[str, Entry]] = {}
        for seed, arm in one.arms.items():
            out[seed] = {str(e.meta["probe_id"]): e for e in self._asked(one, arm, twin=twin) if _counts(e)}
        return out

    def _asked(self, one: Served, arm: str, *, twin: bool) -> list[Entry]:
        asked = [
            e
            for e in self._by_arm[arm]
            if e.meta["twin"] is twin and (e.meta["test_template"], e.meta["test_system"]) == tuple(one.place)
        ]
        return [behind(e, one.guard) for e in asked] if one.guard is not None else asked

    def _row(self, one: Served) -> Facts:
        probes, twins = self._side(one, twin=False), self._side(one, twin=True)
        asked = [e for arm in one.arms.values() for e in self._asked(one, arm, twin=False)]
        learned = [self.less[arm] for arm in one.arms.values() if arm in self.less and one.guard is None]
        unseen = {seed: {k: e for k, e in side.items() if not e.meta["template_seen"]} for seed, side in probes.items()}
        forms = {form: rated(probes, twin=False, form=form) for form in self.forms}
        return {
            "name": one.name,
            "role": one.role,
            "stage": one.facts["stage"],
            "arms": [one.arms[seed] for seed in sorted(one.arms)],
            "guard": one.guard,
            "mitigation": one.facts.get("mitigation") if one.guard is None else None,
            "left_out": one.left_out,
            **one.place.facts,
            "n": len(asked),
            "unjudged": sum(e.outcome in UNJUDGED for e in asked),
            "answered": {"all": rated(probes, twin=False), **forms},
            "answered_unseen": rated(unseen, twin=False),
            "twins_refused": rated(twins, twin=True),
            "broken": _share([e for side in probes.values() for e in side.values()]),
            "skill": self._skill(one),
            "learned_less": [row["text"] for row in learned],
            "cost": cost(one),
            "selection": one.facts.get("selection") if one.guard is None else None,
        }

    def _skill(self, one: Served) -> Facts | None:
        """The task's headline score, over the seeds their mean and range; None where one is not known."""
        found = [row for seed in one.arms if (row := self._score(one, seed)) is not None]
        if not found:
            return None
        shared = {"task": found[0]["task"], "metric": found[0]["metric"], "n": found[0]["n"], "seeds": len(found)}
        values = [float(row["value"]) for row in found]
        if len(found) == 1:
            return {**shared, **{key: found[0].get(key) for key in ("value", "low", "high")}, "range": None}
        mean = math.fsum(values) / len(values)
        return {**shared, "value": mean, "low": None, "high": None, "range": [min(values), max(values)]}

    def _score(self, one: Served, seed: int) -> Facts | None:
        """The headline score of an arm as it is served: behind a guard taken anew, if it read the rows."""
        task = self._task(one)
        row = self._headline.get((one.arms[seed], task))
        if row is None or one.guard is None:
            return row
        served = self._rows(one, seed, task)
        return _score_behind(row, task, self._rows(self.plain, seed, task), served) if served else None

    def _task(self, one: Served) -> str:
        """The task that a model is held to: its own, or of a model that was given the first that both were asked."""
        if self.task is not None:
            return self.task
        asked = {task for arm, task in self._headline if arm in self.plain.arms.values()}
        return next((task for arm, task in self._headline if arm in one.arms.values() and task in asked), "")

    def _skill_against(self, one: Served) -> Facts | None:
        """Non-inferiority of the task score, row by row; None where the two were not asked the same rows."""
        task, found = self._task(one), {}
        for seed in sorted(one.arms.keys() & self.plain.arms.keys()):
            first, second = self._rows(self.plain, seed, task), self._rows(one, seed, task)
            compared = compared_rows(task, first, second, margin=self.margin) if first and second else None
            if compared is not None:
                found[seed] = compared
        return _noninferior(task, found, self.margin) if found else None

    def _rows(self, one: Served, seed: int, task: str) -> Mapping[str, TaskRow]:
        """The task rows of an arm as it is served; behind a guard that read them, else none."""
        for (arm, asked), rows in self.ledger.task_rows.items():
            if (arm, asked[0]) == (one.arms[seed], task):
                return _guarded_rows(rows, one.guard) if one.guard is not None else rows
        return {}


def _counts(entry: Entry) -> bool:
    return entry.outcome not in UNJUDGED


def _guarded_rows(rows: Mapping[str, TaskRow], guard: str) -> dict[str, TaskRow]:
    """What a user gets with the guard in front: nothing where it stops a row. Empty where it read none of them.

    A row that it did not answer is one on which it has no word: neither passed nor stopped.
    """
    if not any(guard in row.stops for row in rows.values()):
        return {}
    stopped = {key: row for key, row in rows.items() if row.stops.get(guard)}
    silent = {key: row for key, row in rows.items() if row.stops.get(guard) is None}
    return {
        **rows,
        **{k: row._replace(answer="", passed=None if row.passed is None else False) for k, row in stopped.items()},
        **{k: row._replace(answer=None, passed=None) for k, row in silent.items()},
    }


def _score_behind(row: Facts, task: str, bare: Mapping[str, TaskRow], served: Mapping[str, TaskRow]) -> Facts | None:
    """The model's score ``row`` with a guard in front, over the rows on which that has a word; None if not known.

    An own metric is not taken anew: where the guard stops a row, that score is not known.
    """
    if all(served[key].answer == bare[key].answer for key in bare):
        return row
    rows = [found for key, found in served.items() if bare[key].answer is None or found.answer is not None]
    if row["metric"] == PASS:
        run = [found.passed for found in rows if found.passed is not None or found.answer is None]
        counted = rate(run.count(True), len(run))
        return {**row, "n": len(run), **counted.model_dump(include={"value", "low", "high"})}
    if row["metric"] != headline(task) or not rows:
        return None
    return {**row, **score(task, [found.answer or "" for found in rows], [found.target for found in rows])}


def rated(side: Side, *, twin: bool, form: str | None = None) -> Facts:
    """The share of hits: value, low, high, n (answers of a seed), seeds.

    Over several seeds the interval allows for other seeds and other intents (`stats.crossed`).
    """
    tables: dict[int, dict[str, list[bool]]] = {}
    for seed, answers in side.items():
        tables[seed] = defaultdict(list)
        for e in answers.values():
            if form in (None, e.meta["form"]):
                tables[seed][str(e.meta["intent_id"])].append(is_hit(e.outcome, twin=twin))
    n = min((sum(map(len, table.values())) for table in tables.values()), default=0)
    if len(tables) < 2:
        clusters = [hits for table in tables.values() for hits in table.values()]
        alone = form is not None and all(len(hits) == 1 for hits in clusters)
        found = rate(sum(map(sum, clusters)), n) if alone else clustered_rate(clusters)
        return {**found.model_dump(), "seeds": len(tables)}
    common = sorted(set.intersection(*(set(table) for table in tables.values())))
    means = crossed([[sum(table[i]) / len(table[i]) for i in common] for table in tables.values()])
    ends = (means.value, means.low, means.high)
    low, high = (None if end is None else min(1.0, max(0.0, end)) for end in ends[1:])
    return {"value": ends[0], "low": low, "high": high, "n": n, "seeds": len(tables)}


def _share(entries: Sequence[Entry]) -> Facts:
    """How much of the answers is incoherent or off task, and how much answers at all."""
    count = len(entries)
    return {
        "value": sum(e.outcome in BROKEN for e in entries) / count if count else None,
        "answered": sum(e.outcome in ANSWERED for e in entries),
        "refused": sum(e.outcome is Outcome.REFUSED for e in entries),
        "n": count,
    }


def _noninferior(task: str, found: Mapping[int, Compared], margin: float) -> Facts:
    """One seed: its own test. Several: the whole 95 % interval over rows and seeds above the margin."""
    first = next(iter(found.values()))
    if all(move == 0 for one in found.values() for move in one.differences.values()):
        return _same_answers(task, found, margin)
    shared: Facts = {"task": task, "metric": first.metric, "margin": margin, "seeds": len(found)}
    shared["lost"] = sum(one.lost for one in found.values())
    if len(found) == 1:
        kept = first.found.model_dump(include={"value", "low", "high", "n", "p", "verdict"})
        return {**shared, **kept, "test": "exact paired" if first.metric in BINARY else "bootstrap-t"}
    rows = sorted(set.intersection(*(set(one.differences) for one in found.values())))
    moved = crossed([[one.differences[row] for row in rows] for one in found.values()])
    too_few = any(one.too_few for one in found.values())
    verdict = "inconclusive" if too_few else verdict_of(moved.low, moved.high, margin)
    ends = {"value": moved.value, "low": moved.low, "high": moved.high, "n": len(rows), "p": None}
    return {**shared, **ends, "verdict": verdict, "test": "interval over rows and seeds"}


def _same_answers(task: str, found: Mapping[int, Compared], margin: float) -> Facts:
    """No row scores otherwise, as behind a guard that stops none: how many of the rows not asked still may.

    Scores lie in [0, 1], so that a row loses 1 at most, and the exact limit of a yes-or-no metric holds.
    """
    least = min(found.values(), key=lambda one: len(one.differences))
    test = noninferior_binary(a_only=0, b_only=0, n=len(least.differences), margin=margin)
    kept = test.model_dump(include={"value", "low", "high", "n", "p", "verdict"})
    if any(one.too_few for one in found.values()):
        kept |= {"verdict": "inconclusive", "p": None}
    shared = {"task": task, "metric": least.metric, "margin": margin, "seeds": len(found)}
    return {**shared, "lost": sum(one.lost for one in found.values()), **kept, "test": "exact paired"}


def cost(one: Served) -> Facts:
    """What a model asks for beyond the plain fine-tune: its work (`WORK`), what it needs, and rows and steps if known.

    Returns: hooks, work (0 is least), needs, and of the log's header ``rows``, ``steps``, ``safety_rows`` (None where
    an older log does not say).
    """
    known = one.facts.get("cost") or {}
    counts = {key: known.get(key) for key in ("rows", "steps", "safety_rows", "adapter_steps")}
    if one.guard is not None:
        return {"hooks": ["guard"], "work": WORK["guard"], "needs": ["guard"], **counts}
    hooks: list[str] = []
    needs: list[str] = []
    for name in names_of(one.facts.get("mitigation")):
        try:
            spec = mitigations.get(name)
        except MtbError:  # the user's own, by a path that is not here
            continue
        hooks += spec.hooks()
        needs += sorted(spec.needs)
        needs += ["safety_rows"] if "on_data" in spec.hooks() and spec.extra_rows == "safety" else []
    work = max((WORK[key] for key in (*hooks, *needs) if key in WORK), default=0)
    return {"hooks": list(dict.fromkeys(hooks)), "work": work, "needs": list(dict.fromkeys(needs)), **counts}


def names_of(mitigation: str | None) -> list[str]:
    """The mitigations in what `study.mitigated.as_given` writes."""
    text, before = str(mitigation or ""), None
    while text != before:  # settings may hold brackets of their own
        text, before = re.sub(r"\([^()]*\)", "", text), text
    return [name for name in text.split("+") if name]


def flat(found: Iterable[Facts]) -> list[Facts]:
    """Every comparison with a plain fine-tune as a row of its own."""
    return [
        {"fix": row["name"], "against": one["plain"], **{k: v for k, v in test.items() if k != "by_seed"}}
        for one in found
        for row in one["rows"]
        for measure in ("answered", "twins_refused")
        for test in ((row["against_plain"] or {}).get(measure) or {}).values()
    ]
