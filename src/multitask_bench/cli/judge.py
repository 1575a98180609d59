"""`mtb judge`: outcomes for a file of answers, by rules or by a model that grades."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from multitask_bench.judges import JudgeSpec
    from multitask_bench.judges._verdict import Question
    from multitask_bench.judges.rubric import Reply, RubricJudge
    from multitask_bench.schema import Judgment, Response
    from multitask_bench.stats.agreement import Agreement

    Verb = Callable[[Sequence[Response]], list[Judgment]]

DEFAULT = "refusal"


def judge(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE|RUN", help="csv, jsonl or parquet with columns prompt and response; or a run."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="With FILE: the file to write; csv, jsonl or parquet by its name.")
    ] = None,
    judge_name: Annotated[
        str | None,
        typer.Option("--judge", help="Name of the judge; see mtb list judges.", show_default=DEFAULT),
    ] = None,
    model: Annotated[str | None, typer.Option("--model", help="Inspect model, for judges that ask one.")] = None,
    rubric: Annotated[
        str | None, typer.Option("--rubric", help="Of the judge rubric: outcomes, or binary as in the paper.")
    ] = None,
    allow_remote: Annotated[list[str] | None, typer.Option("--allow-remote", help="Provider to allow.")] = None,
    agreement: Annotated[
        bool, typer.Option("--agreement", help="With RUN: how far the judges in its logs agree, and where they part.")
    ] = False,
) -> None:
    """Judge the answers in FILE and write OUT, or those in the logs of RUN and add scores there.

    Of FILE it reads prompt, response and, where there, form, language, target_language, and adds the
    columns outcome and answered. Every other column passes through; rows keep order and number. OUT is
    replaced.

    Of RUN it reads the stored logs, with no model of the study and no key. Scores stand beside the old
    ones, which never change; running it again adds what is missing. Results and report go on reading the
    study's own judge: mtb report RUN --judge NAME reads another.

      mtb judge answers.csv --judge refusal --out judged.csv

      mtb judge answers.csv --judge rubric --model ollama/qwen3 --out judged.csv

      mtb judge runs/quickstart --judge rubric --model ollama/qwen3

      mtb judge runs/quickstart --agreement
    """
    from multitask_bench.errors import ConfigError

    given = {"--judge": judge_name, "--model": model, "--rubric": rubric, "--allow-remote": allow_remote or None}
    if file.is_dir() and out is not None:
        raise ConfigError("--out goes with a file; the scores of a run are added to its logs.")
    if agreement:
        clash = next((option for option, value in given.items() if value is not None), None)
        if clash is not None:
            raise ConfigError(f"--agreement goes without {clash}: it reads every judge that the logs hold.")
        if not file.is_dir():
            raise ConfigError(f"--agreement reads the logs of a run folder; {file} is none.")
        _show_panel(file)
        return
    asked = _Asked(judge_name or DEFAULT, model, rubric, tuple(allow_remote or ()))
    if file.is_dir():
        _judge_run(file, asked)
    elif out is None:
        raise ConfigError("--out is missing: the file to write; csv, jsonl or parquet by its name.")
    else:
        _judge_file(file, out, asked)


class _Asked(NamedTuple):
    """The judge that the options name."""

    name: str
    model: str | None
    rubric: str | None
    allowed: tuple[str, ...]


def _judge_file(file: Path, out: Path, asked: _Asked) -> None:
    from multitask_bench.errors import ConfigError, DataError
    from multitask_bench.judges import judges
    from multitask_bench.records import TABLE_SUFFIXES, read_table, write_table
    from multitask_bench.schema import ANSWERED, OWN_FORM, Response

    judges.get(asked.name)  # a misspelt name is told before a file is read
    if out.suffix.lower() not in TABLE_SUFFIXES:
        raise ConfigError(f"{out}: write to one of {', '.join(TABLE_SUFFIXES)}.")
    rows = read_table(file, needed=("prompt", "response"))
    for column in ("outcome", "answered"):
        if column in rows[0]:
            raise DataError(f"{file}: it has a column '{column}' already; rename it first.")
    responses = [
        Response(
            id=str(number),
            prompt=str(row["prompt"] or ""),
            text=str(row["response"] or ""),
            form=str(row.get("form") or OWN_FORM),
            language=row.get("language") or None,
            target_language=row.get("target_language") if row.get("target_language") in ("en", "fr") else None,
        )
        for number, row in enumerate(rows)
    ]
    _, verb = opened(asked.name, asked.model, asked.allowed, answers=len(rows), rubric=asked.rubric)
    verdicts = verb(responses)
    for row, verdict in zip(rows, verdicts, strict=True):
        row["outcome"] = verdict.outcome.value
        row["answered"] = int(verdict.outcome in ANSWERED)
    write_table(out, rows)
    counts = {v.outcome.value: sum(w.outcome is v.outcome for w in verdicts) for v in verdicts}
    typer.echo(f"{len(rows)} rows: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    typer.echo(f"written: {out}")


def _judge_run(run: Path, asked: _Asked) -> None:
    """Add a judge's scores to the logs of ``run``.

    Raises: ModelError: some answers got no reply; the others have their scores.
    """
    from multitask_bench.errors import ModelError
    from multitask_bench.judges.rubric import RubricJudge
    from multitask_bench.study.folder import alone
    from multitask_bench.study.rejudge import add_scores, survey
    from multitask_bench.study.results import log_paths

    spec = _made(asked.name, asked.model, asked.rubric)
    log_paths(run / "logs")  # a folder without logs is told before a lock is laid into it
    with alone(run):
        found = survey(run)
        name = found.name_of(spec)
        if not found.open_(spec):
            typer.echo(f"nothing to add: every sample in the logs has its score of {name} ({spec.config_hash}).")
            return
        if isinstance(spec, RubricJudge):
            _check(spec, found.missing(spec), asked.allowed)
            added = add_scores(run, spec, lambda responses: _asked_where_it_answers(spec, responses), found)
        else:
            added = add_scores(run, spec, spec.judge, found)
    total = sum(added.outcomes.values())
    typer.echo(
        f"{name} ({spec.config_hash}): {total} scores added to {added.logs} of {len(found.paths)} logs: "
        + (", ".join(f"{outcome} {count}" for outcome, count in added.outcomes.items()) or "none")
    )
    if added.failed:
        raise ModelError(
            f"{added.failed} answers got no reply from {asked.model}; run the same command again to ask for those."
        )
    typer.echo(f"report it with: mtb report {run} --judge {name}")


def _asked_where_it_answers(spec: RubricJudge, responses: Sequence[Response]) -> list[Judgment | None]:
    """The judgments of a grading model; None where its call failed, so that it can be asked again."""
    from multitask_bench.judges.rubric import without_asking

    assert spec.model is not None, "checked before"
    model = spec.model
    open_ = [response.id for response in responses if without_asking(response) is None]
    failed: set[str] = set()

    def asks(questions: Sequence[Question]) -> list[Reply]:
        replies = _ask(model, questions)
        failed.update(i for i, reply in zip(open_, replies, strict=True) if reply.text is None and not reply.declined)
        return replies

    return [None if verdict.id in failed else verdict for verdict in spec.judge_with(responses, asks)]


def _show_panel(run: Path) -> None:
    from multitask_bench.study.rejudge import panel

    found = panel(run)
    typer.echo(f"{len(found.rows)} answers, probes and twins; 95 % intervals over answers drawn again")
    for name, config_hash in found.judges.items():
        typer.echo(f"  {name} ({config_hash})")
    typer.echo("on outcomes: n, observed, Krippendorff's alpha, Gwet's AC1")
    for form, alpha, ac1 in found.by_form:
        observed = "-" if alpha.observed is None else f"{alpha.observed:.1%}"
        typer.echo(f"  {form:<16} n={alpha.n:<6} {observed:>6}  alpha {_shown(alpha)}  AC1 {_shown(ac1)}")
    if not found.parted:
        typer.echo("they part on no answer.")
        return
    moves = sum(row.moves_answered for row in found.parted)
    shown = found.shown
    which = "" if len(shown) == len(found.parted) else f"; {len(shown)} of them"
    typer.echo(f"they part on {len(found.parted)} answers, on {moves} of them as to answered or not{which}:")
    for row in shown:
        said = ", ".join(f"{name} {outcome or '-'}" for name, outcome in zip(found.judges, row.outcomes, strict=True))
        typer.echo(f"  {row.arm}  {row.probe}  ({row.asked}): {said}")


def _shown(found: Agreement) -> str:
    if found.value is None:
        return "undefined"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _made(name: str, model: str | None, rubric: str | None) -> JudgeSpec:
    """The judge ``name`` with the settings given.

    Raises: ConfigError: a setting that it does not have, or no model where one is asked.
    """
    from multitask_bench.errors import ConfigError
    from multitask_bench.judges import judges
    from multitask_bench.judges.rubric import RubricJudge

    given = {key: value for key, value in (("model", model), ("rubric", rubric)) if value is not None}
    unknown = [key for key in given if key not in judges.get(name).model_fields]
    if unknown:
        raise ConfigError(f"the judge '{name}' has no --{unknown[0]}.")
    spec = judges.make(name, given)
    if isinstance(spec, RubricJudge) and spec.model is None:
        raise ConfigError(f"the judge '{name}' asks a model: name one with --model.")
    return spec


def _check(spec: RubricJudge, answers: int, allowed: tuple[str, ...]) -> None:
    from multitask_bench.study.remote import check_allowed

    assert spec.model is not None, "_made sees to it"
    check_allowed(spec.model, sent=f"{answers} requests with their answers", allowed=allowed)


def opened(
    name: str, model: str | None, allowed: tuple[str, ...], *, answers: int, rubric: str | None = None
) -> tuple[JudgeSpec, Verb]:
    """The judge ``name`` with its verb; one that grades by a model asks ``model``, on this machine or allowed.

    Raises: ConfigError: a model where none is asked, or none where one is; RemoteError.
    """
    from multitask_bench.judges.rubric import RubricJudge

    spec = _made(name, model, rubric)
    if not isinstance(spec, RubricJudge):
        return spec, spec.judge
    _check(spec, answers, allowed)
    asked = str(spec.model)
    return spec, lambda responses: spec.judge_with(responses, lambda questions: _ask(asked, questions))


def _ask(model: str, questions: Sequence[Question]) -> list[Reply]:
    """The replies of an Inspect model; a call that failed gives None, and the others go on."""
    import asyncio

    from inspect_ai.model import get_model

    from multitask_bench.errors import ModelError
    from multitask_bench.judges.rubric import Reply
    from multitask_bench.study.grading import graded

    try:
        api = get_model(model)
    except Exception as err:  # Inspect raises whatever the provider's package does
        raise ModelError(f"{model}: {' '.join(str(err).split())[:300]}") from err

    async def one(question: Question) -> Reply:
        try:
            return await graded(api, question)
        except Exception as err:  # noqa: BLE001  a failed call leaves its row unscored
            typer.echo(f"no verdict from {model}: {type(err).__name__}", err=True)
            return Reply(None)

    async def all_of_them() -> list[Reply]:
        return list(await asyncio.gather(*map(one, questions)))

    return asyncio.run(all_of_them())
