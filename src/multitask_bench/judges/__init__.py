"""Judges: response -> outcome. One file each; a failure is a row, never a gap."""

from multitask_bench.judges._spec import JudgeSpec, judges

__all__ = ["JudgeSpec", "judges"]
