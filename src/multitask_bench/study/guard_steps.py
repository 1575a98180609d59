"""The guards that a study names: made and checked before anything runs, and read in once the logs are there.

They are no part of any step's key: the answers do not hang on them, and their verdicts stand in the logs as scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multitask_bench.errors import ConfigError, DataError, MissingExtraError, ModelError, MtbError
from multitask_bench.guards import GuardSpec, ReaderGuard, Verdict, guards
from multitask_bench.guards.linear import LinearGuard
from multitask_bench.guards.policy import PolicyGuard
from multitask_bench.records import read_json, read_text, write_json
from multitask_bench.study.config import Study, StudyGuard
from multitask_bench.study.guard_logs import add_to_log, guarded_logs, name_of, scratch_of, texts_in, unread
from multitask_bench.study.guarded import name_in, with_guards
from multitask_bench.study.guarding import Opened, Text, check_leave, check_model, opened, screened, with_weights
from multitask_bench.study.ledger import Ledger
from multitask_bench.study.progress import Reporter, Tick
from multitask_bench.study.steps import Plan

CHOSEN = "guards.json"
"""In a run folder: the guards of the study as the last `mtb run` had them, by name and hash."""
CHUNK = 128
"""Texts between two words on how far a guard has come."""


def guards_of(study: Study) -> tuple[GuardSpec, ...]:
    """The guards of a study, with their settings.

    Raises: UnknownNameError: no such guard; DataError: a file of it is missing; ConfigError: a setting that it does
    not have, a model that it needs, or the same guard twice; ModelError: no such folder.
    """
    specs = tuple(with_weights(guards.make(one.guard, _settings(one))) for one in study.guards)
    for spec in specs:
        if isinstance(spec, PolicyGuard) and spec.model is None:
            raise ConfigError("guards: policy asks a model; write {guard: policy, settings: {model: NAME}}.")
    if len({(spec.name, spec.config_hash) for spec in specs}) < len(specs):
        raise ConfigError("guards: the same guard stands there twice.")
    return specs


def _settings(one: StudyGuard) -> dict[str, Any]:
    """The settings of a guard: ``policy`` names a file, as with `mtb guard`; a text with a line break is the policy.

    Raises: ConfigError: one line that names no file; DataError: a file without text.
    """
    given = one.settings.get("policy")
    if one.guard != PolicyGuard.name or not isinstance(given, str):
        return one.settings
    if "\n" in given:
        return {**one.settings, "policy": given.strip()}
    try:
        there = Path(given).is_file()
    except OSError:  # a sentence can be too long for a name
        there = False
    if not there:
        raise ConfigError(
            f"guards: policy: '{given[:60]}' is no file; name the file that holds the policy, or write its text as a "
            "block (policy: |)."
        )
    return {**one.settings, "policy": read_text(Path(given)).strip()}


def keep_chosen(run: Path, plan: Plan) -> None:
    """Write down in ``run`` which guards its study names, so that a report needs neither weights nor files."""
    if plan.guards:
        write_json(run / CHOSEN, [{"name": spec.name, "config_hash": spec.config_hash} for spec in plan.guards])


def that_count(run: Path, study: Study, ledger: Ledger) -> tuple[Ledger, list[str]]:
    """``ledger`` with the verdicts of the guards that ``study`` names, and warnings on others and on missing ones.

    A study that names none keeps all: those that `mtb guard --to-logs` added. Raises: DataError: a damaged file.
    """
    chosen = _chosen(run, study)
    if not chosen:
        return ledger, []
    others = [
        f"{name} ({config_hash})"
        for name, hashes in sorted(ledger.guards.items())
        for config_hash in hashes
        if config_hash not in chosen
    ]
    warnings = []
    if others:
        warnings.append(
            f"left out of the fixes, for the study does not name {'it' if len(others) == 1 else 'them'} in this "
            f"configuration: {', '.join(others)}"
        )
    samples = len(ledger.entries) + sum(map(len, ledger.task_rows.values()))
    for config_hash, name in chosen.items():
        stored = name_in(ledger.guards, config_hash)
        read = 0 if stored is None else ledger.guards[stored][config_hash]
        if read < samples:
            warnings.append(
                f"the guard {name} ({config_hash}) has read {read} of {samples} samples in the logs; mtb run on the "
                "study has it read the others"
            )
    return with_guards(ledger, chosen), warnings


def _chosen(run: Path, study: Study) -> dict[str, str]:
    """Hash -> name of the study's guards; empty where it names none, or `mtb run` has not written down which."""
    path = run / CHOSEN
    if not study.guards or not path.is_file():
        return {}
    try:
        return {str(one["config_hash"]): str(one["name"]) for one in read_json(path)}
    except (TypeError, KeyError) as err:
        raise DataError(f"{path}: not written by mtb run; delete it and run the study again.") from err


def texts_read(plan: Plan, spec: GuardSpec) -> int:
    """How many texts ``spec`` reads at most: of requests each once, of answers one a question and arm."""
    if spec.on == "prompt":
        return len({question.prompt for log in plan.logs for question in log.questions})
    return sum(len(log.questions) for log in plan.logs) * (2 if spec.on == "both" else 1)


def check_guards(plan: Plan, *, allowed: tuple[str, ...]) -> None:
    """Find out what can be known before anything runs; no model of a guard is loaded or asked.

    Raises: RemoteError: texts would go where the user did not allow it; MissingExtraError, ModelError: no model, or
    none of its provider's package and key; DataError: weights that are none.
    """
    for spec in plan.guards:
        check_leave(spec, texts=texts_read(plan, spec), allowed=allowed)
        if isinstance(spec, ReaderGuard):
            try:
                from multitask_bench.models.engine.reader import resolve
            except ImportError as err:
                raise MissingExtraError.of(f"the guard '{spec.name}'", "local") from err
            resolve(spec.model, revision=spec.commit)
        elif isinstance(spec, LinearGuard):
            spec.opened()
        elif isinstance(spec, PolicyGuard):
            check_model(str(spec.model))


def have_read(run: Path, plan: Plan, spec: GuardSpec) -> bool:
    """Whether the logs of a plan are there with every verdict of ``spec``."""
    if not all((run / "logs" / log.file_name).is_file() for log in plan.logs):
        return False
    return not unread(spec, guarded_logs(run))


def read_logs_by(specs: Sequence[GuardSpec], run: Path, *, reporter: Reporter, allowed: tuple[str, ...]) -> None:
    """Add the verdicts of ``specs`` that are missing in the logs of ``run``, log by log; none changes otherwise.

    Where a guard's server or model gave no answer, the sample stays without a score, and a line says so. After a
    guard that fails the others still read.
    Raises: RemoteError, ModelError, DataError: as `guarding.opened`, and damaged logs; what was read is kept.
    ModelError: a guard that failed in any other way, such as for want of memory, or in a file of the user's.
    """
    errors: list[MtbError] = []
    for spec in specs:
        try:
            _read_logs(spec, run, reporter=reporter, allowed=allowed)
        except MtbError as err:
            errors.append(type(err)(f"guard {spec.name}: {err}"))
        except Exception as err:  # noqa: BLE001  whatever a model's libraries, or a user's own guard, raise
            said = " ".join(str(err).split())[:200]
            errors.append(ModelError(f"guard {spec.name}: {type(err).__name__}: {said}."))
    for later in errors[1:]:
        reporter.say(f"note: {later}")
    if errors:
        raise errors[0]


def _read_logs(spec: GuardSpec, run: Path, *, reporter: Reporter, allowed: tuple[str, ...]) -> None:
    logs = guarded_logs(run)
    name, todo = name_of(spec, logs), unread(spec, logs)
    if not todo:
        return
    with reporter.step(f"guard {name.removeprefix('guard_')}") as tick:
        failed = _read(spec, run, todo, name=name, tick=tick, allowed=allowed)
    if failed:
        reporter.say(
            f"note: {failed} samples got no answer from the guard {spec.name}; it has no word on them. Run the "
            "same command again to ask for those."
        )


def _read(spec: GuardSpec, run: Path, todo: Sequence[Path], *, name: str, tick: Tick, allowed: tuple[str, ...]) -> int:
    """Add what ``todo`` lacks; returns how many samples the guard did not answer."""
    lacking = {path: texts_in(path, spec, name) for path in todo}
    total = len({text for texts in lacking.values() for text in texts})
    ready = opened(spec, allowed=allowed, texts=total)
    known: dict[Text, Verdict] = {}
    failed = 0
    with scratch_of(run) as scratch:
        for path, texts in lacking.items():
            _screen(ready, texts, known, total=total, tick=tick)
            failed += add_to_log(path, spec, known, name=name, scratch=scratch)[1]
    return failed


def _screen(ready: Opened, texts: Sequence[Text], known: dict[Text, Verdict], *, total: int, tick: Tick) -> None:
    """Read those of ``texts`` that are not in ``known``, and put them there."""
    new = [text for text in dict.fromkeys(texts) if text not in known]
    for start in range(0, len(new), CHUNK):
        known.update(screened(ready, new[start : start + CHUNK]))
        tick(len(known), total)
