"""What is tested here stands by itself: no stack that is up, no import that somebody made, no setting."""

from pathlib import Path

import pytest

import deploy.commands.import_
import deploy.local.announced


@pytest.fixture(scope="session")
def nowhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder in which nothing is."""
    return tmp_path_factory.mktemp("nowhere")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, nowhere: Path) -> None:
    """A dry run looks at what is remembered on this machine."""
    for name in (*deploy.local.announced.NAMES, "LOTSE_KAFKA_SECURITY", "LOTSE_PUBLISHERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(deploy.local.announced, "RUNNING", nowhere / "running.json")
    monkeypatch.setattr(deploy.commands.import_, "STATE", nowhere)
