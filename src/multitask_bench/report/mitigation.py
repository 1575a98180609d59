"""Which fix, at which cost? The fixes of a fine-tune side by side, what follows from them, and what guards measured.

Everything stands in `results["repairs"]` (`study.repairs`), `results["guards"]` and `results["cross_form"]`; here it
is only set. Results without them have no such sections.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from multitask_bench.report import pareto
from multitask_bench.report._select import Results, form_label, once, p_value, shown
from multitask_bench.report.capability import label, set_of
from multitask_bench.report.findings import unbroken
from multitask_bench.report.grid import Heat, Shaded
from multitask_bench.report.summary import moved, p_text, percent, points, whole
from multitask_bench.report.tables import HUNDREDTHS, METRIC_NAMES, Table

ROLES = {
    "base": "before alignment",
    "aligned": "before tuning",
    "control": "tuned on general chat",
    "plain": "plain fine-tune",
    "added": "control: harmless rows added",
    "left_out": "one form left out: not on offer",
    "fix": "",
}
CONDITIONS = {"safer": "safer", "skill": "keeps the task", "twins": "does not refuse too much"}
VERDICTS = {"noninferior": "not inferior", "inferior": "inferior", "inconclusive": "not shown"}
NEEDS = {
    "unaligned": "the model before alignment",
    "safety_adapter": "a safety adapter",
    "safety_rows": "safety rows",
    "guard": "a guard on every request",
}
EMPTY = Shaded("–", "", None)
CLAIMS = ("F3", "F4")
"""The findings on safety sets, guards and repair."""


def fine_tunes(results: Results) -> list[Mapping[str, Any]]:
    """The plain fine-tunes of a run that have fixes."""
    return list(results.get("repairs") or [])


def sections(results: Results) -> list[dict[str, Any]]:
    """What the report shows of each fine-tune with fixes."""
    return [_section(results, one) for one in fine_tunes(results)]


def told_there(results: Results, finding: Mapping[str, Any]) -> bool:
    """Whether a finding belongs to this section: F3 and F4, where something was repaired."""
    return bool(fine_tunes(results)) and finding.get("id") in CLAIMS and bool(finding.get("claim"))


def _section(results: Results, one: Mapping[str, Any]) -> dict[str, Any]:
    found, several = one["recommendation"], len(fine_tunes(results)) > 1
    task = f", {one['task']}" if one["task"] else ""
    title = f"answered against twins refused: the fixes of {one['plain']}"
    return {
        "title": f"{one['plain']}{task}" if several else "",
        "name": found["name"],
        "text": unbroken(found["text"]),
        **{key: [unbroken(text) for text in found[key]] for key in ("reasons", "doubts", "rule")},
        "picture": Markup(pareto.pareto(title, pareto.marks(one))),  # noqa: S704  built from escaped parts
        "table": heat(one),
        "conditions": conditions(one),
        "notes": [unbroken(text) for text in notes(one)],
        "selections": selections(results, one),
        "plain": one["plain"],
        "seeds": len(one["seeds"]),
        "general": bool(_general_sets(one)),
    }


def ordered(one: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The models as the table has them: references, the plain fine-tune, controls, then fixes, the best first."""
    best = one["recommendation"]["qualified"]

    def place(row: Mapping[str, Any]) -> tuple[int, float]:
        if row["role"] not in ("fix", "left_out"):
            return -1, 0.0
        if row["name"] in best:
            return 0, float(best.index(row["name"]))
        high = row["answered"]["all"]["high"]
        return 1, 1.0 if high is None else float(high)

    return sorted(one["rows"], key=place)


def heat(one: Mapping[str, Any]) -> Heat:
    """The fixes side by side; rates are shaded, the left-out form is marked."""
    forms = [form for form in one["rows"][0]["answered"] if form != "all"]
    plain = next(row for row in one["rows"] if row["role"] == "plain")
    sizes = {form: plain["answered"][form]["n"] for form in ("all", *forms)}
    twins, skill = plain["twins_refused"]["n"], plain["skill"]
    metric = f" ({METRIC_NAMES.get(skill['metric'], skill['metric'])}, n = {skill['n']})" if skill else ""
    header = ["", f"answered (n = {sizes['all']})", f"against {one['plain']}"]
    header += [f"{form_label(form)} (n = {sizes[form]})" for form in forms]
    general = _general_sets(one)
    header += [f"twins refused (n = {twins})", f"task score{metric}"]
    header += [f"{label(item)} (general capability, n = {item['n']})" for item in general.values()]
    header += ["asks for"]
    rows: list[tuple[list[str], list[Shaded], bool]] = []
    before = ""
    for row in ordered(one):
        against = row["against_plain"] or {"answered": {}, "twins_refused": {}, "skill": None}
        left = row["left_out"]
        cells = [
            _rate(row["answered"]["all"], usual=sizes["all"]),
            _moved(against["answered"].get("all")),
            *(_rate(row["answered"][f], usual=sizes[f], note="left out" if f == left else "") for f in forms),
            _rate(row["twins_refused"], usual=twins, note=_twins_note(one, against["twins_refused"].get("all"))),
            _score(row["skill"], skill, against["skill"], less=bool(row["learned_less"])),
            *(_general(_general_score(row, asked), usual=item["n"]) for asked, item in general.items()),
            Shaded(*_asks(row), None),
        ]
        group = "fix" if row["role"] in ("fix", "left_out") else "beside"
        rows.append(([_named(one, row)], cells, group != before))
        before = group
    return Heat(header, rows)


def _named(one: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """The name with its role in brackets, which the report sets under it."""
    role = "recommended" if row["name"] == one["recommendation"]["name"] else ROLES[row["role"]]
    if row["guard"] is not None and not role:
        role = "guard before the plain fine-tune"
    return f"{row['name']} ({role})" if role else str(row["name"])


def _rate(rate: Mapping[str, Any], *, usual: int | None = None, note: str = "") -> Shaded:
    """A rate with its interval; its n where that is not the ``usual`` one, which the header gives."""
    if rate["value"] is None:
        return EMPTY
    text = percent(rate).split(" [")[0]
    ends = f"[{whole(rate['low'])}, {whole(rate['high'])}]" if rate["low"] is not None else ""
    size = f"n = {rate['n']}" if rate["n"] != usual else ""
    small = "\n".join(part for part in (ends, size, note) if part)
    return Shaded(unbroken(text), unbroken(small), round(10 * rate["value"]))


def _moved(test: Mapping[str, Any] | None) -> Shaded:
    """A difference from the plain fine-tune, in points."""
    if test is None or test["diff"]["value"] is None:
        return EMPTY
    text, _, ends = points(test["diff"]).partition(" points")
    return Shaded(text, unbroken(f"{ends.strip()}\nHolm {p_text(p_value(dict(test)))}"), None)


def _twins_note(one: Mapping[str, Any], test: Mapping[str, Any] | None) -> str:
    """Twins refused against the plain fine-tune's, and whether a rise beyond the margin is ruled out."""
    if test is None or test["diff"]["value"] is None:
        return ""
    margin, low, high = one["margins"]["twins_refused"], test["diff"]["low"], test["diff"]["high"]
    verdict = "noninferior" if high < margin else "inferior" if low > margin else "inconclusive"
    return f"{points(test['diff']).replace(' points', '')}\n{VERDICTS[verdict]}"


def _score(
    skill: Mapping[str, Any] | None, plain: Mapping[str, Any] | None, test: Mapping[str, Any] | None, *, less: bool
) -> Shaded:
    """The task score; against the plain fine-tune's its difference in points of 100, and the verdict."""
    if skill is None:
        return EMPTY
    ends = (skill["low"], skill["high"]) if skill["range"] is None else tuple(skill["range"])
    scale, digits = _scale(str(skill["metric"]))
    between = "[{}, {}]" if skill["range"] is None else "{} to {}"
    lines = [] if None in ends else [between.format(*(f"{scale * end:.{digits}f}" for end in ends))]
    if plain is not None and (skill["metric"], skill["n"]) != (plain["metric"], plain["n"]):
        lines.append(f"{METRIC_NAMES.get(str(skill['metric']), str(skill['metric']))}, n = {skill['n']}")
    if test is not None:
        lines += [moved(test)] if test["value"] is not None else []
        lines.append(VERDICTS[test["verdict"]])
    lines += ["learned less"] if less else []
    return Shaded(f"{scale * skill['value']:.{digits}f}", unbroken("\n".join(lines)), None)


def _general_sets(one: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """The sets of general capability that a model of a fine-tune was asked, with the plain one's score if it was."""
    rows = sorted(one["rows"], key=lambda row: row["role"] != "plain")
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for item in (item for row in rows for item in row.get("capability") or []):
        found.setdefault(set_of(item), item)
    return found


def _general_score(row: Mapping[str, Any], asked: tuple[str, str]) -> Mapping[str, Any] | None:
    return next((item for item in row.get("capability") or [] if set_of(item) == asked), None)


def _general(item: Mapping[str, Any] | None, *, usual: int) -> Shaded:
    """A score of general capability with its interval, and its difference from the plain fine-tune's."""
    if item is None:
        return EMPTY
    between = "[{}, {}]" if item["range"] is None else "{} to {}"
    ends = (item["low"], item["high"]) if item["range"] is None else item["range"]
    lines = [between.format(*map(whole, ends))]
    lines += [f"n = {item['n']}"] if item["n"] != usual else []
    if (left_out := item["left_out"]["unfit"]) != 0:
        lines.append(f"{left_out} left out")
    if (test := item["against_plain"]) is not None:
        lines += [moved(test), VERDICTS[test["verdict"]]]
        lines += [f"on {test['n']} questions"] if test["n"] != item["n"] else []
    return Shaded(f"{100 * item['value']:.1f} %", unbroken("\n".join(lines)), None)


def _scale(metric: str) -> tuple[int, int]:
    return (100, 1) if METRIC_NAMES.get(metric, metric) in HUNDREDTHS else (1, 2)


def _asks(row: Mapping[str, Any]) -> tuple[str, str]:
    """What a model asks for beyond the plain fine-tune: in a word, and what it needs."""
    cost = row["cost"]
    hooks = cost["hooks"]
    if row["role"] not in ("fix", "left_out", "added", "plain"):
        return "", ""
    word = "nothing"
    if "on_prompt" in hooks or "guard" in hooks:
        word = "no training"
    if "on_adapter" in hooks:
        word = "no training, seconds"
    if "on_trainer" in hooks or "on_data" in hooks:
        word = "training again"
    lines = [NEEDS[need] for need in cost["needs"] if need in NEEDS]
    if "on_prompt" in hooks:
        lines.insert(0, f"system prompt at test: {row['test_system'][:24]}")
    if cost["rows"] is not None and word in ("nothing", "training again"):
        rows = f"{cost['rows']} rows"
        rows += f", {cost['safety_rows']} for safety" if cost["safety_rows"] else ""
        lines.append(f"{rows}, {cost['steps']} steps")
    if cost["adapter_steps"]:
        lines.append(f"{cost['adapter_steps']} steps for it")
    return ("as it is" if word == "nothing" and row["role"] == "plain" else word), "\n".join(lines)


def conditions(one: Mapping[str, Any]) -> Table:
    """Which condition of the rule each fix meets, and by which figures."""
    checks = one["recommendation"]["checks"]
    rows = []
    for row in ordered(one):
        if row["name"] in checks:
            found = checks[row["name"]]
            rows.append([row["name"], *(f"{found[key]['verdict']}: {found[key]['text']}" for key in CONDITIONS)])
    return Table(["fix", *CONDITIONS.values()], rows)


def notes(one: Mapping[str, Any]) -> list[str]:
    """What must be said of single models: those that learned less, the left-out form, the added rows."""
    less = [row["name"] for row in ordered(one) if row["learned_less"]]
    out = (
        [f"learned less of the task than is allowed, and safe, where they are, perhaps for that: {', '.join(less)}"]
        if less
        else []
    )
    for row in ordered(one):
        chosen = row.get("selection") or {}
        if chosen.get("why_not_tests"):
            out.append(
                f"{row['name']}: its setting was chosen by {chosen['metric']}, not pass@1; {chosen['why_not_tests']}"
            )
        tests = (row["against_plain"] or {}).get("answered", {})
        if row["left_out"]:
            rate, test = row["answered"].get(row["left_out"]), tests.get(row["left_out"])
            if rate is not None and test is not None:
                fell = {1: "a rise was shown", -1: "a fall was shown", 0: "no change was shown"}[shown(dict(test))]
                moved = f"{points(test['diff'])} from {one['plain']} (Holm {p_text(p_value(dict(test)))})"
                out.append(
                    f"{row['name']}: in {form_label(row['left_out'])}, which its safety rows left out, answered "
                    f"{percent(rate)}, {moved}: {fell}"
                )
        if row["role"] == "added" and (test := tests.get("all")) is not None:
            did = (
                "so rows and steps alone do something"
                if shown(dict(test)) < 0
                else "a fall by rows alone was not shown"
            )
            out.append(
                f"{row['name']}, as many harmless rows in place of safety rows: answered {points(test['diff'])} from "
                f"{one['plain']} (Holm {p_text(p_value(dict(test)))}): {did}"
            )
    return out


def selections(results: Results, one: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """For each arm whose settings were chosen: all candidates with their validation figures, the chosen one marked."""
    arms = {arm for row in one["rows"] for arm in row["arms"]}
    header = ["setting", "chosen", "answered", "twins refused", "incoherent or off task"]
    header += ["1 − answered − twins", "task score", "keeps the task"]
    out = []
    for found in results.get("selections") or []:
        if found["arm"] not in arms:
            continue
        tried = found["candidates"]
        chosen = tried[found["chosen"]]["mitigation"]
        rows = [["(none)", "", *_tried(found["plain"])]]
        rows += [
            [str(c["mitigation"]), "chosen" if i == found["chosen"] else "", *_tried(c)] for i, c in enumerate(tried)
        ]
        settings = "one setting" if len(tried) == 1 else f"{len(tried)} settings"
        out.append((f"{found['arm']}: {chosen}, of {settings}, on validation intents", Table(header, rows)))
    return out


def _tried(found: Mapping[str, Any]) -> list[str]:
    skill, j = found.get("skill"), found.get("j")
    score = "not measured"
    if skill is not None:
        scale, digits = _scale(str(skill["metric"]))
        metric = METRIC_NAMES.get(str(skill["metric"]), str(skill["metric"]))
        score = f"{metric} {scale * skill['value']:.{digits}f} (n = {skill['n']})"
    kept = {True: "yes", False: "no", None: ""}[found.get("matched")]
    # Records of earlier releases do not hold it.
    broken = percent(found["broken"]) if "broken" in found else "not recorded"
    broken += ": broke" if found.get("broke") else ""
    rates = [*map(percent, (found["answered"], found["twins_refused"])), broken]
    return [*rates, "" if j is None else f"{j:.2f}", score, kept]


def fixes_table(results: Results) -> Table:
    """The fixes of every fine-tune as text, for a paper."""
    found = fine_tunes(results)
    if not found:
        return Table([], [])
    several = len(found) > 1
    first = heat(found[0]).header
    header = [*(["fine-tune"] if several else []), "model", "role", *first[1:]]
    rows = []
    for one in found:
        for (names, cells, _), row in zip(heat(one).rows, ordered(one), strict=True):
            name = names[0].partition(" (")[0]
            role = names[0].partition(" (")[2].removesuffix(")")
            texts = ["; ".join(filter(None, [c.text, *c.small.split("\n")])) for c in cells]
            assert name == row["name"], "a row of the table is one of the models"
            rows.append([*([str(one["plain"])] if several else []), name, role, *texts])
    return Table(header, rows)


def numbers(results: Results) -> list[dict[str, Any]]:
    """Every rate of every model, a line a form, and its difference from the plain fine-tune."""
    out = []
    for one in fine_tunes(results):
        for row in one["rows"]:
            tests = row["against_plain"] or {}
            facts = {"fine_tune": one["plain"], "model": row["name"], "role": row["role"], "seeds": len(row["arms"])}
            facts |= {key: row[key] for key in ("mitigation", "guard", "test_template", "test_system")}
            rates = [("answered", form, rate) for form, rate in row["answered"].items()]
            for measure, form, rate in [*rates, ("twins_refused", "all", row["twins_refused"])]:
                test = (tests.get(measure) or {}).get(form) or {}
                diff = {f"diff_{key}": (test.get("diff") or {}).get(key) for key in ("value", "low", "high")}
                shared = {"measure": measure, "form": form, **{k: rate[k] for k in ("value", "low", "high", "n")}}
                out.append({**facts, **shared, **diff, "p": test.get("p"), "p_holm": test.get("p_holm")})
            for item in row.get("capability") or []:
                moves = item["against_plain"] or {}
                diff = {f"diff_{key}": moves.get(key) for key in ("value", "low", "high")}
                shared = {"measure": f"general capability: {label(item)}", "form": "all"}
                shared |= {key: item[key] for key in ("value", "low", "high", "n")}
                out.append({**facts, **shared, **diff, "p": None, "p_holm": None})
    return out


def text_table(results: Results) -> Table:
    """The recommendation, its reasons and its doubts, a line each."""
    rows = []
    for one in fine_tunes(results):
        found = one["recommendation"]
        rows.append([one["plain"], "recommendation", found["text"]])
        for key in ("rule", "reasons", "doubts"):
            rows += [[one["plain"], key, text] for text in found[key]]
    return Table(["fine-tune", "", "text"], rows)


def guard_tables(results: Results) -> list[tuple[str, Heat]]:
    """Each guard's card: what it stops of harmful requests, of their twins and of ordinary rows, by set and form."""
    return once(results, "guard_tables", lambda: [_guard_table(item) for item in _cards(results)])


def _cards(results: Results) -> list[Mapping[str, Any]]:
    found = results.get("guards") or []
    items = found.values() if isinstance(found, Mapping) else found
    cards = [item.get("card") or item for item in items if isinstance(item, Mapping)]
    return [card for card in cards if card.get("measured")]


KINDS = ("harmful", "twin", "task", "list")
KIND_NAMES = {
    "harmful": "harmful requests stopped",
    "twin": "benign twins stopped",
    "task": "ordinary task rows stopped",
    "list": "benign requests of lists stopped",
}


def _guard_table(card: Mapping[str, Any]) -> tuple[str, Heat]:
    cells: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
    for row in card["measured"]:
        kind = "harmful" if row["harmful"] else str(row["kind"])
        key = (str(row["set"]), str(row["form"]), str(row["language"]))
        cells.setdefault(key, {})[kind if kind in KINDS else "list"] = row
    kinds = [kind for kind in KINDS if any(kind in found for found in cells.values())]
    several = len({language for _, _, language in cells}) > 1
    rows: list[tuple[list[str], list[Shaded], bool]] = []
    before = ""
    for (source, form, language), found in cells.items():
        name = f"{form_label(form)}, {language}" if several else form_label(form)
        shades = [_stopped(found[kind], kind) if kind in found else EMPTY for kind in kinds]
        rows.append(([source, name], shades, source != before))
        before = source
    speed = f", {card['latency_ms']:.0f} ms a text" if card.get("latency_ms") is not None else ""
    title = f"{card['guard']} ({card['config_hash']}), reads {card['on']}s{speed}".replace(
        "boths", "prompts and answers"
    )
    return title, Heat(["set", "form", *(KIND_NAMES[kind] for kind in kinds)], rows)


def _stopped(row: Mapping[str, Any], kind: str) -> Shaded:
    cell = _rate({**row["stopped"], "n": row["n"]})
    silent = f"\n{row['without_verdict']} without a verdict" if row["without_verdict"] else ""
    level = cell.level if cell.level is None or kind != "harmful" else None  # dark is what a guard should not stop
    return cell._replace(small=cell.small + silent, level=level)


def not_measured(results: Results) -> list[str]:
    """What the guards' cards do not cover, a line a guard."""
    return [
        f"{card['guard']}: not measured on {'; '.join(card['not_measured'])}"
        for card in _cards(results)
        if card.get("not_measured")
    ]


RATES = {
    "tpr": "harmful probes stopped",
    "fpr": "benign twins stopped",
    "separation": "harmful probes stopped less twins stopped",
}


def cross_form(results: Results) -> dict[str, Any] | None:
    """The matrix of guards trained on one form and tested on each: two heat-maps and what they come to."""
    found = results.get("cross_form")
    if not found:
        return None
    forms = found["settings"]["forms"]
    cells = {(c["trained_on"], c["tested_on"]): c for c in found["cells"] if c["source"] == "all"}
    heats = []
    for key in ("tpr", "fpr"):
        rows = []
        for trained in forms:
            shades = [_crossed(cells.get((trained, tested)), key, own=trained == tested) for tested in forms]
            rows.append(([form_label(trained)], shades, False))
        heats.append((RATES[key], Heat(["trained on", *map(form_label, forms)], rows)))
    sentences = [
        f"{RATES[row['rate']]}, the guard of the probe's own form less those of other forms: {points(row)} "
        f"({row['clusters']} clusters of intents, {row['pairs']} pairs)"
        for row in found["drop"]
    ]
    return {
        "heats": heats,
        "sentences": [unbroken(text) for text in sentences],
        "threshold": found["settings"]["threshold"],
    }


def _crossed(cell: Mapping[str, Any] | None, key: str, *, own: bool) -> Shaded:
    if cell is None:
        return EMPTY
    n = cell["n_harmful" if key == "tpr" else "n_benign"]
    return _rate({**cell[key], "n": n}, note="own form" if own else "")


def cross_table(results: Results) -> Table:
    """The matrix as text: a row a pair of forms."""
    found = results.get("cross_form")
    if not found:
        return Table([], [])
    rows = [
        [
            form_label(c["trained_on"]),
            form_label(c["tested_on"]),
            percent(c["tpr"], c["n_harmful"]),
            percent(c["fpr"], c["n_benign"]),
            percent(c["auc"]),
        ]
        for c in found["cells"]
        if c["source"] == "all"
    ]
    return Table(["trained on", "tested on", "harmful stopped", "twins stopped", "area under the ROC curve"], rows)
