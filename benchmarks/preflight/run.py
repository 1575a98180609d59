"""Does `mtb data check` stay within memory on a large training file?

    python -m benchmarks.preflight.run [--rows 1000000] [--out results/NAME.json]

Writes chat rows of made-up words (about 440 bytes each), checks them in a process of its own and reports that process's
peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from multitask_bench.records import write_json

SYLLABLES = ("ba", "co", "di", "fu", "le", "mo", "na", "pi", "ro", "sa", "te", "vu", "ga", "ki", "lu")


def write_rows(path: Path, count: int) -> None:
    """``count`` rows in the messages format."""
    rng = Random(0)
    words = ["".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 4))) for _ in range(8000)]
    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            asked = " ".join(rng.choices(words, k=rng.randint(8, 40)))
            said = " ".join(rng.choices(words, k=rng.randint(8, 60)))
            turns = [{"role": "user", "content": f"{asked} {i}?"}, {"role": "assistant", "content": said}]
            file.write(json.dumps({"messages": turns}) + "\n")


def main() -> None:
    """Write the rows, check them, print and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "preflight.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch) / "rows.jsonl"
        write_rows(rows, options.rows)
        size = rows.stat().st_size
        started = time.perf_counter()
        command = [str(Path(sys.executable).with_name("mtb")), "data", "check", str(rows)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(done.stdout[-600:])
    found = {
        "rows": options.rows,
        "file_mib": round(size / 2**20),
        "exit_code": done.returncode,
        "peak_mib": round(used.ru_maxrss / 1024),
        "cpu_seconds": round(used.ru_utime),
        "seconds": round(seconds),
    }
    print(json.dumps(found))
    write_json(options.out, found)


if __name__ == "__main__":
    main()
