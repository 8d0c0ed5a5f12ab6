"""publishers.toml and organisations.toml: can they be read, and do they say what they must?"""

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
        yield found("publishers", str(bad), "no service starts with it", f"${{EDITOR:-vi}} {place.publishers}")
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
        yield found("organisations", str(bad), "notification does not start with it",
                    f"${{EDITOR:-vi}} {place.organisations}")  # fmt: skip
        return
    yield good("organisations", f"{len(known)} organisations with a mailbox")
