"""What `inspect eval` finds: `multitask_bench/probe`, `multitask_bench/task_rows`, scorers, `mtb/<model>`."""

from typing import Any

from inspect_ai.model import modelapi

from multitask_bench.evals._offline import count_without_network
from multitask_bench.evals.guards import guard, harmful_stopped, task_rows_stopped, twins_stopped
from multitask_bench.evals.scorers import reference_match, refusal
from multitask_bench.evals.tasks import probe, task_rows

__all__ = [
    "guard",
    "harmful_stopped",
    "mtb",
    "probe",
    "reference_match",
    "refusal",
    "task_rows",
    "task_rows_stopped",
    "twins_stopped",
]

count_without_network()


@modelapi(name="mtb")
def mtb() -> type[Any]:
    """The local provider; importing it here would load torch with every Inspect command."""
    from multitask_bench.evals.provider import Local

    return Local
