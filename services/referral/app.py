"""Referral: runs, referrals, participations and attendance come in; it owns `referral`, `attendance` and `dropout`.

It learns cases and consents from intake's facts. Read the rules in `domain/`, what people read in `projection.py`.
"""

import contracts.attendance
import contracts.dropout
import contracts.intake
import contracts.referral
from services.referral import api, domain, projection
from services.runtime.service import Service


def service() -> Service:
    """The declaration the runtime walks by."""
    return Service(
        "referral",
        states={"case": domain.Case, "run": domain.Run},
        learns=(contracts.intake,),
        owns=(contracts.referral, contracts.attendance, contracts.dropout),
        decide=(
            domain.publish_run,
            domain.refer,
            domain.withdraw,
            domain.answer,
            domain.start,
            domain.end,
            domain.attend,
        ),
        evolve=domain.evolve,
        react=domain.react,
        due=domain.due,
        view=domain.view,
        tables=projection.TABLES,
        routes=api.routes,
    )
