"""Notification: it learns risks from `dropout`, tells offices by mail, and owns the facts of `notification`."""

from functools import partial
from typing import Any

from pydantic import ValidationError

import contracts.dropout
import contracts.notification
from contracts.envelope import Fact, Recorded
from contracts.notification import NotificationAttempted
from services.host.settings import BadSettings
from services.notification import api, domain, projection
from services.notification.mail import Post
from services.notification.organisations import BadOrganisations, MailSettings, load_mailboxes
from services.runtime.service import Errand, Service


def uncertain(attempt: Recorded) -> Fact:
    """The fact for an attempt nobody knows the end of."""
    assert isinstance(attempt.fact, NotificationAttempted)
    return domain.uncertain(attempt.fact)


def service() -> Service:
    """The declaration the runtime walks by. Raises BadSettings."""
    try:
        settings = MailSettings()
        mailboxes = load_mailboxes(settings.organisations)
    except ValidationError as error:
        found = error.errors(include_input=False)
        names = ", ".join(sorted(f"LOTSE_{str(item['loc'][0]).upper()} ({item['msg']})" for item in found))
        raise BadSettings(f"missing or wrong: {names}. Way out: set it in the environment of this process.") from None
    except BadOrganisations as bad:
        raise BadSettings(str(bad)) from None

    async def note(con: Any) -> list[str]:
        return await projection.findings(con, mailboxes)

    return Service(
        "notification",
        states={"office": domain.Office},
        learns=(contracts.dropout,),
        owns=(contracts.notification,),
        evolve=domain.evolve,
        react=partial(domain.react, mailboxes=mailboxes),
        due=domain.due,
        view=domain.view,
        tables=projection.TABLES,
        routes=api.routes,
        errand=Errand(NotificationAttempted, Post(settings, mailboxes).perform, uncertain),
        note=note,
    )
