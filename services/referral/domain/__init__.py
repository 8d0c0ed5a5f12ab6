"""The rules of referral. Read state first (what a case is; `meetings` packs what it knows of them), then referrals,
attendance, risks; view is what people read."""

from services.referral.domain.attendance import attend
from services.referral.domain.referrals import answer, end, publish_run, refer, start, withdraw
from services.referral.domain.risks import due, react
from services.referral.domain.state import Case, Run, evolve
from services.referral.domain.view import view

__all__ = [
    "Case",
    "Run",
    "answer",
    "attend",
    "due",
    "end",
    "evolve",
    "publish_run",
    "react",
    "refer",
    "start",
    "view",
    "withdraw",
]
