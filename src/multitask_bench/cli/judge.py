"""`mtb judge`: outcomes for a file of answers, by rules or by a model that grades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from multitask_bench.judges import JudgeSpec
    from multitask_bench.schema import Judgment, Response
    from multitask_bench.stats.agreement import Agreement
    from multitask_bench.study.rejudge import Verb

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
    model: Annotated[
        str | None,
        typer.Option("--model", help="The judge's model: an Inspect name for rubric, else a folder or a hub id."),
    ] = None,
    rubric: Annotated[
        str | None, typer.Option("--rubric", help="Of the judge rubric: outcomes, or binary as in the paper.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting of the judge, key=value; may be repeated.")
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

      mtb judge answers.csv --judge wildguard --out judged.csv

      mtb judge runs/quickstart --judge rubric --model ollama/qwen3

      mtb judge runs/quickstart --judge harmbench --model models/HarmBench-Mistral-7b-val-cls

      mtb judge runs/quickstart --agreement
    """
    from multitask_bench.errors import ConfigError

    given: dict[str, Any] = {"--judge": judge_name, "--model": model, "--rubric": rubric}
    given |= {"--set": settings or None, "--allow-remote": allow_remote or None}
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
    name = judge_name or DEFAULT
    chosen = settings_of(name, {"model": model, "rubric": rubric}, settings or ())
    asked = _Asked(name, chosen, tuple(allow_remote or ()))
    if file.is_dir():
        _judge_run(file, asked)
    elif out is None:
        raise ConfigError("--out is missing: the file to write; csv, jsonl or parquet by its name.")
    else:
        _judge_file(file, out, asked)


class _Asked(NamedTuple):
    """The judge that the options name."""

    name: str
    settings: dict[str, Any]
    allowed: tuple[str, ...]


def _judge_file(file: Path, out: Path, asked: _Asked) -> None:
    from multitask_bench.errors import ConfigError, DataError
    from multitask_bench.records import TABLE_SUFFIXES, read_table, write_table
    from multitask_bench.schema import ANSWERED, OWN_FORM, Response

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
    spec, verb = opened(asked.name, asked.settings, asked.allowed, answers=len(rows))
    verdicts = unjudged(spec, responses, verb(responses))
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
    from multitask_bench.study.folder import alone
    from multitask_bench.study.grading import check_sent, made, verb_of
    from multitask_bench.study.ledger import log_paths
    from multitask_bench.study.rejudge import add_scores, survey

    spec = made(asked.name, asked.settings)
    log_paths(run / "logs")  # a folder without logs is told before a lock is laid into it
    with alone(run):
        found = survey(run)
        for line in found.mixed():
            typer.echo(f"note: {line}")
        name = found.name_of(spec)
        if not found.open_(spec):
            typer.echo(f"nothing to add: every sample in the logs has its score of {name} ({spec.config_hash}).")
            return
        check_sent(spec, answers=found.missing(spec), allowed=asked.allowed)
        added = add_scores(run, spec, verb_of(spec, tell=_tell), found)
    total = sum(added.outcomes.values())
    typer.echo(
        f"{name} ({spec.config_hash}): {total} scores added to {added.logs} of {len(found.paths)} logs: "
        + (", ".join(f"{outcome} {count}" for outcome, count in added.outcomes.items()) or "none")
    )
    if added.failed:
        raise ModelError(
            f"{added.failed} answers got no reply from {getattr(spec, 'model', spec.name)}; "
            "run the same command again to ask for those."
        )
    typer.echo(f"report it with: mtb report {run} --judge {name}")


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


def settings_of(name: str, given: Mapping[str, str | None], more: Sequence[str]) -> dict[str, Any]:
    """The settings of the judge ``name`` from its own options and from ``key=value`` pairs.

    Raises: ConfigError: a setting that the judge does not have, or a pair that is none.
    """
    import yaml

    from multitask_bench.errors import ConfigError, did_you_mean
    from multitask_bench.judges import judges

    known = [field for field in judges.get(name).model_fields if field != "weights"]
    out: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if unknown := next((key for key in out if key not in known), None):
        raise ConfigError(f"the judge '{name}' has no --{unknown}.")
    for pair in more:
        key, equals, value = pair.partition("=")
        if not equals or key not in known:
            listed = f"It has {', '.join(known)}." if known else "It has none."
            raise ConfigError(
                f"--set {pair}: write key=value with a setting of the judge '{name}'."
                f"{did_you_mean(key, known)} {listed}"
            )
        try:
            out[key] = yaml.safe_load(value)
        except yaml.YAMLError as err:
            raise ConfigError(f"--set {pair}: the value cannot be read.") from err
    return out


def opened(name: str, settings: dict[str, Any], allowed: tuple[str, ...], *, answers: int) -> tuple[JudgeSpec, Verb]:
    """The judge ``name`` with its verb; one that grades by a model asks it on this machine or where allowed.

    Raises: ConfigError, UnknownNameError: no such judge or setting; ModelError: no such model; RemoteError.
    """
    from multitask_bench.study.grading import check_sent, made, verb_of

    spec = made(name, settings)
    check_sent(spec, answers=answers, allowed=allowed)
    return spec, verb_of(spec, tell=_tell)


def unjudged(spec: JudgeSpec, responses: Sequence[Response], verdicts: Sequence[Judgment | None]) -> list[Judgment]:
    """``verdicts``, in which an answer whose call failed is `unscored`."""
    from multitask_bench.schema import Judgment, Outcome

    why = f"no reply from the judge {spec.name}"
    return [
        verdict or Judgment(id=response.id, outcome=Outcome.UNSCORED, reason=why)
        for response, verdict in zip(responses, verdicts, strict=True)
    ]


def _tell(line: str) -> None:
    typer.echo(line, err=True)
