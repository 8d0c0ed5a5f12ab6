"""Reporting: it learns cases and participations, and releases figures at ticks; it owns no facts."""

from contracts.intake import CaseOpened
from contracts.referral import ParticipationEnded, ParticipationStarted
from contracts.topics import REPORT
from services.reporting import api, domain, projection
from services.runtime.service import Reports, Service


def service() -> Service:
    """The declaration the runtime walks by."""
    return Service(
        "reporting",
        states={"case": domain.Case},
        learns=(CaseOpened, ParticipationStarted, ParticipationEnded),
        owns=(),
        evolve=domain.evolve,
        view=domain.view,
        tables=projection.TABLES,
        routes=api.routes,
        reports=Reports(
            REPORT, take=projection.take, learn=projection.learn, known=projection.known, table=projection.RELEASE
        ),
    )
