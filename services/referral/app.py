"""Referral: runs, referrals, participations and attendance come in; it owns `referral`, `attendance` and `dropout`.

It learns cases and consents from intake's facts. Read the rules in `domain/`, what people read in `projection.py`.

What the runtime sees to, so that no rule has to: a submission's fact, its answer, the reactions, the rows people read and the
place read up to are one transaction. Who dies before its commit has done nothing, and the submission comes again; who dies
after it has done everything: the relay sends what was written, under the same ids, and the submission, come again, is
silent. A state is in one pair of hands at a time.
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
        learns=contracts.intake.FACTS,
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
