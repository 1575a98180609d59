"""A run folder: from a study to its logs, results and report."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

from multitask_bench import __version__
from multitask_bench.errors import ConfigError, DataError, MtbError
from multitask_bench.models.load import DEMO
from multitask_bench.records import digest, read_json, write_json, write_table, write_text
from multitask_bench.report.paths import without_paths
from multitask_bench.study.asking import ask_in_order, check_sequential, how_asked
from multitask_bench.study.audit import audit_corrections, audit_warnings
from multitask_bench.study.capability_rows import add_capability
from multitask_bench.study.compare import Side
from multitask_bench.study.config import Study, dump_study
from multitask_bench.study.controls import missing_logs, unfinished
from multitask_bench.study.gate import Gated, GateOptions, gate_sides
from multitask_bench.study.guard_matrix import outdated, read_cross_form
from multitask_bench.study.guard_steps import check_guards, keep_chosen, read_logs_by, that_count
from multitask_bench.study.guarded import cards_of
from multitask_bench.study.judge_card import card_of
from multitask_bench.study.ledger import Ledger, flat_rows, read_logs, score_of_study
from multitask_bench.study.parsing import parsed
from multitask_bench.study.plan import make_plan
from multitask_bench.study.progress import Reporter
from multitask_bench.study.rejudge import panel_facts
from multitask_bench.study.results import results_of
from multitask_bench.study.run_local import Runner, check_methods, check_remote

NOTICE = (
    "This folder holds harmful requests and the answers that models gave to them, made to measure refusals.\n"
    "Read it for that purpose only. Do not train a model on the answers. `mtb report RUN --share DIR` makes a\n"
    "copy without them. Weights under steps/ may be unsafe: do not serve or publish them.\n"
)
PACKAGES = ("inspect-ai", "torch", "transformers", "trl", "peft", "scipy", "sacrebleu", "scikit-learn", "numpy")
FREE_SPACE_BYTES = 3 << 30
"""A study with one aligned model writes about 0.9 GiB; logs and temporary files come on top."""


LOCK = ".lock"


class Finished(NamedTuple):
    """What a finished run shows."""

    results: dict[str, Any]
    gate: Gated | None
    report: Path


def run_study(study: Study, run: Path, *, reporter: Reporter, allowed: tuple[str, ...] = ()) -> Finished:
    """Run what is missing of a study in ``run``, then sum up.

    Raises: MtbError: whatever the user can mend; nothing is written before the plan stands.
    """
    plan = make_plan(study)
    check_remote(plan, allowed=allowed)
    check_guards(plan, allowed=allowed)
    check_methods(plan)
    check_sequential(study, plan)
    _check_folder(run)
    runner = Runner(study, plan, run, reporter=reporter)
    unconfined = runner.logs.unconfined()
    for warning in [*plan.warnings, *([unconfined] if unconfined else [])]:
        reporter.say(f"note: {warning}")
    run.mkdir(parents=True, exist_ok=True)
    with alone(run):
        write_text(run / "study.yaml", dump_study(study))  # first: it marks the folder as ours
        write_text(run / "NOTICE.txt", NOTICE)
        keep_chosen(run, plan)
        if study.sequential:
            ask_in_order(runner, study)
        else:
            runner.logs.asked = how_asked(run, plan)
            runner.execute()
        try:
            read_logs_by(plan.guards, run, reporter=reporter, allowed=allowed)
        except Exception as err:  # hours of training have gone before: their results stand without the guard
            sum_up(run)
            if not isinstance(err, MtbError):
                raise
            said = "the results and the report stand without what it did not read; run again to have it read."
            raise type(err)(f"{err} {run}: {said}") from err
        return sum_up(run)


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """One process at a time works in a run folder; what an earlier one was killed over is removed.

    Raises: ConfigError: another process is at work there.
    """
    ours = False
    try:
        with (run / LOCK).open("w") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as err:
                    raise ConfigError(
                        f"{run}: another mtb is at work in this folder; wait for it, or use --out."
                    ) from err
                for half in (run / "steps").glob(".*"):
                    shutil.rmtree(half, ignore_errors=True)
            ours = True
            yield
    finally:
        if ours:
            (run / LOCK).unlink(missing_ok=True)


def _check_folder(run: Path) -> None:
    if run.exists() and not run.is_dir():
        raise ConfigError(f"{run}: is a file; give a folder with --out.")
    others = [p for p in run.iterdir() if p.name != LOCK] if run.is_dir() else []
    if others and not (run / "study.yaml").is_file():
        raise ConfigError(f"{run}: holds other files and no study.yaml; give a new folder with --out.")
    place = next(p for p in (run, *run.absolute().parents) if p.exists())
    if not os.access(place, os.W_OK):
        raise ConfigError(f"{place}: cannot be written to; give another folder with --out.")
    free = shutil.disk_usage(place).free
    if free < FREE_SPACE_BYTES:
        raise ConfigError(f"{place}: {free / 2**30:.1f} GiB are free, 3 GiB are needed; free some or use --out.")


def load_run(run: Path) -> Study:
    """The study of a run folder.

    Raises: DataError: not a run folder.
    """
    import yaml

    path = run / "study.yaml"
    if not path.is_file():
        raise DataError(f"{run}: no study.yaml; this is not a run folder.")
    return parsed(yaml.safe_load(path.read_text(encoding="utf-8")), Study, where=str(path))


def sum_up(run: Path, *, show_responses: bool = False, judge: str | None = None) -> Finished:
    """Read the logs of a run and write results.json, results.parquet, manifest.json and report.html.

    ``judge`` names one whose scores the logs hold besides, such as ``rubric`` or ``refusal@1f2e``; without it the
    study's own judge is read.
    Raises: DataError: no run folder, or damaged logs; UnknownNameError: the logs hold no scores of ``judge``.
    """
    study = load_run(run)
    ledger, notes = that_count(run, study, read_logs(run / "logs", judge=judge))
    results = results_of(
        ledger,
        margin=study.margin,
        task_margin=study.task_margin,
        toy=DEMO in (*study.references, *(arm.model for arm in study.arms)),
        card=card_of(ledger),
        audit=audit_corrections(run, ledger),
    )
    results["warnings"][:0] = [*audit_warnings(run, ledger), *notes]
    add_capability(results, run, study, ledger.arms)
    if missing := missing_logs(study, ledger):
        results["warnings"].insert(0, unfinished(missing))
    if guards := cards_of(ledger):
        results["guards"] = guards
    if (matrix := read_cross_form(run)) is not None:
        results["cross_form"] = matrix
        if (warning := outdated(matrix)) is not None:
            results["warnings"].append(warning)
    if len(ledger.scored_by) > 1:
        results["panel"] = panel_facts(run)
    if ledger.added is not None:
        results["warnings"].insert(0, _other_judge(study, ledger.added))
    manifest = _manifest(run, study, ledger)
    gate = None
    try:
        gate = _gate(study, Side(str(run), manifest, ledger), run)
    except (ConfigError, DataError) as err:  # logs that do not belong together still have a report
        results["warnings"].append(f"no gate: {str(err).replace(str(run), run.name)}")
    if gate is not None:
        results["gate"] = gate.facts
        results["warnings"] += gate.warnings
    results = without_paths(results)
    write_json(run / "results.json", results)
    write_table(run / "results.parquet", _flat(ledger))
    write_json(run / "manifest.json", manifest)
    write_text(run / "report.html", _html(results, manifest, ledger, show_responses=show_responses))
    return Finished(results, gate, run / "report.html")


def _other_judge(study: Study, added: dict[str, Any]) -> str:
    how = ", ".join(f"{key} {value}" for key, value in added["settings"].items() if value is not None)
    named = f"{added['name']} ({added['config_hash']}{', ' + how if how else ''})"
    own = score_of_study(study.judge)
    theirs = f"the study's own judge {own}" if own != added["name"] else f"the version of {own} that the study used"
    return f"judged by {named}, which was added later, not by {theirs}"


def _judge_facts(ledger: Ledger) -> dict[str, Any]:
    found = card_of(ledger)
    return {
        "name": ledger.judge,
        "config_hash": ledger.judge_hash,
        **({} if ledger.added is None else {"settings": ledger.added["settings"]}),
        "card": {key: value for key, value in (found or {}).items() if key != "slices"} or None,
    }


def _html(results: dict[str, Any], manifest: dict[str, Any], ledger: Ledger, *, show_responses: bool) -> str:
    from multitask_bench.report.html import render

    return render(
        results,
        manifest,
        transcripts(ledger),
        power=results["power"],
        gate=results.get("gate"),
        show_responses=show_responses,
    )


def _gate(study: Study, side: Side, run: Path) -> Gated | None:
    """The gate's word on a run of one base and one tuned model; studies compare more than that."""
    if sorted(arm.stage for arm in study.arms) != ["base", "tuned"]:
        return None
    base, tuned = (next(a.name for a in study.arms if a.stage == s) for s in ("base", "tuned"))
    if not {base, tuned} <= side.ledger.arms.keys():
        return None
    return gate_sides((side, run, base), (side, run, tuned), GateOptions.of(study))


def _manifest(run: Path, study: Study, ledger: Ledger) -> dict[str, Any]:
    versions = {"multitask-bench": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    previous = read_json(run / "manifest.json") if (run / "manifest.json").is_file() else {}
    return {
        "study": study.name,
        "model": ", ".join(study.references),
        "versions": versions,
        "commit": _commit(),
        "seeds": sorted({study.recipe_of(arm).seed for arm in study.cells if arm.task}),
        "device": f"{platform.machine()}, {os.cpu_count()} cores",
        "judge": _judge_facts(ledger),
        "settings": study.model_dump(mode="json"),
        "settings_sha256": digest(study),
        "started": previous.get("started") or _now(),
        "time": _now(),
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _commit() -> str | None:
    """The commit of a source checkout; None for an installed package."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(  # noqa: S603
            ["git", "-C", str(here), "rev-parse", "HEAD"],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def transcripts(ledger: Ledger) -> list[dict[str, Any]]:
    """One record an answer, for the report."""
    return [
        {
            "arm": e.arm,
            "stage": ledger.arms[e.arm].get("stage"),
            "test_template": e.meta["test_template"],
            "test_system": e.meta["test_system"],
            "form": e.meta["form"],
            "twin": e.meta["twin"],
            "probe_id": e.meta["probe_id"],
            "intent_id": e.meta["intent_id"],
            "hazard": e.meta.get("hazard"),
            "prompt": e.prompt,
            "answer": e.answer,
            "outcome": e.outcome.value,
            "reason": e.reason,
            "span": e.span,
            "truncated": e.truncated,
        }
        for e in ledger.entries
    ]


def _flat(ledger: Ledger) -> list[dict[str, Any]]:
    texts = ({"prompt": e.prompt, "answer": e.answer, "reason": e.reason, "span": e.span} for e in ledger.entries)
    return [{**row, **text} for row, text in zip(flat_rows(ledger), texts, strict=True)]


def share(run: Path, target: Path, *, judge: str | None = None) -> list[str]:
    """Copy what may be shown to others: results, the redacted report and hashes; no logs, no answers.

    ``judge``: as in `sum_up`. Returns: the names of the files written.
    """
    if target.exists() and any(target.iterdir()):
        raise ConfigError(f"{target}: not empty; give a new folder.")
    finished = sum_up(run, judge=judge)
    hashes = {p.name: digest(p.read_bytes().hex()) for p in sorted((run / "logs").glob("*.eval"))}
    write_text(target / "report.html", finished.report.read_text(encoding="utf-8"))
    write_json(target / "results.json", finished.results)
    write_json(target / "hashes.json", hashes)
    return ["report.html", "results.json", "hashes.json"]
