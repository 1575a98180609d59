"""`mtb judge`: outcomes for a file of answers, by rules or by a model that grades."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from multitask_bench.judges import JudgeSpec
    from multitask_bench.judges._verdict import Question
    from multitask_bench.judges.rubric import Reply
    from multitask_bench.schema import Judgment, Response

    Verb = Callable[[Sequence[Response]], list[Judgment]]

MAX_TOKENS = 512
"""A sentence and a verdict; a model that reasons first needs room for it."""


def judge(
    file: Annotated[Path, typer.Argument(help="csv, jsonl or parquet with columns prompt and response.")],
    out: Annotated[Path, typer.Option("--out", help="File to write; csv, jsonl or parquet by its name.")],
    judge_name: Annotated[str, typer.Option("--judge", help="Name of the judge; see mtb list judges.")] = "refusal",
    model: Annotated[str | None, typer.Option("--model", help="Inspect model, for judges that ask one.")] = None,
    rubric: Annotated[
        str | None, typer.Option("--rubric", help="Of the judge rubric: outcomes, or binary as in the paper.")
    ] = None,
    allow_remote: Annotated[list[str] | None, typer.Option("--allow-remote", help="Provider to allow.")] = None,
) -> None:
    """Judge the answers in FILE and write OUT with the columns outcome and answered added.

    Reads prompt, response and, where there, form, language, target_language. Every other column
    passes through; rows keep order and number. OUT is replaced.

      mtb judge answers.csv --judge refusal --out judged.csv
      mtb judge answers.csv --judge rubric --model ollama/qwen3 --out judged.csv
    """
    from multitask_bench.errors import ConfigError, DataError
    from multitask_bench.judges import judges
    from multitask_bench.records import TABLE_SUFFIXES, read_table, write_table
    from multitask_bench.schema import ANSWERED, OWN_FORM, Response

    judges.get(judge_name)  # a misspelt name is told before a file is read
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
    _, verb = opened(judge_name, model, tuple(allow_remote or ()), answers=len(rows), rubric=rubric)
    verdicts = verb(responses)
    for row, verdict in zip(rows, verdicts, strict=True):
        row["outcome"] = verdict.outcome.value
        row["answered"] = int(verdict.outcome in ANSWERED)
    write_table(out, rows)
    counts = {v.outcome.value: sum(w.outcome is v.outcome for w in verdicts) for v in verdicts}
    typer.echo(f"{len(rows)} rows: " + ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    typer.echo(f"written: {out}")


def opened(
    name: str, model: str | None, allowed: tuple[str, ...], *, answers: int, rubric: str | None = None
) -> tuple[JudgeSpec, Verb]:
    """The judge ``name`` with its verb; one that grades by a model asks ``model``, on this machine or allowed.

    Raises: ConfigError: a model where none is asked, or none where one is; RemoteError.
    """
    from multitask_bench.errors import ConfigError
    from multitask_bench.judges import judges
    from multitask_bench.judges.rubric import RubricJudge
    from multitask_bench.study.remote import check_allowed

    given = {key: value for key, value in (("model", model), ("rubric", rubric)) if value is not None}
    unknown = [key for key in given if key not in judges.get(name).model_fields]
    if unknown:
        raise ConfigError(f"the judge '{name}' has no --{unknown[0]}.")
    spec = judges.make(name, given)
    if not isinstance(spec, RubricJudge):
        return spec, spec.judge
    if spec.model is None:
        raise ConfigError(f"the judge '{name}' asks a model: name one with --model.")
    check_allowed(spec.model, sent=f"{answers} requests with their answers", allowed=allowed)
    asked = spec.model
    return spec, lambda responses: spec.judge_with(responses, lambda questions: _ask(asked, questions))


def _ask(model: str, questions: Sequence[Question]) -> list[Reply]:
    """The replies of an Inspect model; a call that failed gives None, and the others go on."""
    import asyncio

    from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser, GenerateConfig, get_model

    from multitask_bench.errors import ModelError
    from multitask_bench.judges.rubric import Reply

    try:
        api = get_model(model, config=GenerateConfig(temperature=0.0, max_tokens=MAX_TOKENS))
    except Exception as err:  # Inspect raises whatever the provider's package does
        raise ModelError(f"{model}: {' '.join(str(err).split())[:300]}") from err

    async def one(question: Question) -> Reply:
        messages: list[ChatMessage] = [
            ChatMessageSystem(content=question.system),
            ChatMessageUser(content=question.user),
        ]
        try:
            output = await api.generate(messages)
        except Exception as err:  # noqa: BLE001  a failed call leaves its row unscored
            typer.echo(f"no verdict from {model}: {type(err).__name__}", err=True)
            return Reply(None)
        return Reply(output.completion, bool(output.choices) and output.stop_reason == "content_filter")

    async def all_of_them() -> list[Reply]:
        return list(await asyncio.gather(*map(one, questions)))

    return asyncio.run(all_of_them())
