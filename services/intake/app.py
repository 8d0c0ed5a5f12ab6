"""Intake: registrations, needs, consents and closures come in; it owns the facts of `intake`."""

import contracts.intake
from services.intake import api, domain, projection
from services.runtime.service import Service


def service() -> Service:
    """The declaration the runtime walks by."""
    return Service(
        "intake",
        states={"case": domain.Case},
        learns=(),
        owns=(contracts.intake,),
        decide=(domain.register, domain.report_need, domain.give_consent, domain.withdraw_consent, domain.close_case),
        evolve=domain.evolve,
        view=domain.view,
        tables=projection.TABLES,
        routes=api.routes,
    )
