"""General capability of the arms of a run: their weights from its step folders, their scores into its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multitask_bench.errors import ConfigError, UnknownNameError
from multitask_bench.models.load import Local, Remote
from multitask_bench.records import read_json, write_json
from multitask_bench.report.capability import set_of
from multitask_bench.study.capability import Asked, Scorer, check_sets, key_of
from multitask_bench.study.capability_rows import FILE, held_against, made_of, stored_scores
from multitask_bench.study.config import Arm, Study
from multitask_bench.study.folder import Finished, alone, load_run, sum_up
from multitask_bench.study.ledger import read_logs
from multitask_bench.study.mitigated import hooked
from multitask_bench.study.plan import make_plan
from multitask_bench.study.progress import Reporter
from multitask_bench.study.step_folders import StepFolders
from multitask_bench.study.steps import Source

Facts = dict[str, Any]


def measure_run(
    run: Path,
    sets: Sequence[str],
    *,
    names: Sequence[str] = (),
    asked: Asked,
    margin: float,
    reporter: Reporter,
) -> tuple[Finished, list[str]]:
    """Score the arms ``names`` of a finished run, and what they are held against; all of its arms without names.

    ``RUN/capability.json`` is written after each set, and what it holds of the same weights, set and settings is not
    computed again; then the run is summed up. Arms whose weights cannot be asked are skipped, with a line.
    Returns: the run with ``results["capability"]``, and the arms that were asked for and scored.
    Raises: DataError: no finished run; UnknownNameError: no such arm; ConfigError: none is left, or two sets have one
    name; as of `capability`.
    """
    check_sets(sets)
    _check_names(sets)
    study = load_run(run)
    with alone(run):
        before = sum_up(run).results
        arms = read_logs(run / "logs").arms
        sources = {log.arm.name: (log.arm, log.source) for log in make_plan(study).logs}
        if unknown := [name for name in names if name not in sources]:
            raise UnknownNameError.of(f"arm of {run}", unknown[0], sources)
        against = held_against(before, arms)
        wanted = [*names, *(against[name] for name in names if name in against)] if names else list(sources)
        kept = {name: sources[name] for name in sources if name in wanted}
        models = _models(run, study, kept, arms, reporter)
        if not any(name in models for name in names or models):
            raise ConfigError(f"{run}: no arm is left to score; give another one with --arm.")
        _measure(run / FILE, sets, models, asked=asked, margin=margin, reporter=reporter)
        return sum_up(run), list(models)


def _check_names(sets: Sequence[str]) -> None:
    """Raises: ConfigError: two files of one kind have one name, and so would have one place in the report."""
    given: dict[tuple[str, str | None], str] = {}
    for text in sets:
        kind = text.partition(":")[0]
        other = given.setdefault((kind, _file_name(text)), text)
        if other != text:
            raise ConfigError(f"--task {other}, --task {text}: two files of one name; rename one of them.")


def _file_name(given: str) -> str | None:
    """The name of the file of a set; None of a task of lm-eval."""
    return Path(given.partition(":")[2]).name or None


class _Model(NamedTuple):
    """One arm's weights."""

    local: Local
    identity: str
    """What names them, as in the run's steps."""
    made: str
    """`capability_rows.made_of`"""


def _models(
    run: Path,
    study: Study,
    sources: Mapping[str, tuple[Arm, Source]],
    arms: Mapping[str, Facts],
    reporter: Reporter,
) -> dict[str, _Model]:
    """The arms whose weights can be asked; those on one base stand together, so that it is loaded once."""
    folders = StepFolders(run)
    out: dict[str, _Model] = {}
    for name, (arm, source) in sorted(sources.items(), key=lambda item: item[1][1].base):
        why = _why_not(arm, source, folders, arms)
        if why is not None:
            reporter.say(f"note: {name} is skipped: {why}")
            continue
        base, adapter = folders.weights(source)
        out[name] = _Model(Local(name, base, adapter), source.identity, made_of(study, arm, arms[name]))
    return out


def _why_not(arm: Arm, source: Source, folders: StepFolders, arms: Mapping[str, Facts]) -> str | None:
    if isinstance(source.given, Remote):
        return "it is called by name, and lm-eval needs its weights"
    if arm.name not in arms:
        return "it has no log yet; run mtb run again"
    if arms[arm.name].get("weights") not in (None, source.weights):
        return "its logs are of other weights than the study gives now; run mtb run first"
    if hooked(arm.mitigation, "on_prompt"):
        return "its fix is in the system prompt, which lm-eval is not given"
    if not all(path is None or path.is_dir() for path in folders.weights(source)):
        return "its weights are not in the run folder; run mtb run again"
    return None


def _measure(
    file: Path,
    sets: Sequence[str],
    models: Mapping[str, _Model],
    *,
    asked: Asked,
    margin: float,
    reporter: Reporter,
) -> None:
    """Score what ``file`` does not hold yet; of one arm and set it keeps the newest score as the one that is shown.

    A score on an earlier version of the set's file, or by another lm-eval, is replaced with a line.
    """
    scorer = Scorer(stored_scores(file), asked, reporter)
    entries: dict[tuple[str, tuple[str, str]], Facts] = {}
    for entry in (read_json(file).get("arms") or []) if file.is_file() else []:
        entries[entry["arm"], set_of(scorer.stored[entry["key"]]["row"])] = entry
    for name, model in models.items():
        for given in sets:
            key = scorer.score(given, name, model.local, model.identity)
            of, called = set_of(scorer.stored[key]["row"]), _file_name(given)
            for other in [one for one in entries if one[0] == name and one[1][0] == of[0] and one[1] != of]:
                if entries[other]["set"] == called:
                    del entries[other]
                    reporter.say(
                        f"note: {name}: its score on {called or given} by an earlier version of the rows or of lm-eval "
                        "is replaced"
                    )
            entries[name, of] = {
                "arm": name,
                "set": called,
                "how": key_of(given, "", asked),
                "made": model.made,
                "key": key,
            }
            shown = list(entries.values())
            write_json(file, {"schema": 1, "margin": margin, "arms": shown, "scored": scorer.stored})
