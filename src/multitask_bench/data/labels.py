"""Answers with human labels, to hold a judge against: own files, and two public sets read from a file.

An own file is CSV, JSONL or parquet with the columns ``prompt``, ``response`` and ``label``; ``id``,
``source_model``, ``form``, ``language``, ``target_language``, ``options``, ``stage`` and ``labeller`` are optional,
other columns are ignored. A label is an outcome (``complied``, ``partial``, ``refused``, ``off_task``,
``incoherent``) or binary: 1 where what was asked for is given, 0 where not. One file holds one kind.

Labelled harmful answers are for programs: nothing here prints or copies them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from multitask_bench.data.sources._spec import sexual_harm_to_minors
from multitask_bench.errors import DataError
from multitask_bench.records import Row, file_digest, read_json, read_table
from multitask_bench.schema import ANSWERED, OWN_FORM, UNJUDGED, Language, Outcome, Response, StrictModel

BINARY = {"1": True, "0": False, "true": True, "false": False, "yes": True, "no": False}
OPTIONAL = ("source_model", "language", "stage", "labeller")


class LabelledAnswer(StrictModel):
    """One answer with what people say of it."""

    id: str
    prompt: str
    response: str
    outcome: Outcome | None
    """The labelled outcome; None where the label is binary."""
    answered: bool
    """Whether the label says that what was asked for is given, in whole or in part."""
    source_model: str | None = None
    form: str = OWN_FORM
    language: str | None = None
    target_language: Language | None = None
    options: tuple[str, ...] | None = None
    stage: str | None = None
    labeller: str | None = None

    def as_response(self) -> Response:
        """What a judge sees of it."""
        shared = {"id", "prompt", "form", "language", "target_language", "options"}
        return Response(text=self.response, **{key: getattr(self, key) for key in shared})


class Labelled(NamedTuple):
    """A labelled set as it was read, with what was left out and why."""

    name: str
    rows: list[LabelledAnswer]
    dropped: dict[str, int]
    """Reason -> rows."""
    labelled_by: str
    sha256: str
    """Of the file or files read."""


def read_labels(labels: str, file: Path | None = None) -> Labelled:
    """The set named ``labels`` from ``file``, or the own file ``labels``.

    Rows on sexual harm to minors are dropped and counted. Raises: DataError: unreadable, an unknown
    label, mixed kinds of label, an id that occurs twice, or no row left.
    """
    if labels in _READERS:
        if file is None:
            raise DataError(f"{labels} is read from a file of yours: give it with --file.")
        raw = _READERS[labels](file)
        files, where = (sorted(file.glob("*.csv")) if file.is_dir() else [file]), str(file)
        name, by = labels, _LABELLED_BY[labels]
    else:
        path = Path(labels)
        if file is not None or not path.suffix:
            raise DataError(f"no labelled set is named '{labels}'; known: {', '.join(_READERS)}, or a file of yours.")
        raw, files, where = read_table(path, needed=("prompt", "response", "label")), [path], labels
        name = path.stem
        who = sorted({str(row["labeller"]) for row in raw if row.get("labeller")})
        by = f"{', '.join(who) or 'not said by whom'} ({path.name})"
    rows, dropped = _checked(raw, where)
    return Labelled(name, rows, dropped, by, file_digest(*files))


def _checked(raw: list[Row], where: str) -> tuple[list[LabelledAnswer], dict[str, int]]:
    rows: dict[str, LabelledAnswer] = {}
    minors = 0
    for number, row in enumerate(raw, start=1):
        found = _row(row, number, where)
        if found.id in rows:
            raise DataError(f"{where} row {number}: id '{found.id}' occurs twice.")
        if sexual_harm_to_minors(f"{found.prompt} {found.id}".replace("_", " ")):
            minors += 1
            continue
        rows[found.id] = found
    if not rows:
        raise DataError(f"{where}: no rows are left ({minors} dropped).")
    if len({found.outcome is None for found in rows.values()}) > 1:
        raise DataError(f"{where}: labels of both kinds; use outcomes or 1 and 0, not both.")
    return list(rows.values()), {"sexual harm to minors": minors} if minors else {}


def _row(row: Row, number: int, where: str) -> LabelledAnswer:
    label = str(row["label"]).strip().lower()
    outcome: Outcome | None = None
    if label not in BINARY:
        known = [kind.value for kind in Outcome if kind not in UNJUDGED]
        if label not in known:
            raise DataError(f"{where} row {number}: label '{label[:40]}' is none of {', '.join(known)}, 1, 0.")
        outcome = Outcome(label)
    options = row.get("options") or None
    if isinstance(options, str):
        options = _options(options, f"{where} row {number}")
    return LabelledAnswer(
        id=str(row.get("id") or number),
        prompt=str(row["prompt"] or ""),
        response=str(row["response"] or ""),
        outcome=outcome,
        answered=BINARY[label] if outcome is None else outcome in ANSWERED,
        form=str(row.get("form") or OWN_FORM),
        target_language=row.get("target_language") if row.get("target_language") in ("en", "fr") else None,
        options=options,
        **{key: str(row[key]) if row.get(key) else None for key in OPTIONAL},
    )


def _options(text: str, where: str) -> tuple[str, ...]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as err:
        raise DataError(f"{where}: options are a JSON list of texts.") from err
    if not isinstance(found, list):
        raise DataError(f"{where}: options are a JSON list of texts.")
    return tuple(map(str, found))


_XSTEST = {"1_full_compliance": "complied", "2_full_refusal": "refused", "3_partial_refusal": "partial"}


def _xstest(file: Path) -> list[Row]:
    """XSTest's completions (Roettger et al. 2023, arXiv:2308.01263): one CSV a model, or a folder of them."""
    paths = sorted(file.glob("xstest_v2_completions_*.csv")) if file.is_dir() else [file]
    if not paths:
        raise DataError(f"{file}: no xstest_v2_completions_*.csv in it.")
    out: list[Row] = []
    for path in paths:
        model = path.stem.rpartition("completions_")[2]
        for number, row in enumerate(read_table(path, needed=("id", "prompt", "completion", "final_label")), start=1):
            if not row["final_label"]:
                continue  # an empty line of the published file
            if row["final_label"] not in _XSTEST:
                raise DataError(f"{path} row {number}: '{str(row['final_label'])[:40]}' is no label of XSTest.")
            out.append(
                {
                    "id": f"{model}/{row['id']}",
                    "prompt": row["prompt"],
                    "response": row["completion"],
                    "label": _XSTEST[row["final_label"]],
                    "source_model": model,
                    "language": "en",
                    "stage": "aligned",
                }
            )
    return out


def _harmbench(file: Path) -> list[Row]:
    """HarmBench's validation set (Mazeika et al. 2024, arXiv:2402.04249): 1 where most of three humans see the harm."""
    raw: Any = read_json(file)
    if not isinstance(raw, dict):
        raise DataError(f"{file}: not HarmBench's text_behaviors_val_set.json.")
    out: list[Row] = []
    for behavior, answers in raw.items():
        for number, answer in enumerate(answers):
            try:
                votes = sum(int(answer[f"human_{i}"]) for i in range(3))
                found = {"prompt": answer["test_case"], "response": answer["generation"], "label": int(votes >= 2)}
            except (KeyError, TypeError, ValueError) as err:
                raise DataError(
                    f"{file}: {behavior} number {number}: not a row of HarmBench's validation set."
                ) from err
            model = str(answer.get("model") or "").removesuffix(".json") or None
            out.append({"id": f"{behavior}/{number}", "source_model": model, "language": "en", **found})
    return out


_READERS: dict[str, Callable[[Path], list[Row]]] = {"harmbench-val": _harmbench, "xstest": _xstest}
_LABELLED_BY = {
    "harmbench-val": "HarmBench's annotators, majority of three (Mazeika et al. 2024): is the behavior there?",
    "xstest": "XSTest's human annotators (Roettger et al. 2023): full or partial refusal, or compliance.",
}
