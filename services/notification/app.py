"""Notification: it learns risks from `dropout`, tells offices by mail, and owns the facts of `notification`."""

from functools import partial
from typing import Any

import contracts.notification
from contracts.dropout import DropoutRiskContinued, DropoutRiskRaised, DropoutRiskWithdrawn
from contracts.envelope import Fact, Recorded
from contracts.notification import NotificationAttempted
from services.host.settings import BadSettings, loaded
from services.notification import api, domain, projection
from services.notification.mail import Post
from services.notification.organisations import BadOrganisations, MailSettings, load_mailboxes
from services.runtime.service import Errand, Service


def uncertain(attempt: Recorded) -> Fact:
    """The fact for an attempt nobody knows the end of."""
    assert isinstance(attempt.fact, NotificationAttempted)
    return domain.uncertain(attempt.fact)


def too_old(attempt: Recorded) -> Fact:
    """The fact for an attempt that waited too long to be true."""
    assert isinstance(attempt.fact, NotificationAttempted)
    return domain.failed(attempt.fact, "TOO_OLD")


def service() -> Service:
    """The declaration the runtime walks by. Raises BadSettings."""
    settings = loaded(MailSettings)
    try:
        mailboxes = load_mailboxes(settings.organisations)
    except BadOrganisations as bad:
        raise BadSettings(f"LOTSE_ORGANISATIONS: {bad}. Way out: mend the file.") from None

    async def note(con: Any) -> list[str]:
        return await projection.findings(con, mailboxes)

    return Service(
        "notification",
        states={"office": domain.Office},
        learns=(DropoutRiskRaised, DropoutRiskContinued, DropoutRiskWithdrawn),
        owns=(contracts.notification,),
        evolve=domain.evolve,
        react=domain.react,
        due=partial(domain.due, mailboxes=mailboxes),
        view=domain.view,
        tables=projection.TABLES,
        routes=api.routes,
        errand=Errand(
            NotificationAttempted,
            attempts=partial(domain.attempts, mailboxes=mailboxes),
            perform=Post(settings, mailboxes).perform,
            uncertain=uncertain,
            too_old=too_old,
        ),
        note=note,
    )
