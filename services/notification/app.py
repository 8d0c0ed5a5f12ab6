"""Notification: it learns risks from `dropout`, tells offices by mail, and owns the facts of `notification`."""

from functools import partial

import contracts.notification
from contracts.dropout import DropoutRiskContinued, DropoutRiskRaised, DropoutRiskWithdrawn
from contracts.notification import NotificationAttempted
from services.host.settings import BadSettings, loaded
from services.notification import api, domain, projection
from services.notification.mail import Post
from services.notification.organisations import BadOrganisations, MailSettings, load_mailboxes
from services.runtime.service import Errand, Service


def service() -> Service:
    """The declaration the runtime walks by. Raises BadSettings."""
    settings = loaded(MailSettings)
    try:
        mailboxes = load_mailboxes(settings.organisations)
    except BadOrganisations as bad:
        raise BadSettings(f"LOTSE_ORGANISATIONS: {bad}. Way out: mend the file.") from None

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
            attempts=lambda office, ticked, incomplete: domain.attempts(office, ticked, mailboxes, incomplete),
            perform=Post(settings, mailboxes).perform,
            uncertain=domain.uncertain,
            too_old=domain.too_old,
        ),
        findings=partial(projection.findings, mailboxes=mailboxes),
    )
