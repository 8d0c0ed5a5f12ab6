"""What the model of the rules expects of what the load seldom or never says."""

from pathlib import Path

import pytest

from deploy.soak.expected import Verdict, expect
from deploy.soak.journal import Journal, Place
from deploy.soak.load import LAST_DAY_TICK, PROVIDER, PUBLISHERS, Load

SENT_AT = 1_790_000_000.0  # 2026-09-21


@pytest.mark.parametrize("by", [PROVIDER, "jmd-neuss"])
def test_what_is_reported_ahead_and_what_a_stranger_says_of_a_case_is_refused(tmp_path: Path, by: str) -> None:
    load, journal = Load(3), Journal(tmp_path / "journal.jsonl")
    case, consent = load.id(), load.id()
    ahead = load.meeting(
        "north", case, load.id(), load.id(), LAST_DAY_TICK.date(), "PRESENT", 1, reported_at="2126-01-01T00:00:00Z"
    )
    sent = {
        load.say("north", "intake", "registration_submitted", case, "jmd-neuss", municipality="05162024", programme="GK",
                 owner_organisation_id="rkn-thm"): Verdict("recorded"),
        load.say("north", "intake", "need_reported", case, by, need_id=load.id(), need_type="WORK"): None,
        load.say("north", "intake", "consent_given", case, by, consent_id=consent, purpose="REFERRAL", categories=["LANGUAGE"],
                 recipients=[by], valid_from_on="2026-01-01", last_valid_on="2026-12-31"): None,
        ahead: Verdict("refused", "CLOCK_AHEAD"),
    }  # fmt: skip
    for at, meant in enumerate(sent):
        number = journal.means(meant)
        journal.sends(number, SENT_AT)
        journal.acknowledged(number, Place(meant.topic, 0, at))
    found = expect(journal.entries, PUBLISHERS, LAST_DAY_TICK)
    whose = Verdict("recorded") if by == "jmd-neuss" else Verdict("refused", "NOT_YOURS")
    assert [one.verdict for one in found.all] == [expected or whose for expected in sent.values()]
