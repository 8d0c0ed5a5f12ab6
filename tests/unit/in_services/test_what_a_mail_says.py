"""A mail as a case worker reads it: each worry told apart, each end by its reason, nothing that names a course."""

import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

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
        ("en", 'notice "expected since 2 March 2026, not started yet"', "another notice about this case still holds"),
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
    for language, goes_on in (("de", "ein anderer Hinweis zu diesem Fall gilt weiter"), ("en", "another notice about this case still holds")):  # fmt: skip
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
    (ENDED, "de", "bei diesem Fall ist die Teilnahme, die", "bei diesen Fällen ist die Teilnahme, die"),
    (ENDED, "en", "In this case the participation, the", "In these cases the participation, the"),
    (REPLANNED, "de", "dieser Hinweis gilt nicht mehr: Die Person war", "diese Hinweise gelten nicht mehr: Die Person war"),
    (REPLANNED, "en", "This notice no longer holds: the person had", "These notices no longer hold: the person had"),
    (WITHOUT_A_REASON, "de", "dieser Hinweis gilt nicht mehr.", "diese Hinweise gelten nicht mehr."),
    (WITHOUT_A_REASON, "en", "This notice no longer holds.", "These notices no longer hold."),
]  # fmt: skip
ALONE = {
    "jetzt nachzufragen": RAISED, "worth asking now": RAISED, "hat sich erledigt": ATTENDED, "is settled": ATTENDED,
    "nicht so gefehlt": CORRECTED, "not absent in the way": CORRECTED, "Bitte berichtigen Sie": CORRECTED, "correct your own": CORRECTED,
    "Was ist der nächste Schritt?": ENDED, "what is the next step?": ENDED, "nicht mehr.\n": WITHOUT_A_REASON, "notice no longer holds.": WITHOUT_A_REASON,
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


WHOLE = {
    "de": """Guten Tag,

bei diesen Fällen lohnt es sich, jetzt nachzufragen:

- Fall 00000000-0000-0000-0000-000000000001
  seit dem 01.03.2026 mehrmals unentschuldigt gefehlt
  ein anderer Hinweis zu diesem Fall gilt weiter
- Fall 00000000-0000-0000-0000-000000000002
  seit dem 02.03.2026 erwartet, noch nicht begonnen
- Fall 00000000-0000-0000-0000-000000000003
  seit dem 03.03.2026 mehrmals unentschuldigt gefehlt
  (nicht seit dem 13.03.2026, wie wir geschrieben hatten)

Bei diesem Fall ist die Teilnahme, die Vermittlung oder der Fall
selbst beendet, oder die Einwilligung gilt nicht mehr. Der Hinweis ist
damit nicht erledigt: Was ist der nächste Schritt?

- Fall 00000000-0000-0000-0000-000000000005
  Hinweis „seit dem 05.03.2026 mehrmals unentschuldigt gefehlt“

Diese Hinweise waren falsch. Was uns gemeldet worden war, wurde berichtigt:
Die Person hat nicht so gefehlt, wie wir geschrieben hatten.
Bitte berichtigen Sie auch Ihre eigenen Vermerke dazu.

- Fall 00000000-0000-0000-0000-000000000004
  Hinweis „seit dem 04.03.2026 erwartet, noch nicht begonnen“
- Fall 00000000-0000-0000-0000-000000000006
  Hinweis „seit dem 06.03.2026 mehrmals unentschuldigt gefehlt“
  2 andere Hinweise zu diesem Fall gelten weiter

Dieser Hinweis gilt nicht mehr: Die Person war nicht gekommen,
inzwischen ist ein neuer Beginn vereinbart. Kommt sie auch dann nicht,
schreiben wir wieder.

- Fall 00000000-0000-0000-0000-000000000007
  Hinweis „seit dem 07.03.2026 erwartet, noch nicht begonnen“

Dieser Hinweis hat sich erledigt: Die Person ist wieder gekommen
oder hat begonnen.

- Fall 00000000-0000-0000-0000-000000000008
  Hinweis „seit dem 08.03.2026 mehrmals unentschuldigt gefehlt“

Dieser Hinweis gilt nicht mehr.

- Fall 00000000-0000-0000-0000-000000000009
  Hinweis „seit dem 09.03.2026 erwartet, noch nicht begonnen“

Näheres zeigt der Verlauf des Falls: lotse case FALLNUMMER
Diese Nachricht wurde automatisch erstellt; entschieden wird nichts
automatisch.
""",
    "en": """Hello,

It is worth asking now in these cases:

- Case 00000000-0000-0000-0000-000000000001
  absent without excuse several times since 1 March 2026
  another notice about this case still holds
- Case 00000000-0000-0000-0000-000000000002
  expected since 2 March 2026, not started yet
- Case 00000000-0000-0000-0000-000000000003
  absent without excuse several times since 3 March 2026
  (not since 13 March 2026, as we wrote)

In this case the participation, the referral or the case itself has
ended, or the consent no longer holds. That does not settle the notice:
what is the next step?

- Case 00000000-0000-0000-0000-000000000005
  notice "absent without excuse several times since 5 March 2026"

These notices were wrong. What we had been told has been corrected: the
person was not absent in the way we wrote. Please correct your own notes
of it, too.

- Case 00000000-0000-0000-0000-000000000004
  notice "expected since 4 March 2026, not started yet"
- Case 00000000-0000-0000-0000-000000000006
  notice "absent without excuse several times since 6 March 2026"
  2 other notices about this case still hold

This notice no longer holds: the person had not come, and another
start has been agreed since. If the person does not come then either, we
will write again.

- Case 00000000-0000-0000-0000-000000000007
  notice "expected since 7 March 2026, not started yet"

This notice is settled: the person has come back, or has started.

- Case 00000000-0000-0000-0000-000000000008
  notice "absent without excuse several times since 8 March 2026"

This notice no longer holds.

- Case 00000000-0000-0000-0000-000000000009
  notice "expected since 9 March 2026, not started yet"

The timeline of a case says more: lotse case CASE
This message was made automatically; nothing is decided automatically.
""",
}
"""Of a line of each kind, its case and day the same number, of two rules in turn; the fourth, known to be over, stands first."""


@pytest.mark.parametrize("language", ["de", "en"])
def test_a_mail_says_each_line_of_its_attempt_once_and_nothing_else(language: str) -> None:
    def line(n: int, *more: dict[str, Any], **others: Any) -> dict[str, Any]:
        found = {
            "case_id": str(UUID(int=n)),
            "about": str(UUID(int=n + 99)),
            "first_on": date(2026, 3, n),
            "rule": ("S6", "S2")[n % 2],
        }
        return found | {name: value for one in (*more, others) for name, value in one.items()}

    made = mail(line(4, CORRECTED), line(1, RAISED, others=1), line(2, RAISED), line(3, RAISED), line(3, CORRECTED, first_on=date(2026, 3, 13)),
                line(5, ENDED), line(6, CORRECTED, others=2, rule="S2"), line(7, REPLANNED, rule="S6"), line(8, ATTENDED, rule="S2"),
                line(9, WITHOUT_A_REASON, rule="S6"), language=language)  # fmt: skip
    assert made.get_content() == WHOLE[language]
    assert made["Subject"] == {"de": "Lotse: 9 Hinweise", "en": "Lotse: 9 notices"}[language]


SECTION = {
    "nachzufragen": "RAISED", "worth asking": "RAISED", "nächste Schritt": "ENDED", "next step": "ENDED", "falsch": "CORRECTED",
    "wrong": "CORRECTED", "neuer Beginn": "REPLANNED", "another\nstart": "REPLANNED", "sich erledigt": "ATTENDED", "settled": "ATTENDED",
}  # fmt: skip
Item = tuple[str | None, str, str, int, tuple[int, ...], int]
"""Section, case, rule, day, days instead of which it is said, how many others go on."""


def read(text: str) -> Counter[Item]:
    """A mail as a person counts its worries: a paragraph that says why, a list, and so on."""
    _, *parts, _ = text.split("\n\n")
    found = Counter[Item]()
    for why, listed in zip(parts[::2], parts[1::2], strict=True):
        kind = next((kind for words, kind in SECTION.items() if words in why), None)
        for item in re.split(r"^- \w+ ", listed, flags=re.MULTILINE)[1:]:
            rule = "S2" if "mehrmals" in item or "several" in item else "S6"
            day, *instead = (int(n) for n in re.findall(r"(?:seit dem|since) (\d+)", item))
            many = re.search(r"(\d+) (?:Angeboten|offers|Hinweise|notices)\b", item)
            others = re.search(r"(\d+|ein|another) (?:andere|other|notice about)", item)
            going_on = 0 if others is None else int(others[1]) if others[1].isdigit() else 1
            found[kind, item.split()[0], rule, day, tuple(instead), going_on] += int(many[1]) if many else 1
    return found


@given(
    known=st.sets(st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 5), st.sampled_from([*RiskEnd, None])), max_size=3),
    holds=st.dictionaries(st.tuples(st.integers(1, 2), st.integers(1, 2)), st.tuples(st.integers(6, 9), st.integers(0, 2)), max_size=4),
    believed=st.sets(st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(10, 14), st.sampled_from([*RiskEnd, None])), max_size=5),
    language=st.sampled_from(["de", "en"]), rule=st.sampled_from(["S2", "S6"]),
)  # fmt: skip
def test_whatever_an_attempt_says_each_of_its_worries_is_counted_once_in_its_mail(
    known: set[tuple[int, int, int, str | None]],
    holds: dict[tuple[int, int], tuple[int, int]],
    believed: set[tuple[int, int, int, str | None]],
    language: str,
    rule: str,
) -> None:
    """By case and about: what the office knew to be over, what holds since a day and how many others, what it believed."""

    def line(case: int, about: int, day: int, **more: Any) -> dict[str, Any]:
        return {
            "case_id": str(UUID(int=case)),
            "about": str(UUID(int=90 + about)),
            "rule": rule,
            "first_on": date(2026, 3, day),
            **more,
        }

    over = [[line(*one[:3], reason=one[3]) for one in sorted(ones, key=str)] for ones in (known, believed)]
    raised = [line(*what, day, kind="RAISED", others=others or None) for what, (day, others) in holds.items()]
    assume(
        raised or not known or not believed
    )  # an attempt in which nothing holds does not tell them apart, and need not
    assume(over[0] or raised or over[1])
    expected, halves = Counter[Item](), 0
    for what, (day, others) in holds.items():
        instead = [on for *of, on, why in sorted(believed, key=str) if tuple(of) == what and why == RiskEnd.CORRECTED]
        expected["RAISED", str(UUID(int=what[0])), rule, day, tuple(instead), others] += 1
        halves += len(instead)
    for case, _, day, why in [
        *known,
        *(one for one in believed if one[:2] not in holds or one[3] != RiskEnd.CORRECTED),
    ]:
        expected[why, str(UUID(int=case)), rule, day, (), 0] += 1
    made = mail(*over[0], *raised, *over[1], language=language)
    text = made.get_content()
    assert read(text) == expected
    assert made["Subject"].split()[1] == str(sum(expected.values())) == str(len([*over[0], *raised, *over[1]]) - halves)
    assert {*re.findall(r"[0-9a-f]{8}-[-0-9a-f]+", text)} == {case for _, case, *_ in expected}


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
