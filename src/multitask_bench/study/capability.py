"""General capability by lm-eval (Gao et al. 2024, doi:10.5281/zenodo.12608602): instructions and multiple choice.

A set is one of lm-eval's own tasks by name, which needs the model hub, or a local file: ``ifeval:FILE`` has the rows
of IFEval (Zhou et al. 2023, arXiv:2311.07911), ``choices:FILE`` multiple-choice questions. Scores are rows of
results: yes or no for each question, Wilson's interval.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multitask_bench.errors import ConfigError, DataError, MissingExtraError
from multitask_bench.models.engine.local import LocalModel
from multitask_bench.models.load import Local
from multitask_bench.models.quiet import quiet
from multitask_bench.records import Row, digest, file_digest, read_table, write_json
from multitask_bench.stats.noninferiority import noninferior_binary
from multitask_bench.stats.rates import rate
from multitask_bench.study.capability_rows import Scored, paired, stored_scores
from multitask_bench.study.progress import Reporter
from multitask_bench.study.weights import digest_of

Facts = dict[str, Any]

METRICS = ("prompt_level_strict_acc", "acc")
"""The yes-or-no metrics that are reported of a task, the first that it has: IFEval's strict one, plain accuracy."""
MAX_NEW_TOKENS = 1280
"""Answer length, as in lm-eval's own task."""
NEEDS_SENTENCES = ("length_constraints:number_sentences", "change_case:capital_word_frequency")
"""Instructions of IFEval whose check splits text by NLTK's ``punkt_tab``, which is downloaded and not installed."""


class Asked(NamedTuple):
    """How sets are asked."""

    limit: int | None = None
    """Questions a set at most, the first ones."""
    max_new_tokens: int = MAX_NEW_TOKENS
    dtype: str = "float32"


def capability(
    model: LocalModel,
    sets: Sequence[str],
    *,
    arm: str,
    limit: int | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch_size: int = 16,
) -> list[Scored]:
    """What ``model`` scores on each of ``sets``, at most ``limit`` questions a set, without examples.

    Instructions are put into the model's chat template and answered greedily; choices are compared by the likelihood
    of their texts, in no template. Questions whose check cannot run here are left out and counted in ``left_out``.
    Raises: MissingExtraError: no lm-eval. ConfigError, DataError: a set that is not there or not as it should be.
    """
    evaluate, wrapped = _harness()
    with _undisturbed(), quiet():
        lm = wrapped(pretrained=model.model, tokenizer=model.tokenizer, batch_size=batch_size, max_length=model.context)
        asked = functools.partial(
            evaluate,
            model=lm,
            limit=limit,
            num_fewshot=0,
            bootstrap_iters=0,
            gen_kwargs={"max_gen_toks": max_new_tokens},
        )
        return [_scored(name, asked, arm=arm) for name in sets]


def check_sets(sets: Sequence[str]) -> None:
    """Raises: as `capability`, before any weights are loaded; a task of the hub is looked up when it is run."""
    _harness()
    for name in sets:
        _local_set(name)


def measure(
    models: Mapping[str, Local],
    sets: Sequence[str],
    file: Path,
    *,
    asked: Asked,
    margin: float,
    reporter: Reporter,
) -> Facts:
    """Score every model, by name, on every set, and hold all others against the first.

    ``file`` is written after each set; what it holds of the same weights, set and settings is not computed again.
    Returns: ``tasks`` (rows of results) and ``comparisons`` (`stats.noninferiority`, the second less the first).
    Raises: as `capability`; DataError: ``file`` is another one.
    """
    scorer = Scorer(stored_scores(file), asked, reporter)
    found: dict[tuple[str, str], Scored] = {}
    for arm, model in models.items():
        weights = digest_of(model)
        for name in sets:
            key = scorer.score(name, arm, model, weights)
            found[arm, name] = Scored({**scorer.stored[key]["row"], "arm": arm}, scorer.stored[key]["right"])
            write_json(file, _record(list(models), sets, found, scorer.stored, margin=margin))
    return _record(list(models), sets, found, scorer.stored, margin=margin)


class Scorer:
    """Scores models, one in memory at a time, and keeps what each score hangs on: no score is computed twice."""

    def __init__(self, stored: Mapping[str, Facts], asked: Asked, reporter: Reporter) -> None:
        self.stored = dict(stored)
        """Key -> the row of results and which questions were right."""
        self.asked, self.reporter = asked, reporter
        self._loaded: LocalModel | None = None

    def score(self, name: str, arm: str, model: Local, weights: str) -> str:
        """The key in ``stored`` of a model's score on the set ``name``; ``weights`` names its weights.

        Raises: as `capability`.
        """
        key = key_of(name, weights, self.asked)
        if key not in self.stored:
            if self._loaded is None or self._loaded.folder != model.folder:
                self._loaded = None  # two models at once would need twice the memory
                self._loaded = LocalModel(model.folder, adapter=model.adapter, dtype=self.asked.dtype)
            self._loaded.use(model.adapter)
            limit, length = self.asked.limit, self.asked.max_new_tokens
            with self.reporter.step(f"{name} of {arm}"):
                (scored,) = capability(self._loaded, [name], arm=arm, limit=limit, max_new_tokens=length)
            self.stored[key] = {"row": scored.row, "right": scored.right}
        return key


def key_of(name: str, weights: str, asked: Asked) -> str:
    """Names what a score on the set ``name`` hangs on; no paths."""
    kind, colon, path = name.partition(":")
    of = [kind, file_digest(Path(path))] if colon else [name]
    return digest([of, weights, asked, _version(), kind == "ifeval" and _has_sentences()])[:16]


def _record(
    arms: Sequence[str],
    sets: Sequence[str],
    found: Mapping[tuple[str, str], Scored],
    stored: Mapping[str, Facts],
    *,
    margin: float,
) -> Facts:
    first, *others = arms
    pairs = [(first, arm, name) for name in sets for arm in others if (arm, name) in found]
    rows = [found[arm, name].row for name in sets for arm in arms if (arm, name) in found]
    comparisons = [
        {
            "a": a,
            "b": b,
            **{key: found[a, name].row[key] for key in ("task", "metric", "signature")},
            **noninferior_binary(**paired(found[a, name], found[b, name]), margin=margin).model_dump(),
        }
        for a, b, name in pairs
    ]
    return {"schema": 1, "tasks": rows, "comparisons": comparisons, "scored": dict(stored)}


def _harness() -> tuple[Callable[..., Any], Callable[..., Any]]:
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
    except ImportError as err:
        raise MissingExtraError.of("general capability", "capability") from err
    return simple_evaluate, HFLM


def _local_set(name: str) -> tuple[str | Facts, int]:
    """What lm-eval is given for a set, with the number of rows left out: of a local file a task, else the name."""
    kind, colon, file = name.partition(":")
    if not colon:
        return name, 0
    if kind not in LOCAL:
        files = " nor ".join(f"{known}:FILE" for known in LOCAL)
        raise ConfigError(f"capability: '{name}' is neither the name of an lm-eval task nor {files}.")
    rows = read_table(Path(file), needed=LOCAL[kind].columns)
    return LOCAL[kind].task(rows, Path(file))


def _scored(name: str, evaluate: Callable[..., Any], *, arm: str) -> Scored:
    from lm_eval.tasks import TaskManager

    kind, colon, file = name.partition(":")
    task, left_out = _local_set(name)
    try:
        # Without lm-eval's own tasks, whose list takes half a minute to read, where none of them is meant.
        known = TaskManager(include_defaults=not colon)
        found = evaluate(tasks=[task], task_manager=known, apply_chat_template=kind == "ifeval")
    except (OSError, KeyError, ValueError, ConnectionError) as err:
        if colon:
            raise
        why = str(err).splitlines()[0] if str(err) else type(err).__name__
        raise ConfigError(f"capability: lm-eval cannot run '{name}' ({why}); give a local file.") from err
    ((_, samples),) = found["samples"].items()
    metric = next((m for m in METRICS if samples and m in samples[0]), None)
    if metric is None:
        raise ConfigError(f"capability: '{name}' has none of {', '.join(METRICS)}.")
    right = {str(s["doc"].get("id", s["doc_id"])): bool(s[metric]) for s in samples}
    origin = f"sha256:{file_digest(Path(file))[:12]}" if colon else "hub"
    template = "native" if kind == "ifeval" else "none"
    signature = f"lm-eval:{_version()}|{origin}|shots:0|template:{template}|wilson"
    share = rate(sum(right.values()), len(right))
    values = {"n": len(right), "value": share.value, "low": share.low, "high": share.high}
    row = {"arm": arm, "task": kind, "metric": metric, "primary": True, "signature": signature, **values}
    return Scored({**row, "left_out": {"unfit": left_out}}, right)


def _instructions(rows: Sequence[Row], path: Path) -> tuple[Facts, int]:
    """IFEval's rows as lm-eval's task, with its own checks."""
    try:
        with _undisturbed():
            from lm_eval.tasks.ifeval import utils
    except ImportError as err:
        raise MissingExtraError.of("IFEval", "capability") from err

    kept = []
    for number, row in enumerate(rows, start=1):
        names, settings = row["instruction_id_list"], row["kwargs"]
        if not isinstance(names, list) or not isinstance(settings, list) or len(names) != len(settings):
            raise DataError(f"{path} row {number}: 'instruction_id_list' and 'kwargs' are lists of one length.")
        if not _has_sentences() and any(name in NEEDS_SENTENCES for name in names):
            continue
        shown = {"id": str(row.get("id", row.get("key", number))), "key": number, "prompt": str(row["prompt"])}
        # As text: a table would give every instruction the settings of all others.
        kept.append({**shown, "instruction_id_list": names, "kwargs": json.dumps(settings)})

    def checked(doc: Row, results: list[str]) -> Facts:
        found = utils.process_results({**doc, "kwargs": json.loads(doc["kwargs"])}, results)
        return {METRICS[0]: found[METRICS[0]]}

    task = {
        **_shared("ifeval", kept, path),
        "output_type": "generate_until",
        "doc_to_text": "prompt",
        "doc_to_target": 0,
        "generation_kwargs": {"until": [], "do_sample": False, "temperature": 0.0},
        "process_results": checked,
        "metric_list": [{"metric": METRICS[0], "aggregation": "mean", "higher_is_better": True}],
    }
    return task, len(rows) - len(kept)


def _questions(rows: Sequence[Row], path: Path) -> tuple[Facts, int]:
    """Multiple choice: ``question``, ``choices`` (texts) and ``answer`` (which of them, from 0)."""
    for number, row in enumerate(rows, start=1):
        choices, answer = row["choices"], row["answer"]
        if not isinstance(choices, list) or not isinstance(answer, int) or not 0 <= answer < len(choices):
            raise DataError(f"{path} row {number}: 'choices' is a list, 'answer' the number of one of them from 0.")
    kept = [
        {"id": str(row.get("id", number)), **{name: row[name] for name in LOCAL["choices"].columns}}
        for number, row in enumerate(rows, start=1)
    ]
    task = {
        **_shared("choices", kept, path),
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [{"metric": METRICS[1], "aggregation": "mean", "higher_is_better": True}],
    }
    return task, 0


def _shared(name: str, rows: list[Row], path: Path) -> Facts:
    if not rows:
        raise DataError(f"{path}: no row whose answer could be checked here; install NLTK's punkt_tab.")
    if twice := next((id_ for id_, count in Counter(row["id"] for row in rows).items() if count > 1), None):
        raise DataError(f"{path}: two rows have the id '{twice}'; answers are held against each other by it.")

    def data(**_: Any) -> dict[str, Any]:
        from datasets import Dataset

        return {"test": Dataset.from_list(rows)}

    return {"task": f"mtb_{name}", "custom_dataset": data, "test_split": "test", "metadata": {"version": 1.0}}


class _Local(NamedTuple):
    columns: tuple[str, ...]
    task: Callable[[Sequence[Row], Path], tuple[Facts, int]]


LOCAL = {
    "ifeval": _Local(("prompt", "instruction_id_list", "kwargs"), _instructions),
    "choices": _Local(("question", "choices", "answer"), _questions),
}


def _version() -> str:
    return importlib.metadata.version("lm_eval")


@functools.cache
def _has_sentences() -> bool:
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        return False
    return True


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """lm-eval without what it does by the way: prints, a call of git and, under HF_HUB_OFFLINE, NLTK's downloads."""
    import nltk
    from lm_eval import evaluator

    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(_replaced(evaluator, "get_git_commit_hash", lambda: None))
        if os.environ.get("HF_HUB_OFFLINE") == "1":
            stack.enter_context(_replaced(nltk, "download", lambda *_, **__: False))
        yield


@contextlib.contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
