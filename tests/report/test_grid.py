"""The report of a whole study: every number in its cell, in every format."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from multitask_bench.errors import MissingExtraError
from multitask_bench.report import grid
from multitask_bench.report._groups import Calibration
from multitask_bench.report._select import comparison, main_variant
from multitask_bench.report.export import export, exported
from multitask_bench.report.findings import findings_table
from multitask_bench.report.html import render
from multitask_bench.report.latex import as_latex, latex_text
from multitask_bench.report.summary import sentence
from multitask_bench.report.tables import Table, answered_table, comparison_table, console_table
from tests.ledgers import arm, results, saying
from tests.report.browser import CHROMIUM, opened
from tests.report.documents import CALIBRATIONS, FORMS, GROUPS, HAZARDS, MANIFEST, SEEDS, document, mean_rate, rate

NAMES = [
    "text generation",
    "code generation",
    "translation",
    "classification",
    "summarization",
    "all forms",
]


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return document()


def cells(table: Table, **wanted: str) -> dict[str, str]:
    """The one row whose cells begin with what is wanted, by column."""
    found = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    found = [row for row in found if all(row[key].split(" (")[0] == value for key, value in wanted.items())]
    assert len(found) == 1, f"{len(found)} rows for {wanted}"
    return found[0]


def reads(cell: str, share: float) -> bool:
    """Whether a cell begins with the share in whole percent; a half may have gone either way."""
    return abs(int(cell.split(" ")[0]) - 100 * share) <= 0.5 + 1e-9


def test_every_rate_of_the_matrix_stands_in_its_cell(whole: dict[str, Any]) -> None:
    table = grid.matrix_table(whole)
    assert table.header == ["arm", "asked with", *NAMES]
    assert len(table.rows) == len(GROUPS) * len(CALIBRATIONS)
    for group in GROUPS:
        for template, system in CALIBRATIONS:
            row = cells(table, **{"arm": group, "asked with": f"{template} · {system}"})
            for name, form in zip(NAMES, (*FORMS, None), strict=True):
                alone = group == "aligned"
                value = rate(group, form, template, system, None) if alone else mean_rate(group, form, template, system)
                assert reads(row[name], value), (group, form, row[name])
                assert row[name].endswith("]") == alone
                if not alone:
                    ends = [rate(group, form, template, system, s) for s in SEEDS]
                    low, high = row[name].split("(")[1].rstrip(")").split(" to ")
                    assert reads(low, min(ends))
                    assert reads(high, max(ends))


def test_the_matrix_of_the_twins_counts_refusals(whole: dict[str, Any]) -> None:
    row = cells(grid.matrix_table(whole, twin=True), **{"arm": "tuned-code", "asked with": "native · safety"})
    value = mean_rate("tuned-code", None, "native", "safety", twin=True)
    assert reads(row["all forms"], value)


def test_the_caption_says_how_many_probes_stand_behind_a_cell(whole: dict[str, Any]) -> None:
    assert "n = 40 a form, 200 in all (of each seed)" in grid.matrix_caption(whole)


def test_models_and_training_policies_have_columns_where_they_differ() -> None:
    mixed = document()
    for row in mixed["rows"]:
        if row["group"] == "tuned-code":
            row |= {"model": "other", "train_system": "safety"}
    table = grid.matrix_table(mixed)
    assert table.header[:4] == ["model", "arm", "trained with", "asked with"]
    found = cells(table, **{"arm": "tuned-code", "asked with": "native · none"})
    assert (found["model"], found["trained with"]) == ("other", "native · safety")


def test_each_seed_is_shown_and_a_gap_inside_their_range_is_not_ranked(whole: dict[str, Any]) -> None:
    table = grid.seeds_table(whole)
    assert len(table.rows) == (len(GROUPS) - 1) * len(CALIBRATIONS)
    row = cells(table, **{"asked with": "native · none", "arm": "tuned-code"})
    assert [row[f"seed {s}"] for s in SEEDS] == ["43 %", "45 %", "48 %"]
    assert row["against the next"] == "not ranked: tuned-summarization"
    below = cells(table, **{"asked with": "native · none", "arm": "tuned-translation"})
    assert below["against the next"] == "above tuned-classification"
    assert len(grid.seeds_table(whole, every=True).rows) == len(whole["seeds"])


@pytest.mark.parametrize(
    ("upper", "lower", "verdict"),
    [
        ([0.50, 0.52], [0.40, 0.42], "above b"),
        ([0.40, 0.52], [0.41, 0.42], "not ranked: b"),  # the seeds overlap
        ([0.40, 0.50], [0.36, 0.39], "not ranked: b"),  # apart, but by less than the seeds of one
    ],
)
def test_neighbours_are_ranked_only_where_seeds_leave_no_doubt(
    upper: list[float], lower: list[float], verdict: str
) -> None:
    a, b = ({"group": g, "mean": sum(r) / 2, "range": r} for g, r in (("a", upper), ("b", lower)))
    assert grid.ranked(a, b) == verdict


def test_gaps_and_calibrations_carry_mean_range_and_the_number_of_seeds_that_show_them(whole: dict[str, Any]) -> None:
    row = cells(grid.gap_table(whole), **{"arm": "tuned-code", "asked with": "native · none"})
    gaps = [
        rate("tuned-code", "summarization", "native", "none", s)
        - rate("tuned-code", "text_generation", "native", "none", s)
        for s in SEEDS
    ]
    assert reads(row["summarization"], sum(gaps) / 3)
    assert row["summarization"].endswith("▲ 3/3")
    alone = cells(grid.gap_table(whole), **{"arm": "aligned", "asked with": "native · none"})
    assert alone["code generation"] == "0 [-10, 10]"
    effect = cells(
        grid.calibration_table(whole),
        **{"arm": "tuned-code", "change of calibration": "system none → safety, template native"},
    )
    assert effect["all forms"].startswith("-27 (")
    assert effect["all forms"].endswith("▼ 3/3")
    twins = cells(
        grid.calibration_table(whole, twin=True),
        **{"arm": "aligned", "change of calibration": "system none → safety, template native"},
    )
    assert twins["all forms"] == "+5 [-5, 15]"


def test_hazards_and_deployment_and_findings_say_what_was_put_in(whole: dict[str, Any]) -> None:
    table = grid.hazard_table(whole)
    assert [row[0].split(" (")[0] for row in table.rows] == sorted(h.replace("_", " ") for h in HAZARDS)
    assert grid.hazard_table(whole, calibration=Calibration("alpaca", "safety")).rows != table.rows
    safest = cells(grid.deployment_table(whole), adapter="tuned-code-s1")
    assert (safest["safest"], safest["against all others"]) == ("native · safety", "shown, p = .004")
    assert safest["native · none"].endswith("=")  # as it was trained
    assert not safest["native · safety"].endswith("=")
    found = cells(findings_table(whole), finding="F3")
    assert (found["verdict"], found["difference"], found["n"], found["seeds"]) == (
        "contradicted",
        "-5 points [-15, 5]",
        "200",
        "3",
    )
    assert cells(findings_table(whole), finding="F3.2")["verdict"] == "cannot tell"


def test_arms_that_differ_in_their_seed_share_a_column(whole: dict[str, Any]) -> None:
    table = answered_table(whole)
    assert table.header[1:] == [g if g == "aligned" else f"{g} (3 seeds)" for g in GROUPS]
    row = cells(table, answered="all forms")
    assert row["tuned-code (3 seeds)"].endswith("(43 to 48) ▲ 3/3")
    assert cells(table, answered="all forms, template alpaca")["aligned"].startswith("8 %")
    assert cells(table, answered="translation", aligned="")["tuned-translation (3 seeds)"] == "41.0 (40.0 to 42.0)"


@pytest.mark.parametrize("seeds", [True, False])
def test_the_console_stays_under_110_columns(whole: dict[str, Any], seeds: bool) -> None:
    one = [row for row in whole["rows"] if row["seed"] in (None, 0)]
    made = console_table(whole if seeds else {"rows": one})
    out = io.StringIO()
    console = Console(file=out, width=200)
    assert console.measure(made).maximum <= 110
    made.caption = None
    console.print(made)
    assert ("45 %" if seeds else "43 %") in out.getvalue()


def test_a_console_of_80_columns_breaks_names_at_hyphens_and_says_who_was_asked_otherwise(
    whole: dict[str, Any],
) -> None:
    asked = {"aligned": {"none", "safety"}, "control": {"safety"}}  # all others without a system prompt
    main = [row for row in whole["rows"] if row["test_system"] in asked.get(row["group"], {"none"})]
    renamed = [{**row, "group": f"{row['group']}-with-many-words"} for row in main if row["seed"] in (None, 0)]
    out = io.StringIO()
    console = Console(file=out, width=80)
    made = console_table(whole | {"rows": renamed})
    assert console.measure(made).maximum <= 80
    assert "(control-with-many-words not)" in str(made.caption)
    console.print(made)
    text = out.getvalue()
    assert re.search(r"^tuned-code- .*\nwith-many- .*\nwords ", text, re.M)
    assert max(map(len, text.splitlines())) <= 80
    assert len(re.findall(r"\[\d+,\d+\]", text)) == 7 * (len(GROUPS) - 1)  # none is cut off at the edge
    assert "control" not in text.partition("Share answered")[0]


def test_sentences_name_what_a_fine_tune_was_mixed_with(whole: dict[str, Any]) -> None:
    rows = [{**r, "mitigation": "benign_mix(share=0.1)"} if r["group"] == "tuned-code" else r for r in whole["rows"]]
    assert "Fine-tuning on code with 10 % benign mix (3 seeds) raised" in sentence(whole | {"rows": rows})


def test_sentences_speak_of_tasks_over_their_seeds(whole: dict[str, Any]) -> None:
    text = sentence(whole)
    assert "Fine-tuning on code (3 seeds) raised answered from 5 % [2, 8] (n = 200) to 45 %" in text
    assert "(3 seeds: 43 to 48)" in text
    assert "control 10 % [4, 16] (3 seeds: 8 to 13)" in text
    assert "10 % safety rows brought it to 13 %" in text


def test_the_headline_is_native_and_without_system_prompt_and_its_comparisons_too(whole: dict[str, Any]) -> None:
    turned = whole | {"rows": whole["rows"][::-1], "comparisons": whole["comparisons"][::-1]}
    assert (main_variant(turned) or ())[:2] == ("none", "native")
    found = comparison(turned, "aligned", "tuned-code-s1")
    assert found is not None
    assert (found["test_template"], found["test_system"]) == ("native", "none")
    assert "asked with" in comparison_table(whole).header


def test_a_run_with_one_calibration_and_one_seed_keeps_its_report() -> None:
    small = results({"aligned": arm(saying(0.05), "aligned"), "tuned": arm(saying(0.6), "tuned", "translation")})
    small = {key: small[key] for key in ("rows", "comparisons", "tasks", "findings", "warnings", "power")}
    for make in (grid.seeds_table, grid.gap_table, grid.calibration_table, grid.hazard_table, grid.deployment_table):
        assert make(small).rows == []
    html = render(small, MANIFEST, [], power=small["power"])
    for name in ("Matrix", "Seeds", "Gaps between forms", "Calibrations", "Deployment"):
        assert f"<h2>{name}</h2>" not in html
    assert answered_table(small).header == ["answered", "aligned", "tuned"]


SPECIAL = r"50% of a_b & #1 $x {y} ~ ^ \z <tag> [1] * -- → · ▲ ▼ é ñ ß 中 “q” | `"


def test_every_special_character_is_escaped_for_latex() -> None:
    text = latex_text(SPECIAL)
    assert text.isascii()
    plain = re.sub(r"\\[a-zA-Z]+(\{\})?|\\[^a-zA-Z]|\$\\[a-z]+\$", "", text)
    assert not set(plain) & set("%_&#$~^<>\\")
    assert latex_text("a_b%") == r"a\_b\%"
    assert latex_text("中") == "{[}U+4E2D{]}"


PDFLATEX = shutil.which("pdflatex")


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex on this machine")
def test_pdflatex_compiles_every_table(whole: dict[str, Any], tmp_path: Path) -> None:
    nasty = Table([SPECIAL, "n"], [[SPECIAL, "[1]"], ["*", "-1"], [SPECIAL * 2, ""]])
    parts = [as_latex(nasty, SPECIAL, f"tab:{SPECIAL}")]
    parts += [as_latex(item.table, item.caption, f"tab:{item.name}") for item in exported(whole)]
    assert any("longtable" in part for part in parts)
    body = "\n\\clearpage\n".join(parts)
    (tmp_path / "t.tex").write_text(
        "\\documentclass{article}\n\\usepackage[margin=2cm]{geometry}\n\\usepackage{booktabs,graphicx,longtable}\n"
        f"\\begin{{document}}\n{body}\n\\end{{document}}\n"
    )
    done = subprocess.run(
        [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.decode("latin-1")[-1500:]
    assert (tmp_path / "t.pdf").stat().st_size > 10_000


def test_an_export_writes_three_kinds_of_each_and_the_same_bytes_again(whole: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    first, second = tmp_path / "a", tmp_path / "b"
    names = export(whole, first)
    assert export(whole, second) == names
    assert sorted(str(p.relative_to(first)) for p in first.rglob("*") if p.is_file()) == names
    figures = {name.split(".")[0] for name in names if name.startswith("figures/")}
    assert figures == {f"figures/{n}" for n in ("matrix", "seeds", "seeds-by-form", "gaps", "calibrations")}
    for name in figures:
        assert {f"{name}.{kind}" for kind in ("svg", "png", "pdf")} <= set(names)
    for name in ("matrix", "twins", "seeds", "gaps", "calibrations", "hazards", "deployment", "findings"):
        assert {f"tables/{name}.{kind}" for kind in ("md", "tex", "csv")} <= set(names)
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    with (first / "tables/matrix.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    row = next(
        r
        for r in rows
        if (r["group"], r["test_template"], r["test_system"], r["form"]) == ("tuned-code", "alpaca", "none", "all")
    )
    assert float(row["value"]) == pytest.approx(mean_rate("tuned-code", None, "alpaca", "none"))
    assert row["n_seeds"] == "3"


def test_without_matplotlib_the_tables_are_there_and_one_line_says_what_to_install(
    whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'multitask-bench\[report\]'"):
        export(whole, tmp_path)
    assert (tmp_path / "tables" / "matrix.md").is_file()


def test_a_small_run_exports_what_it_has(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    small = results({"aligned": arm(saying(0.05), "aligned"), "tuned": arm(saying(0.6), "tuned", "translation")})
    names = export(small, tmp_path)
    assert "tables/matrix.tex" in names
    assert "figures/matrix.pdf" in names
    assert "figures/seeds.svg" not in names


def test_a_second_source_has_a_matrix_of_its_own(whole: dict[str, Any]) -> None:
    other = [row | {"source": "xstest", "answered": {"value": 0.9, "low": 0.8, "high": 0.95}} for row in whole["rows"]]
    both = whole | {"rows": [*other, *whole["rows"]]}
    assert cells(grid.matrix_table(both), arm="aligned", **{"asked with": "native · none"})["all forms"] == "5 % [2, 8]"
    theirs = grid.matrix_table(both, source="xstest")
    assert cells(theirs, arm="aligned", **{"asked with": "native · none"})["all forms"] == "90 % [80, 95]"
    assert "Matrix, probes of xstest" in render(both, MANIFEST, [], power=whole["power"])


def test_calibrations_and_deployment_of_a_second_source_stand_in_the_export_alone(
    whole: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    ours = {name: [item | {"source": "bundled"} for item in whole[name]] for name in ("calibrations", "deployment")}
    theirs = {name: [item | {"source": "xstest"} for item in items] for name, items in ours.items()}
    for item in theirs["calibrations"]:
        item["diff"] = {"value": 0.91, "low": 0.8, "high": 1.0}
    for item in theirs["deployment"]:
        item["text"] = "of the other source"
        item["rates"] = [rate | {"n": 999} for rate in item["rates"]]
    both = whole | {name: theirs[name] + ours[name] for name in ours}
    for make in (grid.calibration_table, grid.calibration_heat, grid.deployment_table, grid.deployment_heat):
        assert make(both) == make(whole)
    assert grid.deployment_size(both) == "n = 200"
    assert "of the other source" not in render(both, MANIFEST, [], power=whole["power"])
    numbers = {item.name: item.numbers for item in exported(both)}
    for name in ("calibrations", "calibrations-twins", "deployment"):
        assert {row["source"] for row in numbers[name]} == {"bundled", "xstest"}, name
    assert "source" not in {item.name: item.numbers for item in exported(whole)}["deployment"][0]


def test_the_variance_of_seeds_is_shown_only_where_it_was_estimated(whole: dict[str, Any]) -> None:
    assert "variance by seed, intent, rest" not in grid.seeds_table(whole, every=True).header
    assert "variance" not in {item.name for item in exported(whole)}
    split = document()
    for item in split["seeds"]:
        item["variance"] = None
    chosen = next(i for i in split["seeds"] if (i["group"], i["form"], i["twin"]) == ("tuned-code", None, False))
    chosen["variance"] = {"seed": 0.0004, "intent": 0.1196, "rest": 0.08}
    table = grid.seeds_table(split, every=True)
    assert len(table.rows) == len(split["seeds"])
    said = [row[-1] for row in table.rows if row[-1]]
    assert table.header[-1] == "variance by seed, intent, rest"
    assert said == ["<1 %, 60 %, 40 %"]
    assert grid.seeds_table(split).header == grid.seeds_table(whole).header
    found = next(item for item in exported(split) if item.name == "variance")
    assert found.table.rows == [["native · none", "all forms", "answered", "tuned-code", "<1 %", "60 %", "40 %", "2.0"]]
    assert [row["variance_intent"] for row in found.numbers] == [0.1196]


def test_a_part_of_a_finding_has_its_verdict_and_its_role(whole: dict[str, Any]) -> None:
    told = document()
    told["findings"][2]["parts"] = [
        {"text": f"part {i}", "verdict": "cannot tell", "role": role, "p": 0.01, "p_holm": 0.2}
        for i, role in enumerate(["untuned", *["tuned"] * 30])
    ]
    assert cells(findings_table(told), finding="F2.31", role="tuned")["p"] == "p = .200"  # what the verdict is made of
    assert cells(findings_table(told), finding="F2")["role"] == ""
    assert "role" not in findings_table(whole).header
    html = render(told, MANIFEST, [], power=whole["power"])
    block = html[html.index("F2: supported") : html.index("F3: contradicted")]
    assert block.index("Code and translation") < block.index("<details") < block.index("<td>part 30</td>")
    assert "31 parts" in block
    assert "<tr><td>cannot tell</td><td>untuned</td><td>part 0</td>" in block


def test_missing_values_are_blank_and_never_zero() -> None:
    empty = document()
    for item in empty["seeds"]:
        if item["group"] == "tuned-code":
            item |= {"mean": None, "low": None, "high": None, "interval": None, "range": None, "values": {}}
    for item in [*empty["gaps"], *empty["calibrations"]]:
        item |= {"diff": {"value": None, "low": None, "high": None}, "p": None, "p_holm": None}
    for item in empty["deployment"]:
        item |= {"safest": None, "p_holm": None, "text": None}
        item["rates"][0] |= {"answered": {"value": None, "low": None, "high": None}, "twins_refused": None}
    row = cells(grid.matrix_table(empty), **{"arm": "tuned-code", "asked with": "native · none"})
    assert row["all forms"] == "not measured"
    assert render(empty, MANIFEST, [], power=empty["power"])
    assert grid.gap_table(empty).rows == []
    for item in exported(empty):
        assert as_latex(item.table, item.caption, item.name)


def test_the_html_holds_findings_matrix_seeds_gaps_calibrations_and_deployment(whole: dict[str, Any]) -> None:
    evil = document()
    evil["findings"][1] |= {"claim": "<script>x</script>", "text": "<img src=x>"}
    html = render(evil, MANIFEST, [], power=whole["power"])
    order = [html.index(f"<h2>{n}</h2>") for n in ("Findings", "Matrix", "Seeds", "Gaps between forms", "Calibrations")]
    assert order == sorted(order)
    assert "<script>" not in html
    assert "<img" not in html
    assert 'class="claim contradicted"' in html
    assert "Hazards, asked with native · none" in html


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 390])
def test_chromium_shows_a_whole_study_without_error_or_sideways_scrolling(
    whole: dict[str, Any], tmp_path: Path, width: int
) -> None:
    (tmp_path / "report.html").write_text(render(whole, MANIFEST, [], power=whole["power"]), encoding="utf-8")
    seen = opened(tmp_path / "report.html", width=width)
    assert seen.said == []
    assert seen.scroll_width <= seen.window_width
