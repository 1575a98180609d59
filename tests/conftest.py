"""No test reaches a model hub, or the user's cache."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["INSPECT_EVAL_LOG_FILE_PATTERN"] = "{task}_{id}"

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("timeless", deadline=None)  # a timing never decides a test
settings.load_profile("timeless")


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("MTB_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests import tiny

    return tiny.model(tmp_path_factory.mktemp("tiny") / "base")
