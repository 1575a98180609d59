"""`mtb audit` on a run folder: what it prints, writes and refuses."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from multitask_bench.audit.folder import read_draw, read_labels
from multitask_bench.cli.main import app
from multitask_bench.errors import ConfigError, DataError
from multitask_bench.records import read_json
from multitask_bench.study.folder import sum_up
from tests.audit.runs import label_all, two_arms
from tests.audit.test_page import request
from tests.runs import write_logs, write_run


@pytest.fixture(scope="module")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("audit") / "run", two_arms())


@pytest.fixture
def run(made_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(made_run, tmp_path / "run")
    return tmp_path / "run"


def mtb(*args: object) -> str:
    """Its output; what it raises is the one line that `main` prints before it exits with 2."""
    done = CliRunner().invoke(app, [str(one) for one in args], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_export_fill_in_import_corrects_results_and_report(run: Path, tmp_path: Path):
    out = tmp_path / "answers.jsonl"
    said = mtb("audit", run, "--export", out)
    assert "drawn: 50 answers of 2 arms; questions: 15 of 150 probes, 10 of 150 twins" in said
    draw = read_draw(run)
    assert draw is not None
    label_all(tmp_path, draw, two_arms(), name="filled")
    labels = {label.answer: label.label for label in read_labels(tmp_path, "filled")}
    notice, *rows = out.read_text(encoding="utf-8").splitlines()
    filled = [{**json.loads(row), "label": labels[json.loads(row)["id"]]} for row in rows]
    out.write_text("\n".join([notice, *map(json.dumps, filled)]), encoding="utf-8")
    assert "50 labels by anna (person) taken over" in mtb(
        "audit", run, "--import", out, "--labeller", "anna", "--by", "person"
    )
    results = read_json(run / "results.json")
    assert results["corrections"]["basis"] == "audit"
    total = next(c for c in results["comparisons"] if (c["form"], c["twin"]) == ("all", False))
    assert total["diff_corrected"]["low"] < total["diff_corrected"]["value"] < total["diff_corrected"]["high"]
    assert "labelled by a person" in (run / "report.html").read_text(encoding="utf-8")


def test_ctrl_c_keeps_the_labels_and_computes_the_rates(run: Path):
    # A shell starts what it puts into the background deaf to Ctrl-C, and so the tests and their children.
    hears = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{hears}; from multitask_bench.cli.main import main; main()"
    command = [sys.executable, "-u", "-c", code, "audit", str(run), "--labeller", "anna"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = next(found[0] for line in process.stdout if (found := re.search(r"http://\S+", line)))
    item = json.loads(request(url, "state")[2])["item"]
    assert request(url, "label", {"answer": item["id"], "label": "refused"})[0] == 200
    with pytest.raises(ConfigError, match="another mtb is at work"):
        mtb("audit", run, "--labeller", "anna")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "anna (person): 1 of 50 labelled" in out
    assert "no label corrects anything" in out


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--show"], "nothing was drawn yet"),
        (["--import", "x.jsonl"], "needs --by person or --by model"),
        (["--by", "robot"], "--by robot: person or model"),
        (["--show", "--use", "anna"], "one at a time"),
        (["--arm", "tund"], "has no such arm"),
    ],
)
def test_mistakes_are_one_line(run: Path, args: list[str], said: str):
    with pytest.raises(ConfigError, match=said) as told:
        mtb("audit", run, *args)
    assert "\n" not in str(told.value)


def test_a_run_whose_logs_changed_says_so_until_it_is_drawn_again(run: Path, tmp_path: Path):
    made = two_arms()
    mtb("audit", run, "--export", tmp_path / "a.jsonl")
    draw = read_draw(run)
    assert draw is not None
    label_all(run, draw, made)
    entries = [e._replace(answer=f"{e.answer}!") if e.arm == "base" else e for e in made.entries]
    for path in (run / "logs").iterdir():
        path.unlink()
    write_logs(run, made._replace(entries=entries))
    sum_up(run)
    results = read_json(run / "results.json")
    assert results["warnings"][0].startswith("the audit is stale: answers in the logs have changed")
    assert all(row["correction"].get("basis") != "audit" for row in results["rows"])
    with pytest.raises(DataError, match="stale"):
        mtb("audit", run, "--export", tmp_path / "b.jsonl")
    assert "drawn: 50" in mtb("audit", run, "--fresh", "--export", tmp_path / "b.jsonl")
