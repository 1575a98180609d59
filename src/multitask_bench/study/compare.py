"""Two runs against each other, and a run beside counts from elsewhere.

Two runs can be compared where they asked the same probes, for answers of the same length, under the same judge; tasks
that both asked must have one length, too. Answers are joined by arm, probe, template and system prompt; a difference
is the second run minus the first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from multitask_bench.errors import ConfigError, DataError, UnknownNameError
from multitask_bench.records import read_json
from multitask_bench.report._select import VARIANT_KEYS, document, main_variant, model_of, reference
from multitask_bench.report.counts import NONE, Cell, Ours
from multitask_bench.schema import ANSWERED, UNJUDGED, Outcome
from multitask_bench.stats.paired import holm
from multitask_bench.stats.rates import clustered_rate
from multitask_bench.study.answers import is_hit
from multitask_bench.study.contrasts import over_intents, over_pairs
from multitask_bench.study.judge_card import card_lines
from multitask_bench.study.ledger import Entry, Facts, Ledger, read_logs
from multitask_bench.study.probes import form_rank

ABSENT = "absent"
"""Stands for a setting that one of the two runs does not have."""

NOT_COMPARED = frozenset({"probe_sets", "test_template", "test_system"})
"""What a log's header says of an arm, but not of its model: these are compared on their own."""

Way = tuple[str, str, str, str]
"""(source, test template, test system prompt, kind): the probes of one comparison; kind is 'probes' or 'twins'."""

Pair = tuple[Entry, Entry]

Key = tuple[str, str, str]
"""(probe, template, system prompt)"""


class Side(NamedTuple):
    """One of the two runs."""

    name: str
    manifest: Facts
    ledger: Ledger


def read_side(run: Path, *, name: str) -> Side:
    """A run folder, as far as a comparison needs it.

    Raises: DataError: not a run folder that has finished.
    """
    path = run / "manifest.json"
    if not path.is_file():
        raise DataError(f"{run}: no manifest.json; give a run folder that has finished, or run mtb report on it first.")
    return Side(name, read_json(path), read_logs(run / "logs"))


def compare(a: Side, b: Side, *, names: Mapping[str, str] | None = None) -> Facts:
    """What differs between two runs in settings, data and results; ``names`` maps arms of ``a`` to arms of ``b``.

    Raises: ConfigError: they cannot be compared; says why and what to do.
    """
    arms = _arm_pairs(a, b, names or {})
    settings = changed_settings(settings_of(a, {}), settings_of(b, {y: x for x, y in arms.items()}), arms)
    check_judge(a, b)
    check_probes(a, b, arms, settings)
    notes = check_task_lengths(a, b, arms)
    compared = [_compare_arms(a, b, x, y) for x, y in arms.items()]
    if not any(arm["comparisons"] for arm in compared):
        raise ConfigError(
            f"no arm was asked in the same way in {a.name} and {b.name} (template, system prompt); "
            "run one of the studies again with the other's arms.*.systems and template."
        )
    return {
        "schema": 1,
        "a": a.name,
        "b": b.name,
        "settings": settings,
        "environment": _diff(_environment(a), _environment(b)),
        "data": _data(a, b, arms),
        "arms": compared,
        "warnings": [
            *(
                f"{side.name}: {log} is not finished and was left out"
                for side in (a, b)
                for log in side.ledger.unfinished
            ),
            *notes,
        ],
    }


def _arm_pairs(a: Side, b: Side, names: Mapping[str, str]) -> dict[str, str]:
    for side, wanted in ((a, names.keys()), (b, names.values())):
        for name in wanted:
            if name not in side.ledger.arms:
                raise UnknownNameError.of(f"arm of {side.name}", name, side.ledger.arms)
    if len(set(names.values())) < len(names):
        raise ConfigError("--arm: two arms are mapped to the same one; give each its own.")
    taken = set(names.values())
    same = {name: name for name in a.ledger.arms if name not in names and name in b.ledger.arms and name not in taken}
    pairs = {x: names.get(x, same.get(x, "")) for x in a.ledger.arms if x in names or x in same}
    if not pairs:
        raise ConfigError(
            f"no arm in common: {a.name} has {', '.join(a.ledger.arms)}; {b.name} has {', '.join(b.ledger.arms)}; "
            "say which belong together with --arm A=B."
        )
    return pairs


def check_judge(a: Side, b: Side) -> None:
    """Raises: ConfigError: the two runs were judged by different judges, or one of them by two versions of one."""
    for side in (a, b):
        if len(side.ledger.judge_hashes) > 1:
            raise ConfigError(
                f"two versions of the judge {side.ledger.judge} gave the outcomes of {side.name} "
                f"({', '.join(sorted(side.ledger.judge_hashes))}); mtb run on its study.yaml judges it again by one."
            )
    first, second = a.ledger, b.ledger
    if first.judge_hash != second.judge_hash:
        raise ConfigError(
            f"another judge: {a.name} was judged by {first.judge} {first.judge_hash[:16]}, {b.name} by {second.judge} "
            f"{second.judge_hash[:16]}; run mtb run on both studies again with one version and one judge."
        )


def check_probes(a: Side, b: Side, arms: Mapping[str, str], settings: Sequence[Facts]) -> None:
    """Raises: ConfigError: paired arms were asked other probes, or for answers of another length."""
    for x, y in arms.items():
        first, second = a.ledger.arms[x], b.ledger.arms[y]
        lengths = first.get("max_new_tokens"), second.get("max_new_tokens")
        if lengths[0] != lengths[1]:
            raise ConfigError(
                f"another answer length: {x} has max_new_tokens {lengths[0]} in {a.name} and {lengths[1]} in {b.name}; "
                "run one of them again with --set probes.max_new_tokens of the other."
            )
        sets = first["probe_sets"], second["probe_sets"]
        shared = [form for form in sets[0] if form in sets[1]]
        different = [form for form in shared if sets[0][form] != sets[1][form]]
        if different or not shared:
            why = ", ".join(_arrow(item) for item in settings if item["key"].startswith("probes."))
            raise ConfigError(
                f"different probes for {x} ({', '.join(different) or 'no form in common'}) in {a.name} and {b.name}"
                f"{': ' + why if why else ''}; run one again with the probes of the other, in one version of mtb."
            )


def check_task_lengths(a: Side, b: Side, arms: Mapping[str, str]) -> list[str]:
    """Whether paired arms answered the tasks that both were asked at one length.

    Returns: notes on those whose log does not say it.
    Raises: ConfigError: they did not; a longer answer scores otherwise, whatever the model has learned.
    """
    notes = []
    for x, y in arms.items():
        shared = [key for arm, key in a.ledger.task_rows if arm == x and (y, key) in b.ledger.task_rows]
        for key in sorted(shared):
            sides = ((a, x), (b, y))
            first, second = (side.ledger.task_lengths.get((arm, key)) for side, arm in sides)
            if first is not None and second is not None and first != second:
                raise ConfigError(
                    f"another answer length of task {key[0]}: {x} has max_new_tokens {first} in {a.name} and {y} "
                    f"{second} in {b.name}; run one of them again with --set skill.max_new_tokens of the other."
                )
            silent = {
                f"{arm} in {side.name}": None
                for (side, arm), n in zip(sides, (first, second), strict=True)
                if n is None
            }
            if silent:
                notes.append(
                    f"task {key[0]}: the log of {' and of '.join(silent)} does not say its max_new_tokens; that both "
                    "answered at one length is taken on trust"
                )
    return notes


def _arrow(item: Facts) -> str:
    return f"{item['key']} {item['a']} -> {item['b']}"


def settings_of(side: Side, renamed: Mapping[str, str]) -> Facts:
    """The study's settings as ``key.path`` -> value; an arm stands under its name, or the one it is paired with."""
    return dict(_flat(side.manifest.get("settings") or {}, "", renamed))


def _flat(value: Any, path: str, renamed: Mapping[str, str]) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key), renamed)
    elif isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        for item in value:
            name = renamed.get(item["name"], item["name"])
            yield from _flat({k: v for k, v in item.items() if k != "name"}, f"{path}.{name}", renamed)
    else:
        yield path, value


def changed_settings(first: Facts, second: Facts, arms: Mapping[str, str]) -> list[Facts]:
    """The settings that differ; an arm that only one run has is named among the data, not key by key."""

    def kept(key: str) -> bool:
        return not key.startswith("arms.") or any(key.startswith(f"arms.{name}.") for name in arms)

    return [item for item in _diff(first, second) if kept(item["key"])]


def _diff(first: Facts, second: Facts) -> list[Facts]:
    keys = dict.fromkeys([*first, *second])
    values = {key: (first.get(key, ABSENT), second.get(key, ABSENT)) for key in keys}
    # Null and absent are one, and a group that the other run fills in is shown by what it is filled with.
    blank = (ABSENT, None)
    changed = {key: (x, y) for key, (x, y) in values.items() if x != y and not (x in blank and y in blank)}
    return [
        {"key": key, "a": x, "b": y}
        for key, (x, y) in changed.items()
        if not any(other.startswith(f"{key}.") for other in changed)
    ]


def _environment(side: Side) -> Facts:
    kept: Facts = {key: side.manifest.get(key) for key in ("commit", "device")}
    return {**kept, **dict(_flat(side.manifest.get("versions") or {}, "versions", {}))}


def _data(a: Side, b: Side, arms: Mapping[str, str]) -> Facts:
    sets = [
        {form: one for facts in side.ledger.arms.values() for form, one in facts["probe_sets"].items()}
        for side in (a, b)
    ]
    forms = sorted({*sets[0], *sets[1]}, key=_by_rank)
    return {
        "probe_sets": [{"form": form, "a": sets[0].get(form), "b": sets[1].get(form)} for form in forms],
        "judge": {"name": a.ledger.judge, "hash": a.ledger.judge_hash, "card": card_lines(a.ledger)},
        "only_a": [name for name in a.ledger.arms if name not in arms],
        "only_b": [name for name in b.ledger.arms if name not in arms.values()],
        "arms": [
            {"a": x, "b": y, "changed": _diff(_header(a, x), _header(b, y))}
            for x, y in arms.items()
        ],
    }  # fmt: skip


def _header(side: Side, arm: str) -> Facts:
    return {k: v for k, v in side.ledger.arms[arm].items() if k not in NOT_COMPARED and k not in ("arm", "judge")}


def _compare_arms(a: Side, b: Side, x: str, y: str) -> Facts:
    first, second = ({key_of(e): e for e in side.ledger.entries if e.arm == arm} for side, arm in ((a, x), (b, y)))
    joined = [(first[key], second[key]) for key in first if key in second]
    ways: dict[Way, list[Pair]] = defaultdict(list)
    for one, other in joined:
        m = one.meta
        if one.meta["expected"] == ("answer" if m["twin"] else "refuse"):
            kind = "twins" if m["twin"] else "probes"
            ways[str(m["source"]), str(m["test_template"]), str(m["test_system"]), kind].append((one, other))
    rows = [row for way in sorted(ways, key=_way_rank) for row in _rows(way, ways[way])]
    for kind in ("probes", "twins"):
        tests = [row for row in rows if row["kind"] == kind and row["form"] != "all"]
        for row, p in zip(tests, holm([row["p"] for row in tests]), strict=True):
            row["p_holm"] = p
    return {
        "a": x,
        "b": y,
        "joined": len(joined),
        "same_text": sum(one.answer == other.answer for one, other in joined),
        "only_a": len(first) - len(joined),
        "only_b": len(second) - len(joined),
        "comparisons": rows,
    }


def key_of(entry: Entry) -> Key:
    """What joins the answers of two arms: probe, template, system prompt."""
    m = entry.meta
    return str(m["probe_id"]), str(m["test_template"]), str(m["test_system"])


def _rows(way: Way, pairs: Sequence[Pair]) -> list[Facts]:
    """One row a form by exact McNemar, then one over all forms by sign-flips of whole intents."""
    source, template, system, kind = way
    twin = kind == "twins"
    shared = {
        "source": source,
        "test_template": template,
        "test_system": system,
        "kind": kind,
        "measure": "refused" if twin else "answered",
    }
    by_form: dict[str, list[Pair]] = defaultdict(list)
    for one, other in pairs:
        by_form[str(one.meta["form"])].append((one, other))
    out = [{**shared, **_form_row(form, by_form[form], twin=twin)} for form in sorted(by_form, key=_by_rank)]
    judged = [pair for pair in pairs if _judged(pair)]
    if len(by_form) > 1 and judged:
        out.append({**shared, **_counts("all", pairs, twin=twin), **_total(judged, twin=twin)})
    return out


def _form_row(form: str, pairs: Sequence[Pair], *, twin: bool) -> Facts:
    tested = over_pairs([_move(pair, twin=twin) for pair in pairs if _judged(pair)])
    p = tested["p"] if tested["n_pairs"] else None
    return {**_counts(form, pairs, twin=twin), **tested, "p": p, "p_holm": None}


def _total(judged: Sequence[Pair], *, twin: bool) -> Facts:
    per_intent: dict[str, list[int]] = defaultdict(list)
    for pair in judged:
        per_intent[str(pair[0].meta["intent_id"])].append(_move(pair, twin=twin))
    return {**over_intents(per_intent), "p_holm": None}


def _counts(form: str, pairs: Sequence[Pair], *, twin: bool) -> Facts:
    judged = [pair for pair in pairs if _judged(pair)]
    return {
        "form": form,
        "n_pairs": len(judged),
        "no_verdict": len(pairs) - len(judged),
        "hit_a": sum(is_hit(one.outcome, twin=twin) for one, _ in judged),
        "hit_b": sum(is_hit(other.outcome, twin=twin) for _, other in judged),
    }


def _move(pair: Pair, *, twin: bool) -> int:
    before, after = (is_hit(entry.outcome, twin=twin) for entry in pair)
    return int(after) - int(before)


def _judged(pair: Pair) -> bool:
    return not any(entry.outcome in UNJUDGED for entry in pair)


def _by_rank(form: str) -> tuple[int, str]:
    return form_rank(form), form


def _way_rank(way: Way) -> tuple[Any, ...]:
    source, template, system, kind = way
    return (not source.startswith("bundled"), source, template != "native", template, system != NONE, system, kind)


def ours_of(results: Facts, answers: Sequence[Facts], forms: Sequence[str]) -> list[Ours]:
    """The arms of a run that published counts can have a counterpart of, over ``forms``, theirs.

    ``answers`` are the rows of results.parquet. The reference (aligned, else base) stands for the model
    before fine-tuning, in a grid of models for its own; of the others, arms tuned on a task without a
    mitigation or a system prompt in training, asked under the template they were trained with. Arms of a
    model that was not asked before fine-tuning are left out.
    """
    results = document(results)
    main = main_variant(results)
    if main is None:
        return []
    variant = dict(zip(VARIANT_KEYS, main, strict=True))
    facts: dict[str, Facts] = {row["arm"]: row for row in results["rows"]}
    groups: dict[tuple[str, str, str], list[Facts]] = defaultdict(list)
    for row in answers:
        harmful = not row["twin"] and row["expected"] == "refuse"
        if harmful and row["source"] == variant["source"] and row["outcome"] not in UNJUDGED:
            groups[row["arm"], row["test_template"], row["test_system"]].append(row)
    out = []
    for (arm, template, system), rows in groups.items():
        model = model_of(results, facts[arm])
        before = reference(results, model)
        if before is None:
            continue
        if arm == before.arm:
            if template == variant["test_template"]:
                out.append(_ours(arm, (NONE, NONE, system), rows, forms)._replace(model=model))
        elif _comparable(facts[arm], template):
            way = (facts[arm]["finetune_task"], template, system)
            out.append(_ours(arm, way, rows, forms)._replace(model=model))
    return out


def _comparable(arm: Facts, template: str) -> bool:
    return (
        arm["stage"] == "tuned"
        and bool(arm["finetune_task"])
        and not arm["mitigation"]
        and arm["train_template"] in (None, template)
        and arm["train_system"] in (None, NONE)
    )


def _ours(arm: str, way: tuple[str, str, str], rows: Sequence[Facts], forms: Sequence[str]) -> Ours:
    cells: dict[str, Cell] = {}
    for form in forms:
        kept = [row for row in rows if row["form"] == form]
        if kept:
            cells[form] = Cell(sum(row["outcome"] != Outcome.REFUSED for row in kept), len(kept))
    if len(cells) < len(forms):
        return Ours(arm, *way, cells, None, None)
    clusters: dict[str, list[Outcome]] = defaultdict(list)
    for row in rows:
        if row["form"] in cells:
            clusters[row["intent_id"]].append(Outcome(row["outcome"]))
    outcomes = list(clusters.values())
    return Ours(
        arm,
        *way,
        cells,
        clustered_rate([[o is not Outcome.REFUSED for o in found] for found in outcomes]),
        clustered_rate([[o in ANSWERED for o in found] for found in outcomes]),
    )
