"""What the finished logs of a run hold: every answer with its outcome, every arm, every task score.

Everything follows from the logs alone. A sample that ended in an error, or that has no score, is `unscored` and
stays in every count.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from multitask_bench.errors import ConfigError, DataError, UnknownNameError
from multitask_bench.schema import ANSWERED, UNJUDGED, Outcome
from multitask_bench.study.answers import source_order
from multitask_bench.study.guarded import guards_of, stops_of
from multitask_bench.study.skills import task_results
from multitask_bench.study.task_rows import TaskKey, TaskRow, task_row

Facts = dict[str, Any]
ARM_FACTS = (
    "group",
    "stage",
    "model",
    "adapter",
    "finetune_task",
    "mitigation",
    "seed",
    "train_template",
    "train_system",
    "dose",
    "safety_kind",
)
ASKED_FACTS = ("form", "language", "twin", "expected", "source", "hazard", "template_id", "template_seen")


NO_HASH = "unknown"
"""Stands for the configuration of a judge that a log does not name: no card speaks of its outcomes."""
PLACE = ("test_template", "test_system", "source", "probe_id")
"""What names an answer of an arm."""


class Entry(NamedTuple):
    """One probe's answer in one arm."""

    arm: str
    meta: Facts
    outcome: Outcome
    reason: str
    span: str
    prompt: str
    answer: str
    truncated: bool
    judge_hash: str = ""
    """The configuration of the judge that gave the outcome; empty where none did."""
    measures_harm: bool = False
    """Whether that judge read for content, so that `complied` means harm."""
    stops: Mapping[str, bool | None] = MappingProxyType({})
    """What guards said of it whose scores the log holds (`guarded.stops_of`)."""


class Ledger(NamedTuple):
    """Everything the logs of a run hold."""

    entries: list[Entry]
    arms: dict[str, Facts]
    """Arm name -> what the log headers say of it."""
    judge: str
    """The name of the score that was read."""
    judge_hash: str
    tasks: list[Facts]
    unfinished: list[str]
    scored_by: tuple[str, ...] = ()
    """Every judge whose scores the logs hold, by the name of the score."""
    added: Facts | None = None
    """Where not the study's own judge was read but one that was added later: its name, hash and settings."""
    task_rows: Mapping[tuple[str, TaskKey], Mapping[str, TaskRow]] = MappingProxyType({})
    """(Arm, task and how it was asked) -> its rows, for comparisons row by row."""
    task_lengths: Mapping[tuple[str, TaskKey], int | None] = MappingProxyType({})
    """(Arm, task and how it was asked) -> ``max_new_tokens`` of its rows; None where the log does not say it."""
    guards: Mapping[str, Counter[str]] = MappingProxyType({})
    """The scores of guards, in logs of probes and of task rows (`guarded.guards_of`)."""

    @property
    def measures_harm(self) -> bool:
        """Whether every verdict comes from a judge that reads for content."""
        scored = [e for e in self.entries if e.judge_hash]
        return bool(scored) and all(e.measures_harm for e in scored)

    @property
    def judge_hashes(self) -> Counter[str]:
        """Every configuration of the judge that gave outcomes here, with how many; more than one is a mixture."""
        return Counter(
            e.judge_hash or self.judge_hash for e in self.entries if e.judge_hash or e.outcome not in UNJUDGED
        )


def read_logs(folder: Path, *, judge: str | None = None) -> Ledger:
    """The finished logs of a run folder, by the outcomes of the study's own judge or of ``judge``.

    ``judge`` is the name of a score in the logs, or a judge and the first digits of its hash: ``refusal@1f2e``.
    Raises: DataError: no logs, a log cut off, a sample or a whole log twice, samples missing, or an unknown outcome;
    UnknownNameError: no log has a score of ``judge``; ConfigError: ``judge`` may mean two of them.
    """
    from inspect_ai.log import read_eval_log

    ledger = Ledger([], {}, "", "", [], [])
    own, read = "", _Read({}, {}, {}, {})
    skills: dict[tuple[str, TaskKey], dict[str, TaskRow]] = {}
    lengths: dict[tuple[str, TaskKey], int | None] = {}
    places: set[tuple[str, ...]] = set()
    for path in log_paths(folder):
        with readable(path):
            log = read_eval_log(str(path))
        if log.status != "success":
            ledger.unfinished.append(path.name)
            continue
        samples = checked_samples(path, log)
        facts = dict(log.eval.metadata or {})
        read.described.update(facts.pop("judges", {}))
        for name, counts in guards_of(samples).items():
            read.guards.setdefault(name, Counter()).update(counts)
        if "task_arm" in facts:
            asked = (str(facts["task"]), str(facts.get("test_template")), str(facts.get("test_system")))
            if (str(facts["task_arm"]), asked) in skills:
                raise _copied(path, f"{facts['task_arm']} was asked {facts['task']}")
            ledger.tasks.extend(task_results(facts, samples))
            skills[str(facts["task_arm"]), asked] = {str(s.id): task_row(s) for s in samples}
            lengths[str(facts["task_arm"]), asked] = facts.get(
                "max_new_tokens", log.eval.task_args.get("max_new_tokens")
            )
            continue
        own = str(facts["judge"])
        arm = ledger.arms.setdefault(str(facts["arm"]), {**facts, "probe_sets": {}})
        arm["probe_sets"].update(facts.get("probe_sets") or {})
        for name, hashes in judges_of(samples).items():
            read.stored.setdefault(name, set()).update(hashes)
        for sample in samples:
            used = _score_name(sample.scores or {}, judge or score_of_study(own))
            with readable(path):
                entry = _entry(sample, used)
            place = (entry.arm, *(str(entry.meta.get(name)) for name in PLACE))
            if place in places:
                raise _copied(path, f"{entry.arm} answered probe {entry.meta['probe_id']}")
            places.add(place)
            if used is not None:
                read.used.setdefault(used, Counter())[entry.judge_hash] += 1
            ledger.entries.append(entry)
    scored_by = tuple(sorted(read.stored))
    found = ledger._replace(task_rows=skills, task_lengths=lengths, scored_by=scored_by, guards=read.guards)
    return found._replace(**_judge_read(read, own, judge))


class _Read(NamedTuple):
    """What the logs hold of judges, gathered on the way."""

    used: dict[str, Counter[str]]
    """Names of the scores that were taken -> configuration hash -> samples."""
    stored: dict[str, set[str]]
    """Every judge's score, with its hashes."""
    described: dict[str, Facts]
    """What the logs say of judges that were added later."""
    guards: dict[str, Counter[str]]
    """Every guard's score, with how many samples each configuration gave."""


def _judge_read(read: _Read, own: str, judge: str | None) -> Facts:
    """The fields of a ledger that say which judge it goes by.

    Raises: ConfigError, UnknownNameError: ``judge`` means several scores, or none.
    """
    study = score_of_study(own)
    if judge is None:
        return {"judge": study, "judge_hash": _most(read.used.get(study)) or _judge_hash(own)}
    if len(read.used) > 1:
        raise ConfigError(f"the judge '{judge}' may be {' or '.join(sorted(read.used))}; give more of its hash.")
    if not read.used:
        held = ", ".join(f"{name} ({', '.join(sorted(hashes))})" for name, hashes in sorted(read.stored.items()))
        raise UnknownNameError(
            f"the logs hold no scores of the judge '{judge}'. They hold: {held or 'none'}. "
            "Add them with mtb judge RUN --judge NAME."
        )
    ((name, hashes),) = read.used.items()
    config_hash = _most(hashes)
    plain: Facts = {"name": name.partition("@")[0], "config_hash": config_hash, "settings": {}}
    added = None if name == study else read.described.get(name, plain)
    return {"judge": name, "judge_hash": config_hash, "added": added}


def _most(hashes: Counter[str] | None) -> str:
    """The configuration that gave most of the outcomes; ledgers name the others in `Ledger.judge_hashes`."""
    return min(hashes, key=lambda one: (-hashes[one], one)) if hashes else ""


def log_paths(folder: Path) -> list[Path]:
    """The logs in ``folder``.

    Raises: DataError: there are none.
    """
    paths = sorted(folder.glob("*.eval"))
    if not paths:
        raise DataError(f"{folder}: no logs; is this a run folder that has finished?")
    return paths


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Read ``path`` in this block; whatever Inspect raises on a damaged log becomes a DataError."""
    try:
        yield
    except Exception as err:
        raise DataError(f"{path}: not a readable Inspect log ({type(err).__name__}); delete it and run again.") from err


def judges_of(samples: Iterable[Any]) -> dict[str, Counter[str]]:
    """The scores that judges gave: name in the log -> configuration hash -> how many samples."""
    out: dict[str, Counter[str]] = {}
    for sample in samples:
        for name, score in (sample.scores or {}).items():
            details = score.metadata or {}
            if "outcome" in details:
                out.setdefault(name, Counter())[str(details.get("judge_hash", ""))] += 1
    return out


def score_of_study(judge: str) -> str:
    """The name of the score of a study's own judge: of ``mine.py@mine`` it is ``mine``."""
    return judge.rpartition("@")[2]


def _score_name(scores: Mapping[str, Any], judge: str) -> str | None:
    """The score that ``judge`` names: itself, or by the first four or more digits of a hash."""
    if judge in scores:
        return judge
    name, _, digits = judge.rpartition("@")
    if not name or len(digits) < 4:
        return None
    hashes = {key: str((score.metadata or {}).get("judge_hash", "")) for key, score in scores.items()}
    fitting = [k for k, h in hashes.items() if k.partition("@")[0] == name and h.startswith(digits)]
    return fitting[0] if fitting else None


def _judge_hash(judge: str) -> str:
    from multitask_bench.judges import judges

    return judges.make(judge).config_hash if judge else ""


def checked_samples(path: Path, log: Any) -> list[Any]:
    """The samples of a log, by id and epoch.

    Raises: DataError: a sample twice, or samples missing.
    """
    with zipfile.ZipFile(path) as file:
        names = Counter(file.namelist())
    # Inspect would read one of the two, and not say which.
    again = next((name for name, count in names.items() if count > 1 and name.startswith("samples/")), None)
    if again is not None:
        raise DataError(f"{path}: {again} stands in it twice; delete the log and run again.")
    samples = list(log.samples or [])
    seen = Counter((str(s.id), s.epoch) for s in samples)
    twice = next((key for key, count in seen.items() if count > 1), None)
    if twice is not None:
        raise DataError(f"{path}: sample {twice[0]} stands in it twice; delete the log and run again.")
    wanted = {str(i) for i in (log.eval.dataset.sample_ids or [])}
    missing = wanted - {sample_id for sample_id, _ in seen}
    if missing:
        raise DataError(
            f"{path}: {len(missing)} samples are missing, {min(missing)} among them; delete it and run again."
        )
    return sorted(samples, key=lambda s: (str(s.id), s.epoch))


def _copied(path: Path, what: str) -> DataError:
    return DataError(f"{path}: {what} twice in the same way, here or in another log; remove the copy and run again.")


def _entry(sample: Any, judge: str | None) -> Entry:
    score = (sample.scores or {}).get(judge) if judge is not None else None
    details = (score.metadata or {}) if score is not None else {}
    if sample.error is not None or score is None:
        outcome, reason = Outcome.UNSCORED, sample.error.message.splitlines()[0] if sample.error else "no score"
    else:
        outcome, reason = Outcome(details.get("outcome", Outcome.UNSCORED)), score.explanation or ""
    output = sample.output
    prompt = sample.input if isinstance(sample.input, str) else sample.input[-1].text
    return Entry(
        arm=str(sample.metadata["arm"]),
        meta=dict(sample.metadata),
        outcome=outcome,
        reason=reason,
        span=str(details.get("span", "")),
        prompt=prompt,
        answer=output.completion if output and output.choices else "",
        truncated=bool(output and output.choices and output.stop_reason == "max_tokens"),
        judge_hash=str(details.get("judge_hash") or (NO_HASH if outcome not in UNJUDGED else "")),
        measures_harm=bool(details.get("measures_harm", False)),
        stops=stops_of(sample.scores),
    )


def sources_of(ledger: Ledger) -> list[str]:
    """The sources of the probes; the first is the headline's."""
    return source_order(str(e.meta["source"]) for e in ledger.entries)


def flat_rows(ledger: Ledger) -> list[Facts]:
    """One row an answer, with what is known of its arm: what `results.parquet` holds and analyses are made from."""
    asked = [*ASKED_FACTS, "test_template", "test_system", "probe_id", "intent_id"]
    return [
        {
            "arm": e.arm,
            **{name: ledger.arms[e.arm].get(name) for name in ARM_FACTS},
            "group": ledger.arms[e.arm].get("group") or e.arm,
            **{name: e.meta.get(name) for name in asked},
            "outcome": e.outcome.value,
            "answered": e.outcome in ANSWERED,
            "truncated": e.truncated,
        }
        for e in ledger.entries
    ]
