"""What changed from release to release, as one reads it who publishes or subscribes: docs/contracts/CHANGELOG.md."""

from collections.abc import Iterator

from deploy.published.beside import told
from deploy.published.comparing import member
from deploy.published.gate import changes_of, orders
from deploy.published.pages import kept
from deploy.published.released import NOTHING, Release, State

HEAD = """# What changed

Generated from `contracts/released/` by `lotse contracts release`. What a release says stays: fields, codes and types are
added, never renamed, narrowed or taken away; a type that must break stands beside the old one as `.v2`. Say what you rely
on, and you are asked before it changes: `contracts/expectations/README.md`.
"""
SIDES = {
    "If you publish": ("submission", "answer", "attributes"),
    "If you subscribe": ("fact", "report", "answer", "time", "attributes"),
}


def changelog(cut: list[Release]) -> str:
    """The whole page, the newest release first."""
    before = [NOTHING, *(release.state for release in cut)]
    entries = [entry(release, old) for release, old in zip(cut, before, strict=False)]
    return "\n".join([HEAD, *(reversed(entries) or ()), *([] if cut else ["Nothing is released yet.\n"])])


def entry(release: Release, old: State) -> str:
    """One release: its note, what it brings to either side, and who goes first."""
    parts = [f"## Release {release.number}, {release.on.isoformat()}"]
    if release.note:
        parts.append(release.note)
    for side, kinds in SIDES.items():
        lines = [line for ce_type in release.state.types if release.state.topic_of(ce_type)["kind"] in kinds
                 for line in _of_type(ce_type, old, release.state)]  # fmt: skip
        if lines:
            parts.append("\n".join([f"**{side}**", "", *lines]))
    topics = [f"- `{name}`: {topic['kind']}, {topic['writer'].strip('{}')} writes, kept {kept(topic['retention.ms'])}"
              for name, topic in release.state.topics.items() if name not in old.topics]  # fmt: skip
    if topics:
        parts.append("\n".join(["**New topics**", "", *topics]))
    lists = [line for name in release.state.lists for line in _of_list(name, old, release.state)]
    if lists:
        parts.append("\n".join(["**Code lists**", "", *lists]))
    reasons = [line for name in release.state.topics for line in _of_reasons(name, old, release.state)]
    if reasons:
        parts.append("\n".join(["**Reasons of answers**", "", *reasons]))
    retold = [
        f"- {what}{f' `{change.at}`' if change.at else ''}: {change.what}" for what, change in told(old, release.state)
    ]
    if retold:
        parts.append("\n".join(["**Said otherwise**", "", *retold]))
    if old is not NOTHING:
        first = [
            f"- `{one.what}`: first {one.first}; then {one.then}. For {one.why}."
            for one in orders(old, release.state, [])
        ]
        if first:
            parts.append("\n".join(["**Who goes first**", "", *first]))
    return "\n\n".join(parts) + "\n"


def _of_type(ce_type: str, old: State, now: State) -> Iterator[str]:
    schema = now.types[ce_type]
    if ce_type not in old.types:
        sentence = " ".join(schema.get("description", "").split("\n\n")[0].split())
        yield f"- `{ce_type}`: new. {sentence}".rstrip()
        return
    for change in changes_of(ce_type, old, now):
        sentence = ""
        if change.rule in ("ADDED", "REQUIRED") and change.at.startswith("/"):
            sentence = " ".join(((member(schema, change.at) or {}).get("description", "")).split())
        yield f"- `{ce_type}` `{change.at or '/'}`: {change.what}. {sentence}".rstrip()


def _of_list(name: str, old: State, now: State) -> Iterator[str]:
    codes = now.lists[name]["codes"]
    if name not in old.lists:
        yield f"- `{name}`: new, {len(codes)} codes"
        return
    was = old.lists[name]["codes"]
    come = [code for code in codes if code not in was]
    ended = [f"{code} until {days[1]}" for code, days in codes.items() if code in was and days != was[code] and days[1]]
    said = [f"{what}: {', '.join(of)}" for what, of in (("added", come), ("ending", ended)) if of]
    if said:
        yield f"- `{name}`: {'; '.join(said)}"


def _of_reasons(name: str, old: State, now: State) -> Iterator[str]:
    was = old.topics.get(name, {}).get("reasons")
    come = [
        f"{reason} ({again})"
        for reason, again in now.topics[name].get("reasons", {}).items()
        if was is not None and reason not in was
    ]
    if come:
        yield f"- `{name}`: added: {', '.join(come)}"
