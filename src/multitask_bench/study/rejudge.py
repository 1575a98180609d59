"""More judges on the stored logs of a run: scores added beside the old ones, and how far they agree.

A score stands under the name of its judge; where that name is taken by another configuration, under
``name@hash``. What is there is never changed, and a log is replaced in one step, so that a call that was
killed goes on where it stopped.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multitask_bench.errors import ConfigError
from multitask_bench.judges import JudgeSpec
from multitask_bench.schema import ANSWERED, OWN_FORM, UNJUDGED, Judgment, Outcome, Response
from multitask_bench.stats.agreement import Agreement, gwet_ac1, krippendorff_alpha
from multitask_bench.study.ledger import Facts, checked_samples, judges_of, log_paths, readable
from multitask_bench.study.log_scores import append_scores, set_aside
from multitask_bench.study.probes import FORMS

Verb = Callable[[Sequence[Response]], Sequence[Judgment | None]]
"""Judges responses; None for one that was not judged this time, such as after a failed call."""
METRICS = ("answered", "twins_refused")
KINDS = tuple(o.value for o in Outcome if o not in UNJUDGED)
SHOWN = 20
"""Answers on which judges part that are named."""
PART = ".judging"
RESAMPLED_CELLS = 20_000_000
"""Numbers that one bootstrap holds at a time: 160 MB."""


class Survey(NamedTuple):
    """What the finished logs of a run hold of judges."""

    paths: list[Path]
    """Logs of probes, the only ones with answers to judge."""
    samples: Mapping[Path, int]
    answers: Mapping[Path, int]
    """Samples that have an answer: those that did not end in an error."""
    scores: Mapping[Path, Mapping[str, Counter[str]]]
    """Log -> score name -> configuration hash -> samples."""

    def names(self) -> dict[str, Counter[str]]:
        """Score name -> configuration hash -> samples, over all logs."""
        out: dict[str, Counter[str]] = defaultdict(Counter)
        for found in self.scores.values():
            for name, hashes in found.items():
                out[name].update(hashes)
        return dict(out)

    def mixed(self) -> list[str]:
        """One line for each name under which scores of several configurations stand."""
        return mixed(self.names())

    def name_of(self, spec: JudgeSpec) -> str:
        """Where the scores of ``spec`` stand, or would."""
        others = set(self.names().get(spec.name, ())) - {spec.config_hash}
        return f"{spec.name}@{spec.config_hash}" if others else spec.name

    def open_(self, spec: JudgeSpec) -> list[Path]:
        """The logs in which some sample has no score of ``spec``."""
        name = self.name_of(spec)
        return [p for p in self.paths if sum(self.scores[p].get(name, {}).values()) < self.samples[p]]

    def missing(self, spec: JudgeSpec) -> int:
        """How many answers have no score of ``spec``, at most; a log that is judged in part counts whole."""
        return sum(self.answers[path] for path in self.open_(spec))


def mixed(stored: Mapping[str, Mapping[str, int]]) -> list[str]:
    """One line for each score under which several configurations of a judge stand, whose rates are of neither.

    ``stored``: score name -> configuration hash -> samples, as `ledger.judges_of` has it for a log.
    """
    return [
        f"the scores of {name} come from {len(hashes)} configurations of it: "
        + ", ".join(f"{config_hash or 'no hash'} ({count} answers)" for config_hash, count in sorted(hashes.items()))
        + f"; judge all of them with one: mtb judge RUN --judge {name.partition('@')[0]}."
        for name, hashes in sorted(stored.items())
        if len(hashes) > 1
    ]


class Added(NamedTuple):
    """What one call added."""

    name: str
    """The name of the score in the logs."""
    logs: int
    outcomes: dict[str, int]
    failed: int
    """Answers that were not judged; the same call again asks for them alone."""


def survey(run: Path) -> Survey:
    """The judges in the finished logs of ``run``, read from summaries.

    Raises: DataError: no logs, or a log cut off.
    """
    from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries

    paths: list[Path] = []
    samples: dict[Path, int] = {}
    answers: dict[Path, int] = {}
    scores: dict[Path, dict[str, Counter[str]]] = {}
    for path in log_paths(run / "logs"):
        with readable(path):
            header = read_eval_log(str(path), header_only=True)
            rows = read_eval_log_sample_summaries(str(path)) if _judged(header) else []
        if not _judged(header):
            continue
        paths.append(path)
        samples[path] = len(rows)
        answers[path] = sum(row.error is None for row in rows)
        scores[path] = judges_of(rows)
    return Survey(paths, samples, answers, scores)


def _judged(log: Any) -> bool:
    return log.status == "success" and "arm" in (log.eval.metadata or {})


def add_scores(run: Path, spec: JudgeSpec, verb: Verb, found: Survey) -> Added:
    """Judge what has no score of ``spec`` in the logs of ``run``; needs no model of the study.

    A sample that ended in an error is `unscored` and shown to no judge. The caller holds the run's lock.
    Returns: what was added; nothing where every sample has its score.
    Raises: DataError: a log is damaged; ConfigError: the folder cannot be written to, or the judge lost rows.
    """
    name, todo = found.name_of(spec), found.open_(spec)
    if todo and not os.access(run / "logs", os.W_OK):
        raise ConfigError(f"{run / 'logs'}: cannot be written to.")
    counts: Counter[str] = Counter()
    logs = failed = 0
    scratch = run / PART
    shutil.rmtree(scratch, ignore_errors=True)  # of a call that was killed
    try:
        for path in todo:
            outcomes, left = judge_log(path, spec, verb, name=name, scratch=scratch)
            counts.update(outcomes)
            logs += bool(outcomes)
            failed += left
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Added(name, logs, {o.value: counts[o] for o in Outcome if counts[o]}, failed)


def judge_log(path: Path, spec: JudgeSpec, verb: Verb, *, name: str, scratch: Path) -> tuple[Counter[Outcome], int]:
    """Add the scores of ``spec`` that are missing in one log, under ``name``; the log is replaced in one step.

    Returns: the outcomes added, and how many answers were not judged.
    """
    from inspect_ai.log import read_eval_log, write_eval_log
    from inspect_ai.scorer import Score

    with readable(path):
        log = read_eval_log(str(path))
    samples = checked_samples(path, log)
    kept: dict[str, Score] = {_place(s): s.scores[name] for s in samples if name in (s.scores or {})}
    verdicts = _verdicts([s for s in samples if _place(s) not in kept], spec, verb)
    made = {place: score_of(verdict, spec) for place, verdict in verdicts.items() if verdict is not None}
    if made:
        set_aside(log, name)
        append_scores(log, name, {**kept, **made}, metrics=METRICS)
        before = log.eval.metadata or {}
        log.eval.metadata = {**before, "judges": {**before.get("judges", {}), name: facts_of(spec)}}
        scratch.mkdir(exist_ok=True)
        write_eval_log(log, str(scratch / path.name))
        (scratch / path.name).replace(path)
    return Counter(v.outcome for v in verdicts.values() if v is not None), len(verdicts) - len(made)


def facts_of(spec: JudgeSpec) -> Facts:
    """What a log says of a judge: name, hash, settings without paths, and whether its `complied` means harm."""
    settings = spec.model_dump(mode="json")
    if settings.get("weights"):
        settings["model"] = Path(settings["model"]).name
        settings["base"] = None
    facts = {"name": spec.name, "config_hash": spec.config_hash, "settings": settings}
    return {**facts, "measures_harm": True} if spec.measures_harm else facts


def names_of(specs: Sequence[JudgeSpec]) -> list[str]:
    """Where the scores of several judges stand in a log that holds none yet, the first under its own name."""
    out: list[str] = []
    for spec in specs:
        out.append(spec.name if spec.name not in out else f"{spec.name}@{spec.config_hash}")
    return out


def _place(sample: Any) -> str:
    return f"{sample.id} {sample.epoch}"


def _verdicts(samples: Sequence[Any], spec: JudgeSpec, verb: Verb) -> dict[str, Judgment | None]:
    """Each sample's judgment by id and epoch; None where the judge could not be asked."""
    responses = {_place(s): response_of_sample(s) for s in samples}
    out: dict[str, Judgment | None] = {
        place: Judgment(id=place, outcome=Outcome.UNSCORED, reason=f"no answer: {response.error}"[:300])
        for place, response in responses.items()
        if response.error is not None
    }
    asked = [response for response in responses.values() if response.error is None]
    said = verb(asked) if asked else []
    if len(said) != len(asked) or any(v is not None and v.id != r.id for v, r in zip(said, asked, strict=False)):
        raise ConfigError(f"the judge '{spec.name}' gave other rows than it was asked for; a judge keeps id and order.")
    out.update((r.id, v) for r, v in zip(asked, said, strict=True))
    return out


def response_of_sample(sample: Any) -> Response:
    """What a judge sees of a stored sample."""
    failed = sample.error.message.splitlines()[0][:200] if sample.error and sample.error.message else None
    return response_from(
        _place(sample),
        prompt=prompt_of(sample.input),
        output=sample.output,
        meta=sample.metadata,
        error=failed or ("error" if sample.error else None),
    )


def prompt_of(messages: Any) -> str:
    """The request of a sample: its text, or that of the user's last message."""
    if isinstance(messages, str):
        return messages
    return next((m.text for m in reversed(messages) if m.role == "user"), "")


def response_from(
    response_id: str, *, prompt: str, output: Any, meta: Mapping[str, Any], error: str | None = None
) -> Response:
    """What a judge sees of a sample, live or stored: the request, its form, and the answer."""
    return Response(
        id=response_id,
        prompt=prompt,
        text=output.completion if output else "",
        form=meta.get("form", OWN_FORM),
        language=meta.get("language"),
        target_language=meta.get("target_language"),
        options=tuple(meta["options"]) if meta.get("options") else None,
        truncated=bool(output and output.choices and output.stop_reason == "max_tokens"),
        error=error or (output.error if output else "no output"),
    )


def score_of(verdict: Judgment, spec: JudgeSpec) -> Any:
    """A judgment as Inspect's Score: 1 when answered, the outcome in the metadata."""
    from inspect_ai.scorer import Score

    details: Facts = {"outcome": verdict.outcome.value, "judge_hash": spec.config_hash, "span": verdict.span}
    if spec.measures_harm:
        details["measures_harm"] = True  # `complied` was judged for content
    if verdict.outcome in UNJUDGED:
        return Score.unscored(reason=verdict.outcome.value, explanation=verdict.reason, metadata=details)
    return Score(value=float(verdict.outcome in ANSWERED), explanation=verdict.reason, metadata=details)


class Row(NamedTuple):
    """One answer with every judge's outcome; None where it has none."""

    arm: str
    probe: str
    asked: str
    form: str
    outcomes: tuple[str | None, ...]

    @property
    def kinds(self) -> set[str]:
        return {outcome for outcome in self.outcomes if outcome is not None}

    @property
    def moves_answered(self) -> bool:
        """Whether the judges part on `answered`, not only on the kind of answer or of refusal."""
        return len({outcome in ANSWERED for outcome in self.kinds}) > 1


class Coefficients(NamedTuple):
    """Agreement on the answers of one form, or of all."""

    form: str
    alpha: Agreement
    ac1: Agreement


class Panel(NamedTuple):
    """How far the judges in the logs of a run agree."""

    judges: dict[str, str]
    """Score name -> configuration hash, or hashes."""
    rows: list[Row]
    by_form: list[Coefficients]
    """All answers first."""
    parted: list[Row]
    """Answers on which they part."""

    @property
    def shown(self) -> list[Row]:
        """Up to twenty of those, from every part of the run; where `answered` depends on it before others."""
        first = [row for row in self.parted if row.moves_answered]
        others = [row for row in self.parted if not row.moves_answered]
        chosen = _spread(first, SHOWN)
        return chosen + _spread(others, SHOWN - len(chosen))


def _spread(rows: Sequence[Row], count: int) -> list[Row]:
    count = min(count, len(rows))
    return [rows[i * len(rows) // count] for i in range(count)]


def panel(run: Path) -> Panel:
    """Agreement over outcomes between all judges in the finished logs of ``run``.

    Answers that a judge left without a verdict have no label of that judge.
    Raises: DataError: no logs, or a damaged one; ConfigError: fewer than two judges.
    """
    found = survey(run)
    judges = {name: "+".join(sorted(filter(None, hashes))) for name, hashes in found.names().items()}
    if len(judges) < 2:
        raise ConfigError(
            f"{run}: its logs hold {'the judge ' + next(iter(judges)) if judges else 'no judge'} and agreement needs "
            "two; add one with mtb judge RUN --judge NAME."
        )
    rows = [row for path in found.paths for row in _panel_rows(path, list(judges))]
    rows.sort(key=lambda row: row[:4])
    forms = sorted({row.form for row in rows}, key=lambda f: (FORMS.index(f) if f in FORMS else len(FORMS), f))
    groups = {"all": rows} | ({form: [r for r in rows if r.form == form] for form in forms} if len(forms) > 1 else {})
    parted = [row for row in rows if len(row.kinds) > 1]
    return Panel(judges, rows, [_coefficients(form, of) for form, of in groups.items()], parted)


def panel_facts(run: Path) -> Facts:
    """What results.json says of the judges of ``run`` and their agreement; empty where its logs hold one judge.

    Returns: ``judges`` {score name: configuration hash}, ``answers`` (n), ``parted`` (answers on which they part),
    ``parted_on_answered`` (those where `answered` depends on it), and ``agreement``: one row a form, ``all`` first,
    with ``n``, ``observed`` (a share), ``alpha`` and ``ac1`` as {value, low, high}, null where undefined.
    """
    if len(survey(run).names()) < 2:
        return {}
    found = panel(run)

    def interval(of: Agreement) -> Facts | None:
        return None if of.value is None else {"value": of.value, "low": of.low, "high": of.high}

    return {
        "judges": found.judges,
        "answers": len(found.rows),
        "parted": len(found.parted),
        "parted_on_answered": sum(row.moves_answered for row in found.parted),
        "agreement": [
            {"form": form, "n": a.n, "observed": a.observed, "alpha": interval(a), "ac1": interval(g)}
            for form, a, g in found.by_form
        ],
    }


def _panel_rows(path: Path, judges: Sequence[str]) -> Iterator[Row]:
    from inspect_ai.log import read_eval_log

    with readable(path):
        log = read_eval_log(str(path))
    for sample in checked_samples(path, log):
        meta: Facts = sample.metadata
        again = f" ({sample.epoch})" if sample.epoch != 1 else ""
        yield Row(
            arm=str(meta["arm"]),
            probe=str(meta["probe_id"]) + again,
            asked=f"{meta['test_template']}, system prompt {meta['test_system']}",
            form=str(meta["form"]),
            outcomes=tuple(_label(sample, judge) for judge in judges),
        )


def _label(sample: Any, judge: str) -> str | None:
    score = (sample.scores or {}).get(judge)
    outcome = (score.metadata or {}).get("outcome") if score is not None else None
    return str(outcome) if outcome in KINDS and sample.error is None else None


def _coefficients(form: str, rows: Sequence[Row]) -> Coefficients:
    labels = [row.outcomes for row in rows]
    draws = max(200, min(2_000, RESAMPLED_CELLS // len(rows)))
    return Coefficients(form, krippendorff_alpha(labels, draws=draws), gwet_ac1(labels, kinds=KINDS, draws=draws))
