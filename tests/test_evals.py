"""Inspect finds our task and our provider by name, and both work without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from inspect_ai.log import read_eval_log

from multitask_bench.evals._offline import estimating


def inspect_eval(*args: str, cwd: Path) -> Path:
    command = [sys.executable, "-m", "inspect_ai", "eval", *args, "--display", "plain", "--log-dir", "logs"]
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (log,) = (cwd / "logs").glob("*.eval")
    return log


def test_the_probe_task_runs_on_any_inspect_model(tmp_path: Path) -> None:
    log = read_eval_log(
        inspect_eval("multitask_bench/probe", "--model", "mockllm/model", "-T", "intents=1", cwd=tmp_path)
    )
    assert log.status == "success"
    assert len(log.samples or []) == 10  # five forms, an intent and its twin in each
    assert {s.scores["refusal"].metadata["outcome"] for s in log.samples if s.scores} <= {
        "complied",
        "off_task",
        "incoherent",
    }


def test_inspect_calls_a_local_model_by_our_provider(tmp_path: Path, tiny_model: Path) -> None:
    args = ("--model", f"mtb/{tiny_model}", "-T", "intents=1", "-T", "forms=translation")
    log = read_eval_log(inspect_eval("multitask_bench/probe", *args, cwd=tmp_path))
    assert log.status == "success"
    assert all(s.output.usage and s.output.usage.output_tokens for s in log.samples or [])


def test_tokens_are_estimated_once_the_network_has_failed() -> None:
    calls = []

    def unreachable(text: str) -> int:
        calls.append(text)
        raise ConnectionError

    count = estimating(unreachable)
    assert [count("x" * 40), count("")] == [10, 1]
    assert len(calls) == 1
    with pytest.raises(ValueError, match="bad"):
        estimating(lambda text: int("bad"))("text")
