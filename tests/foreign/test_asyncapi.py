"""The official parser reads our AsyncAPI document without error or warning, and says so where we break it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.places import ROOT
from deploy.published.asyncapi import as_yaml, document
from tests.foreign.tools import script

ERROR, WARNING, REMARK = 0, 1, 2


def parsed(*files: Path) -> list[dict[str, Any]]:
    """What the parser says of each document."""
    done = script("asyncapi.mjs", *files)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_official_parser_reads_the_document_without_error_or_warning() -> None:
    (found,) = parsed(ROOT / "contracts" / "asyncapi.yaml")
    # the only remark is that a version 3.1.0 exists
    assert found["said"] == [[REMARK, "asyncapi-latest-version", "asyncapi"]]
    ours = document()
    assert (found["channels"], found["messages"]) == (len(ours["channels"]), len(ours["components"]["messages"]))


def no_channel(broken: dict[str, Any]) -> None:
    next(iter(broken["operations"].values()))["channel"]["$ref"] = "#/channels/nowhere"


def no_action(broken: dict[str, Any]) -> None:
    next(iter(broken["operations"].values()))["action"] = "publish"


def no_schema(broken: dict[str, Any]) -> None:
    next(iter(broken["components"]["messages"].values()))["payload"]["type"] = "record"


def no_partitions(broken: dict[str, Any]) -> None:
    next(iter(broken["channels"].values()))["bindings"]["kafka"]["partitions"] = 0


DAMAGES: list[Callable[[dict[str, Any]], None]] = [no_channel, no_action, no_schema, no_partitions]


def test_the_official_parser_says_so_where_the_document_is_broken(tmp_path: Path) -> None:
    """What it does not look at (examples against schemas) is held by the tests of the samples."""
    files = []
    for damage in DAMAGES:
        broken: dict[str, Any] = json.loads(json.dumps(document()))
        damage(broken)
        files.append(tmp_path / f"{damage.__name__}.yaml")
        files[-1].write_text(as_yaml(broken))
    unnoticed = [
        file.stem
        for file, found in zip(files, parsed(*files), strict=True)
        if not any(severity in (ERROR, WARNING) for severity, *_ in found["said"])
    ]
    assert unnoticed == []
