"""Public sets for the benign fine-tuning tasks, one file each: where they are, their licence, how a row reads."""

from multitask_bench.data.task_sources._spec import TaskData, TaskSourceSpec, is_downloaded, read_task, task_sources

__all__ = ["TaskData", "TaskSourceSpec", "is_downloaded", "read_task", "task_sources"]
