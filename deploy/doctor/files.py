"""publishers.toml, organisations.toml, the operations key: can they be read, and do they say what they must?"""

import json
from collections.abc import Iterator

from contracts.topics import BadPublishers, load_publishers
from deploy.doctor.place import Place
from deploy.doctor.said import Said, found, good, not_checked
from services.notification.organisations import BadOrganisations, load_mailboxes


def publishers(place: Place) -> Iterator[Said]:
    """Who may publish, for whom."""
    if place.publishers is None:
        yield found("publishers", "LOTSE_PUBLISHERS is not set", "no service starts without it",
                    "export LOTSE_PUBLISHERS=/path/to/publishers.toml")  # fmt: skip
        return
    try:
        known = load_publishers(place.publishers)
    except BadPublishers as bad:
        yield found("publishers", f"{place.publishers}: {bad}", "no service starts with it",
                    f"${{EDITOR:-vi}} {place.publishers}")  # fmt: skip
        return
    if not known:
        yield found("publishers", f"{place.publishers}: names no publisher", "nobody may send anything",
                    f"${{EDITOR:-vi}} {place.publishers}   # deploy/examples/publishers.toml shows how")  # fmt: skip
    else:
        yield good("publishers", f"{len(known)} publishers: {', '.join(sorted(known))}")


def organisations(place: Place) -> Iterator[Said]:
    """Where offices read their mail."""
    if place.services and "notification" not in place.services:
        return
    if place.organisations is None:
        if "notification" in place.services:
            yield found("organisations", "LOTSE_ORGANISATIONS is not set", "notification does not start without it",
                        "export LOTSE_ORGANISATIONS=/path/to/organisations.toml")  # fmt: skip
        else:
            yield not_checked("organisations", "LOTSE_ORGANISATIONS is not set")
        return
    try:
        known = load_mailboxes(place.organisations)
    except BadOrganisations as bad:
        yield found("organisations", f"{place.organisations}: {bad}", "notification does not start with it",
                    f"${{EDITOR:-vi}} {place.organisations}")  # fmt: skip
        return
    yield good("organisations", f"{len(known)} organisations with a mailbox")


def operations_key(place: Place) -> Iterator[Said]:
    """The public half of the operations key, to which dead letters are sealed; the private half has no business there."""
    if not place.services:
        return
    file = place.operations_key
    if file is None:
        yield found("keys", "LOTSE_OPERATIONS_KEY is not set", "no service starts without it",
                    "export LOTSE_OPERATIONS_KEY=/path/to/operations.pub.json")  # fmt: skip
        return
    try:
        key = json.loads(file.read_text("utf-8"))
        kind = key["kty"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        yield found("keys", f"{file}: {type(error).__name__}; it must be a readable JWK", "no service starts with it",
                    f"export LOTSE_OPERATIONS_KEY=...   # the public half, not {file}")  # fmt: skip
        return
    if "d" in key or kind != "EC":
        what = "holds the private half" if "d" in key else "is no EC key"
        yield found("keys", f"{file} {what} of the operations key" if "d" in key else f"{file} {what}",
                    "a service must not be able to open what it seals" if "d" in key else "no letter can be sealed to it",
                    f"export LOTSE_OPERATIONS_KEY=...   # the public half, not {file}")  # fmt: skip
    else:
        yield good("keys", "dead letters can be sealed to the operations key")
