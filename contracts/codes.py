"""Code lists a publisher must hold to, each code with its words. In facts the same fields are open: read an unknown one as
OTHER.

Sources: domain reference sections 2.5 (blocks), 5 (record), 8 (attendance), 10.2 (codes); German terms of law keep their
German codes. Bands and codes include UNKNOWN: an unknown fact is said to be unknown, never guessed.

No code tells health, pregnancy, disability, religion or ethnic origin, of the person or of anybody near (Art. 9 GDPR): such things
travel sealed, and not in this release. PERSONAL stands for them together with much that is harmless, so that it tells nothing.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints

from .envelope import Listed, Privacy

MUNICIPALITY_PATTERN = r"^([0-9]{8}|UNKNOWN)$"
LANGUAGE_PATTERN = r"^([a-z]{3}|UNKNOWN)$"

Municipality = Annotated[
    str,
    StringConstraints(pattern=MUNICIPALITY_PATTERN),
    Privacy.INTERNAL,
    Listed("ags"),
    Field(
        description="Amtlicher Gemeindeschlüssel, eight digits with the leading zero (05162024 is Neuss), or UNKNOWN."
    ),
]
Language = Annotated[
    str,
    StringConstraints(pattern=LANGUAGE_PATTERN),
    Privacy.INTERNAL,
    Listed("language"),
    Field(description="ISO 639-3 in lower case (`prs` is Dari), or UNKNOWN."),
]


class Coded(StrEnum):
    """A code and what it means, in a case worker's words."""

    words: str

    def __new__(cls, code: str, words: str = "") -> Self:
        """`CODE = "CODE", "words"`; the words only there, so that `Presence("LATE")` finds a code."""
        one = str.__new__(cls, code)
        one._value_ = code
        one.words = words
        return one


class Sex(Coded):
    """Sex as registered."""

    FEMALE = "FEMALE", "female"
    MALE = "MALE", "male"
    DIVERSE = "DIVERSE", "diverse, or registered without an entry (§ 22(3) PStG)"
    UNKNOWN = "UNKNOWN", "not known"


class BirthYearBand(Coded):
    """Years of birth in bands of five, so that no record stands alone; both years included."""

    BORN_BEFORE_1995 = "BORN_BEFORE_1995", "born in 1994 or earlier"
    BORN_1995_TO_1999 = "BORN_1995_TO_1999", "born from 1995 to 1999"
    BORN_2000_TO_2004 = "BORN_2000_TO_2004", "born from 2000 to 2004"
    BORN_2005_TO_2009 = "BORN_2005_TO_2009", "born from 2005 to 2009"
    BORN_2010_OR_LATER = "BORN_2010_OR_LATER", "born in 2010 or later"
    UNKNOWN = "UNKNOWN", "not known"


class StatusGroup(Coded):
    """Residence status as a coarse group only (groups of the list `residence_status`); exact values travel sealed, and not
    in this release. Never inferred from a nationality."""

    DULDUNG = "DULDUNG", "Duldung of any kind (§§ 60a to 60d AufenthG)"
    GESTATTUNG = (
        "GESTATTUNG",
        "asylum procedure running: Aufenthaltsgestattung (§ 55 AsylG), Ankunftsnachweis (§ 63a AsylG)",
    )
    PROTECTION = (
        "PROTECTION",
        "a title after asylum, refugee or subsidiary protection, a deportation ban or § 24 AufenthG",
    )
    OTHER = "OTHER", "any other title, EU citizen, German"
    UNKNOWN = "UNKNOWN", "not known"


class Programme(Coded):
    """In whose name a case is kept."""

    GK = "GK", "Gemeinsam klappt's"
    DIAA = "DIAA", "Durchstarten in Ausbildung und Arbeit"
    KIM = "KIM", "Kommunales Integrationsmanagement"
    OTHER = "OTHER", "another one"
    UNKNOWN = "UNKNOWN", "not known"


class Block(Coded):
    """Förderbausteine of "Durchstarten in Ausbildung und Arbeit"."""

    F1 = "F1", "coaching before, during and after measures"
    F2 = "F2", "qualification or language beside a job"
    F3 = "F3", "late Hauptschulabschluss"
    F4 = "F4", "preparing courses and youth integration courses"
    F5 = "F5", "innovation fund"
    F6 = "F6", "Teilhabemanagement"


class OfferType(Coded):
    """What an offer is."""

    COACHING = "COACHING", "coaching of one person"
    LANGUAGE_COURSE = "LANGUAGE_COURSE", "a course of German"
    QUALIFICATION = "QUALIFICATION", "vocational qualification"
    SCHOOL_CERTIFICATE = "SCHOOL_CERTIFICATE", "a course that leads to a school certificate"
    PREPARATION = "PREPARATION", "preparation for a course, training or work"
    OTHER = "OTHER", "something else"


class NeedType(Coded):
    """What a person needs."""

    LANGUAGE = "LANGUAGE", "to learn German"
    SCHOOL = "SCHOOL", "a school or a school certificate"
    TRAINING = "TRAINING", "vocational training"
    WORK = "WORK", "a job"
    COACHING = "COACHING", "somebody at the side"
    CHILDCARE = "CHILDCARE", "childcare"
    HOUSING = "HOUSING", "a place to live"
    OTHER = "OTHER", "something else"


class ConsentPurpose(Coded):
    """What a consent allows data to be used for. Each purpose is a consent of its own."""

    REFERRAL = "REFERRAL", "to be referred to an offer and to take part in it"
    EVALUATION = "EVALUATION", "evaluation of the programme"


class DataCategory(Coded):
    """Kinds of data a consent covers and a referral carries."""

    MASTER_DATA = "MASTER_DATA", "who the person is and how to reach her"
    LANGUAGE = "LANGUAGE", "languages and level of German"
    EDUCATION = "EDUCATION", "school, training and work so far"
    ATTENDANCE = "ATTENDANCE", "attendance"


class ClosureReason(Coded):
    """Why a case was closed."""

    COMPLETED = "COMPLETED", "what was agreed is done"
    MOVED = "MOVED", "moved away"
    CONTACT_LOST = "CONTACT_LOST", "no longer reached"
    CANCELLED = "CANCELLED", "ended early, by the person or by the office"
    ENTERED_IN_ERROR = "ENTERED_IN_ERROR", "there was no such case"


class WithdrawalReason(Coded):
    """Why the office takes a referral back."""

    PERSON_WITHDREW = "PERSON_WITHDREW", "the person does not want it any more"
    ENTERED_IN_ERROR = "ENTERED_IN_ERROR", "there was no such referral"


class StopReason(Coded):
    """Why a referral that had not started was stopped."""

    PERSON_WITHDREW = "PERSON_WITHDREW", "the person does not want it any more"
    ENTERED_IN_ERROR = "ENTERED_IN_ERROR", "there was no such referral"
    CONSENT_WITHDRAWN = "CONSENT_WITHDRAWN", "the consent it rests on was withdrawn"
    CASE_CLOSED = "CASE_CLOSED", "the case was closed"


class ReferralAnswer(Coded):
    """What a provider says to a referral."""

    ACCEPTED = "ACCEPTED", "there is a place"
    DECLINED = "DECLINED", "there is none, for a reason"


class DeclineReason(Coded):
    """Why a provider declines."""

    FULL = "FULL", "no free place"
    LANGUAGE_LEVEL = "LANGUAGE_LEVEL", "the level of German does not fit"
    NOT_ELIGIBLE = "NOT_ELIGIBLE", "the person may not take part by the offer's rules"
    NOT_REACHED = "NOT_REACHED", "the person was not reached"
    RUN_CANCELLED = "RUN_CANCELLED", "the run does not take place"
    OTHER = "OTHER", "something else"


class EndKind(Coded):
    """How a participation ended. Only DROPPED_OUT leads to a drop-out."""

    COMPLETED = "COMPLETED", "to its planned end, or earlier with its aim reached"
    WITHOUT_SUCCESS = "WITHOUT_SUCCESS", "to its planned end, the aim not reached"
    DROPPED_OUT = "DROPPED_OUT", "left before the planned end"
    TRANSFERRED = "TRANSFERRED", "goes on in another run or at another provider"
    CANCELLED = "CANCELLED", "the provider ended it: the run was cancelled"
    ENTERED_IN_ERROR = "ENTERED_IN_ERROR", "there was no end: the one that was reported is taken back"


class EndReason(Coded):
    """Why a participation ended: barriers and reasons as codes, no diagnosis. Whatever else the reason is, it is PERSONAL."""

    REGULAR = "REGULAR", "it was over"
    WORK = "WORK", "took up work"
    TRAINING = "TRAINING", "took up training"
    CHILDCARE = "CHILDCARE", "childcare is missing"
    TRAVEL = "TRAVEL", "the way is too long or too dear"
    MOVED = "MOVED", "moved away"
    WRONG_LEVEL = "WRONG_LEVEL", "the level is too high or too low"
    PERSON_WITHDREW = "PERSON_WITHDREW", "the person does not want to go on"
    CONTACT_LOST = "CONTACT_LOST", "no longer reached"
    PERSONAL = "PERSONAL", "a personal reason of any kind; which one is not said in clear"
    UNKNOWN = "UNKNOWN", "not known"


class Presence(Coded):
    """Whether a person was at a course meeting."""

    PRESENT = "PRESENT", "there"
    LATE = "LATE", "there, but late; counts as there"
    EXCUSED = "EXCUSED", "not there, with a reason of the absence catalogue"
    UNEXCUSED = "UNEXCUSED", "not there, without one"
    NOT_RECORDED = "NOT_RECORDED", "nobody noted it; counts neither as there nor as absent"


class ExcuseReason(Coded):
    """The absence catalogue, coarse: what excuses, never what a certificate says. Sickness, a wedding, a birth, a death in
    the family are all PERSONAL; a child or relative to look after, sick or not, is CARE."""

    PERSONAL = "PERSONAL", "a personal reason that excuses; which one is not said in clear"
    CARE = "CARE", "a child or relative had to be looked after and nobody else could"
    INTERNSHIP = "INTERNSHIP", "internship or trial work"
    SUMMONS = "SUMMONS", "an appointment at an authority or court"
    OTHER = "OTHER", "something else that excuses"


class Rule(Coded):
    """Risk signals that are raised, by their number in the catalogue S1 to S12 (domain reference 8.3)."""

    S2 = "S2", "several unexcused course days in a row, two where nothing else is agreed"
    S6 = "S6", "no start within seven days after the planned start"


class NoticeKind(Coded):
    """What a line of a notice tells."""

    RAISED = "RAISED", "the risk holds"
    WITHDRAWN = "WITHDRAWN", "it was told before and no longer holds"


class RiskEnd(Coded):
    """Why a risk no longer holds."""

    ATTENDED = "ATTENDED", "the person came again, or started"
    CORRECTED = "CORRECTED", "what caused it was reported otherwise"
    ENDED = "ENDED", "the participation, the referral or the case has ended, or the consent was withdrawn"
    REPLANNED = "REPLANNED", "another start was agreed, on a day on which the person was missing already"
