"""A mail as a case worker reads it: each worry told apart, each end by its reason, nothing that names a course."""

from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

import pytest

from contracts.codes import RiskEnd, Rule
from contracts.dropout import DropoutRiskRaised, DropoutRiskWithdrawn
from contracts.envelope import Attributes, Fact, Recorded
from contracts.notification import NoticeLine, NotificationAttempted
from services.notification.domain import LOTSE, Office, attempts, evolve, react, sent
from services.notification.mail import written
from services.notification.organisations import Mailbox

OWNER, START, FIRST = "rkn-thm", datetime(2026, 3, 10, 6, tzinfo=UTC), date(2026, 3, 2)
CASE, OTHER = (str(UUID(int=n)) for n in (7, 8))
GREETING = {"de": "Guten Tag,\n\n", "en": "Hello,\n\n"}


def risk(
    kind: type[Fact],
    about: int,
    at: datetime,
    case: str = CASE,
    first_on: date = FIRST,
    rule: Rule = Rule.S6,
    **more: Any,
) -> Fact:
    return kind(by=LOTSE, case_id=case, about=str(UUID(int=about)), rule=rule, first_on=first_on, owner_organisation_id=OWNER,
                as_of=at, **more)  # fmt: skip


def raised(about: int, at: datetime, **more: Any) -> Fact:
    return risk(DropoutRiskRaised, about, at, rule_version=1, days_on=(at.date(),), **more)


def over(about: int, at: datetime, reason: RiskEnd, **more: Any) -> Fact:
    return risk(DropoutRiskWithdrawn, about, at, reason=reason, **more)


def mail_of(attempt: NotificationAttempted, language: str) -> EmailMessage:
    about = Attributes(
        attempt.attempt_id, "lotse", attempt.ce_type, f"rkn:{OWNER}", attempt.as_of, "rkn", recordedtime=attempt.as_of
    )
    to = Mailbox.model_validate({"mailbox": "a@example.org", "language": language})
    return written(attempt, Recorded(about, attempt), to, "b@example.org")


def mail(*lines: dict[str, Any], language: str = "de") -> EmailMessage:
    """Of lines that say a case and a rule, else the same of all."""
    said = tuple(NoticeLine.model_validate({"kind": "WITHDRAWN", "case_id": CASE, "about": str(UUID(int=n)), "rule": "S2", "first_on": FIRST}
                                           | line) for n, line in enumerate(lines))  # fmt: skip
    return mail_of(NotificationAttempted(by=LOTSE, attempt_id=str(UUID(int=99)), lines=said, as_of=START), language)


def told(*batches: list[Fact]) -> list[NotificationAttempted]:
    """What an office is told that hears these one after the other; at a tick after each it is asked, and the mail arrives."""
    office, mails, at = Office(f"rkn:{OWNER}", "rkn"), list[NotificationAttempted](), START
    for batch in batches:
        for fact in batch:
            evolve(office, fact, "")
        while missing := react(office, at):
            for fact in missing:
                evolve(office, fact, "")
        at += timedelta(minutes=15)
        for attempt in attempts(office, at, {OWNER: object()}):
            assert isinstance(attempt, NotificationAttempted)
            mails.append(attempt)
            for fact in (attempt, sent(attempt)):
                evolve(office, fact, "")
    return mails


def test_of_two_worries_of_one_case_it_says_that_there_are_two_and_of_the_one_that_is_over_that_the_other_goes_on() -> (
    None
):
    """Accepted in two courses that begin on one day: the same line twice, and then one of it was over."""
    both, one = told([raised(1, START), raised(2, START)], [over(1, START + timedelta(minutes=15), RiskEnd.ATTENDED)])
    text = mail_of(both, "de").get_content()
    assert (
        text.count(CASE) == 1 and "in 2 Angeboten erwartet, noch nicht begonnen" in text and "diesem Fall lohnt" in text
    )
    assert mail_of(both, "de")["Subject"] == "Lotse: 2 Hinweise"
    for language, words, goes_on in (
        ("de", "Hinweis „seit dem 02.03.2026 erwartet, noch nicht begonnen“", "ein anderer Hinweis zu diesem Fall gilt weiter"),
        ("en", 'notice "expected since 2 March 2026, not started yet"', "another notice of this case still holds"),
    ):  # fmt: skip
        text = mail_of(one, language).get_content()
        assert f"{CASE}\n  {words}\n  {goes_on}\n\n" in text


def test_what_goes_on_is_what_the_office_was_told_of_and_nothing_else() -> None:
    """A worry of another case, one that is history and one that is over are none that go on. One that this very mail tells goes on
    beside what is over: no course is named, and "settled" of the same words would be read of both."""
    then, at = START + timedelta(minutes=15), START + timedelta(minutes=30)
    history = raised(5, START, first_on=date(2026, 1, 5)).model_copy(update={"days_on": (date(2026, 1, 5),)})
    _, second, third = told(
        [raised(1, START), raised(2, START), raised(3, START), raised(4, START, case=OTHER), history],
        [over(1, then, RiskEnd.ATTENDED), over(2, then, RiskEnd.ENDED), raised(6, then)],
        [over(3, at, RiskEnd.ATTENDED), over(6, at, RiskEnd.ATTENDED), over(4, at, RiskEnd.ATTENDED, case=OTHER)],
    )
    assert [(line.kind, line.others) for line in second.lines] == [("RAISED", 1), ("WITHDRAWN", 2), ("WITHDRAWN", 2)]
    assert [line.others for line in third.lines] == [None] * 3 and "others" not in third.to_json().decode()


def test_of_one_case_no_mail_says_in_the_same_words_that_it_holds_and_that_it_is_settled() -> None:
    """She comes again in one course; the provider of the other hands in absences of the same days."""
    then = START + timedelta(minutes=15)
    _, both = told([raised(1, START, rule=Rule.S2)], [over(1, then, RiskEnd.ATTENDED, rule=Rule.S2), raised(2, then, rule=Rule.S2)])  # fmt: skip
    for language, goes_on in (("de", "ein anderer Hinweis zu diesem Fall gilt weiter"), ("en", "another notice of this case still holds")):  # fmt: skip
        holds, settled = mail_of(both, language).get_content().split(CASE)[1:]
        assert goes_on not in holds and goes_on in settled


def test_a_first_day_that_was_wrong_is_one_line_and_nobody_reads_that_the_person_did_not_stay_away() -> None:
    """An older absence is handed in late."""
    then = START + timedelta(minutes=15)
    _, moved = told([raised(1, START, rule=Rule.S2)], [over(1, then, RiskEnd.CORRECTED, rule=Rule.S2), raised(1, then, rule=Rule.S2, first_on=date(2026, 2, 27))])  # fmt: skip
    assert [line.kind for line in moved.lines] == ["RAISED", "WITHDRAWN"]
    text = mail_of(moved, "de").get_content()
    assert (
        "seit dem 27.02.2026 mehrmals unentschuldigt gefehlt\n  (nicht seit dem 02.03.2026, wie wir geschrieben hatten)"
        in text
    )
    assert text.count(CASE) == 1 and "falsch" not in text and mail_of(moved, "de")["Subject"] == "Lotse: 1 Hinweis"
    # she came, and stayed away again: both are true, and both are said
    both = mail(
        {"reason": "ATTENDED"}, {"kind": "RAISED", "about": str(UUID(int=0)), "first_on": date(2026, 3, 6)}
    ).get_content()
    assert both.count(CASE) == 2 and "erledigt" in both


def test_that_a_worry_long_over_was_wrong_is_said_by_itself_although_another_of_its_course_holds_now() -> None:
    """She had come again; then a sick note came for those days, and she stayed away anew. And where the newer one moves, both."""
    at = [START + timedelta(minutes=15 * n) for n in range(4)]
    newer, moved = date(2026, 3, 6), date(2026, 3, 5)
    _, _, wrong = told([raised(1, at[0], rule=Rule.S2)], [over(1, at[1], RiskEnd.ATTENDED, rule=Rule.S2)],
                       [over(1, at[2], RiskEnd.CORRECTED, rule=Rule.S2), raised(1, at[2], rule=Rule.S2, first_on=newer)])  # fmt: skip
    _, _, both = told([raised(1, at[0], rule=Rule.S2)],
                      [over(1, at[1], RiskEnd.ATTENDED, rule=Rule.S2), raised(1, at[1], rule=Rule.S2, first_on=newer)],
                      [over(1, at[2], RiskEnd.CORRECTED, rule=Rule.S2), over(1, at[2], RiskEnd.CORRECTED, rule=Rule.S2, first_on=newer),
                       raised(1, at[2], rule=Rule.S2, first_on=moved)])  # fmt: skip
    for attempt, instead in ((wrong, False), (both, True)):
        text = mail_of(attempt, "en").get_content()
        holds, settled = text.split(CASE)[1:]
        assert ("not since 6 March 2026, as we wrote" in holds) == instead and "not since 2 March" not in text
        assert "This notice was wrong" in holds and "since 2 March 2026" in settled
        assert mail_of(attempt, "en")["Subject"] == "Lotse: 2 notices"


def test_of_two_worries_of_a_course_that_were_believed_and_wrong_both_stand_beside_what_holds() -> None:
    """She came again and stayed away anew; that the first was wrong came with the tick at which the second was told; then that moved."""
    at = [START + timedelta(minutes=15 * n) for n in range(4)]
    newer, newest = date(2026, 3, 6), date(2026, 3, 9)
    first, second, both = told(
        [raised(1, at[0], rule=Rule.S2)],
        [over(1, at[1], RiskEnd.ATTENDED, rule=Rule.S2), raised(1, at[1], rule=Rule.S2, first_on=newer),
         over(1, at[2], RiskEnd.CORRECTED, rule=Rule.S2)],
        [over(1, at[2], RiskEnd.CORRECTED, rule=Rule.S2, first_on=newer), raised(1, at[2], rule=Rule.S2, first_on=newest)],
    )  # fmt: skip
    assert [[line.kind for line in one.lines] for one in (first, second)] == [["RAISED"]] * 2
    for language, words in (
        ("de", "  (nicht seit dem 02.03.2026, wie wir geschrieben hatten)\n  (nicht seit dem 06.03.2026, wie wir geschrieben hatten)\n"),
        ("en", "  (not since 2 March 2026, as we wrote)\n  (not since 6 March 2026, as we wrote)\n"),
    ):  # fmt: skip
        made = mail_of(both, language)
        assert words in made.get_content() and made.get_content().count(CASE) == 1
        assert made["Subject"] in ("Lotse: 1 Hinweis", "Lotse: 1 notice")


RAISED, WITHOUT_A_REASON = {"kind": "RAISED"}, {"reason": None}
ATTENDED, CORRECTED, ENDED, REPLANNED = (
    {"reason": reason} for reason in (RiskEnd.ATTENDED, RiskEnd.CORRECTED, RiskEnd.ENDED, RiskEnd.REPLANNED)
)
SECTIONS: list[tuple[dict[str, Any], str, str, str]] = [
    (RAISED, "de", "bei diesem Fall lohnt es sich", "bei diesen Fällen lohnt es sich"),
    (RAISED, "en", "It is worth asking now in this case", "It is worth asking now in these cases"),
    (ATTENDED, "de", "dieser Hinweis hat sich erledigt: Die Person ist", "diese Hinweise haben sich erledigt: Die Person ist"),
    (ATTENDED, "en", "This notice is settled: the person has", "These notices are settled: the person has"),
    (CORRECTED, "de", "dieser Hinweis war falsch.", "diese Hinweise waren falsch."),
    (CORRECTED, "en", "This notice was wrong.", "These notices were wrong."),
    (ENDED, "de", "hier ist die Teilnahme, die Vermittlung", "hier ist die Teilnahme, die Vermittlung"),
    (ENDED, "en", "Here the participation, the referral", "Here the participation, the referral"),
    (REPLANNED, "de", "dieser Hinweis gilt nicht mehr: Die Person war", "diese Hinweise gelten nicht mehr: Die Person war"),
    (REPLANNED, "en", "This notice no longer holds: the person had", "These notices no longer hold: the person had"),
    (WITHOUT_A_REASON, "de", "dieser Hinweis gilt nicht mehr.", "diese Hinweise gelten nicht mehr."),
    (WITHOUT_A_REASON, "en", "This notice no longer holds.", "These notices no longer hold."),
]  # fmt: skip
ALONE = {
    "bei diesem Fall": RAISED, "this case:": RAISED, "hat sich erledigt": ATTENDED, "is settled": ATTENDED,
    "nicht so ferngeblieben": CORRECTED, "did not stay away": CORRECTED, "Bitte berichtigen Sie": CORRECTED, "correct your own": CORRECTED,
    "Was ist der nächste Schritt?": ENDED, "what is the\nnext step?": ENDED, "nicht mehr.\n": WITHOUT_A_REASON, "notice no longer holds.": WITHOUT_A_REASON,
    "neuer Beginn vereinbart": REPLANNED, "another\nstart has been agreed": REPLANNED,
}  # fmt: skip
"""Words that no other section says."""


@pytest.mark.parametrize(("line", "language", "one", "two"), SECTIONS)
def test_each_section_says_why_and_one_is_one_and_two_are_two(
    line: dict[str, Any], language: str, one: str, two: str
) -> None:
    """A report that was wrong is said to have been wrong (domain 8.3; Art. 16, 19 GDPR): settled would mean that she had been absent.
    After "Guten Tag," the sentence goes on; below another section it begins."""
    notices = ("1 Hinweis", "2 Hinweise") if language == "de" else ("1 notice", "2 notices")
    for lines, words, n in (([line], one, notices[0]), ([line, line | {"case_id": OTHER}], two, notices[1])):
        made = mail(*lines, language=language)
        assert made["Subject"] == f"Lotse: {n}" and made.get_content().startswith(GREETING[language] + words)
        if line is not RAISED:
            below = mail(*lines, RAISED | {"case_id": OTHER}, language=language).get_content()
            assert f"\n\n{words[0].upper()}{words[1:]}" in below
    text = mail(line, language=language).get_content()
    said = {words for words in ALONE if words in text}
    assert said and all(ALONE[words] is line for words in said)


@pytest.mark.parametrize("language", ["de", "en"])
def test_every_rule_has_words_of_its_own(language: str) -> None:
    said = {mail({"kind": "RAISED", "rule": rule.value}, language=language).get_content() for rule in Rule}
    assert len(said) == len(Rule)


@pytest.mark.parametrize("language", ["de", "en"])
def test_a_mail_is_one_as_every_mail_server_takes_it(language: str) -> None:
    """A Date, which RFC 5322 demands, and the same whenever the mail is written; ASCII on the wire, for a server that does not say
    8BITMIME, and no line that a reader's window breaks."""
    lines = [{"kind": kind, "case_id": str(UUID(int=2**128 - 1 - n)), "others": others, "reason": reason, "rule": rule,
              "first_on": date(2026, 9, 30)}
             for n in range(2) for kind, reason in (("RAISED", None), *(("WITHDRAWN", reason) for reason in (None, *RiskEnd)))
             for rule in Rule for others in (None, 1, 12)]  # fmt: skip
    lines += [line | {"about": str(UUID(int=10**6 + n))} for n in range(11) for line in lines]
    made = mail(*lines, language=language)
    assert parsedate_to_datetime(made["Date"]) == START and made["Date"] == mail({}, language=language)["Date"]
    assert made["Message-ID"] and made.as_bytes().isascii() and max(map(len, made.as_bytes().splitlines())) <= 78
    assert (
        "8bit" not in made["Content-Transfer-Encoding"]
        and mail({}, language=language)["Content-Transfer-Encoding"] != "8bit"
    )
    text = made.get_content().splitlines()
    assert max(map(len, text)) <= 76 and not [line for line in text if line != line.rstrip()]
    assert not [n for n in range(1, len(text)) if text[n - 1] == text[n] == ""]
    assert "Fallliste" not in made.get_content() and "lotse case" in made.get_content()
