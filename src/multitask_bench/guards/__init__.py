"""Guards: prompt, response or both -> verdict with a score. One file each; no answer is a row, never a pass."""

from multitask_bench.guards._spec import GuardSpec, ReaderGuard, Screened, Side, Verdict, guards

__all__ = ["GuardSpec", "ReaderGuard", "Screened", "Side", "Verdict", "guards"]
