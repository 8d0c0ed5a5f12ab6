"""What people read of a case that no single fact says."""

from datetime import date
from typing import Any

from contracts.codes import Rule
from services.referral.domain.risks import absences, s2_holds_from_on, s6_held_from_on
from services.referral.domain.state import Case, Run

S2, S6 = Rule.S2.value, Rule.S6.value  # plain text: a member of an enumeration takes a microsecond to be written


def view(case: Case | Run) -> dict[str, list[tuple[Any, ...]]]:
    """Rows of referral_board, participation_list and risk_list: always all rows of the case."""
    if isinstance(case, Run):
        return {}
    return {
        "referral_board": [
            (id, case.id, case.tenant, r.run_id, r.provider_organisation_id, case.owner_of(r), r.block, r.state, r.reason or None,
             r.requested_on, r.planned_start_on)
            for id, r in case.referral.referrals.items()
        ],
        "participation_list": [
            (id, p.referral_id, case.id, case.tenant, r.run_id, r.block, p.start.on if p.start else None, p.ended_before_on,
             p.end.kind if p.end else None, id in case.dropout.dropped_out)
            for id, p, r in case.courses()
        ],
        "risk_list": [*_s2_rows(case), *_s6_rows(case)],
    }  # fmt: skip


def _s2_rows(case: Case) -> list[tuple[Any, ...]]:
    """A row a participation with any attendance: the first course day from which S2 ever held in the days as known now, and whether
    a risk is open in the facts, and since when: she may have come again in between."""
    return [
        (id, S2, case.id, case.tenant, id, participation.referral_id, referral.run_id,
         s2_holds_from_on(absences(case, id, participation, referral), referral.offer_type),
         case.dropout.raised.get(f"{S2}:{id}", 0), (since := _open_since(case, id, S2)) is not None, case.owner_of(referral), since)
        for id, participation, referral in case.courses()
        if id in case.attendance.sheets
    ]  # fmt: skip


def _s6_rows(case: Case) -> list[tuple[Any, ...]]:
    """A row a referral about which S6 was ever raised: the day from which it holds in the days as known now, if it does, and
    whether it is open in the facts."""
    return [
        (id, S6, case.id, case.tenant, None, id, referral.run_id, s6_held_from_on(case, id, referral),
         case.dropout.raised[f"{S6}:{id}"], (since := _open_since(case, id, S6)) is not None, case.owner_of(referral), since)
        for id, referral in case.referral.referrals.items()
        if f"{S6}:{id}" in case.dropout.raised
    ]  # fmt: skip


def _open_since(case: Case, about: str, rule: str) -> date | None:
    """The first day of the risk that is open, if one is."""
    return next((risk.first_on for risk in case.dropout.open if (risk.about, risk.rule) == (about, rule)), None)
