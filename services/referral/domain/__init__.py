"""The rules of referral. Read state first (what a case is), then referrals, attendance, risks; view is what people read."""

from services.referral.domain.attendance import attend
from services.referral.domain.referrals import answer, participate, publish_run, refer, withdraw
from services.referral.domain.risks import due, react
from services.referral.domain.state import Case, Run, evolve
from services.referral.domain.view import view

__all__ = [
    "Case",
    "Run",
    "answer",
    "attend",
    "due",
    "evolve",
    "participate",
    "publish_run",
    "react",
    "refer",
    "view",
    "withdraw",
]
