"""What an import asks of Kafka before it sends: whether it can, and whether it is a first one where nothing is remembered."""

import json
import re
from datetime import UTC, datetime

from contracts.topics import ANSWER_DAYS, Publisher, answers_topic, submissions_topic
from deploy.errors import REFUSED, Trouble
from deploy.feeds.log import Log, opened
from deploy.importer.store import Store
from deploy.installation import Installation
from deploy.services import cluster_id

OURS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
"""An id as a memory makes it: a UUID of version 8, which those that programs mint are not (1, 4, 5, 7); bare random bits are it once
in 64 times. So an import is told by the subject and the submission both."""


async def ready(house: Installation, publisher: Publisher, store: Store, first: bool) -> None:
    """Returns where the publisher's rows may go out; this memory is of this Kafka then. `first`: somebody said that nothing was
    imported before, or that it is meant. Raises Trouble."""
    cluster = await cluster_id(house.kafka, house.security)
    if not store.fresh:
        store.feeds(cluster)
    async with opened(house.kafka, house.security, "import") as log:
        asked = [submissions_topic(family, publisher.name) for family in publisher.families]
        answers = [answers_topic(family, publisher.name) for family in publisher.families]
        if missing := await log.missing([*asked, *answers]):
            way_out = "`lotse topics`, and the rights of this user; then start the services anew"
            if house.local:
                way_out = "end `lotse up` and start it anew: it makes them"
            raise Trouble(f"{', '.join(missing)}: not there, or not for this user; nothing was sent", way_out, REFUSED)
        if store.fresh and not first and (why := await _imported_before(log, answers)):
            raise Trouble(f"no import of {publisher.name} is remembered in {store.folder}, and {why}; nothing was sent",
                          f"bring {publisher.name}.sqlite from where it was imported before, or name that folder (LOTSE_STATE): with a new"
                          " one each person would become a second case. Where nothing was ever imported for it, or that is meant: --first",
                          REFUSED)  # fmt: skip
    store.feeds(cluster)  # of a first import only here: what was refused is of no Kafka yet


async def _imported_before(log: Log, answers: list[str]) -> str:
    """What of its answers says, or leaves open, that the publisher was imported; empty where it never was. Who sends by another
    way has answers, too: they answer other ids."""
    span = await log.span(answers)
    async for records in log.read(span):
        for record in records:
            subject, submission = record.key or b"", json.loads(record.value).get("submission_id", "")
            if OURS.fullmatch(subject.decode("utf-8", "replace")) and OURS.fullmatch(submission):
                day = datetime.fromtimestamp(record.timestamp / 1000, UTC).date()
                return f"{record.topic} answers one on {day}"
    if any(start for start, _ in span.values()):
        return f"answers older than {ANSWER_DAYS} days are gone, so nobody can tell whether it was imported then"
    return ""
