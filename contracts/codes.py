"""Code lists a publisher must hold to. In facts the same fields are open codes: readers take unknown ones for OTHER.

Sources: domain reference sections 2.5 (blocks), 5 (record), 8 (attendance), 10.2 (codes); German terms of law keep their
German codes. Bands and codes include UNKNOWN: an unknown fact is said to be unknown, never guessed.
"""

from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import StringConstraints

from .envelope import Code, Listed, Privacy

ALLIANCE_ZONE = ZoneInfo("Europe/Berlin")
"""The zone in which days (`_on`) are days. All alliances of the initiative lie in North Rhine-Westphalia."""

Municipality = Annotated[str, StringConstraints(pattern=r"^([0-9]{8}|UNKNOWN)$"), Privacy.INTERNAL, Listed("ags")]
"""Amtlicher Gemeindeschlüssel, eight digits (05162024 is Neuss), or UNKNOWN."""
Language = Annotated[Code, Listed("language")]
"""ISO 639-3 in lower case (`prs` is Dari), or UNKNOWN."""


class Sex(StrEnum):
    FEMALE = "FEMALE"
    MALE = "MALE"
    DIVERSE = "DIVERSE"
    UNKNOWN = "UNKNOWN"


class BirthYearBand(StrEnum):
    """Years of birth in bands of five, so that no record stands alone."""

    BEFORE_1995 = "BEFORE_1995"
    Y1995_1999 = "Y1995_1999"
    Y2000_2004 = "Y2000_2004"
    Y2005_2009 = "Y2005_2009"
    SINCE_2010 = "SINCE_2010"
    UNKNOWN = "UNKNOWN"


class StatusGroup(StrEnum):
    """Residence status as a coarse group only; exact values travel sealed (not in this release)."""

    DULDUNG = "DULDUNG"
    GESTATTUNG = "GESTATTUNG"
    PROTECTION = "PROTECTION"
    OTHER = "OTHER"
    UNKNOWN = "UNKNOWN"


class Block(StrEnum):
    """Förderbausteine of "Durchstarten in Ausbildung und Arbeit"."""

    F1 = "F1"
    F2 = "F2"
    F3 = "F3"
    F4 = "F4"
    F5 = "F5"
    F6 = "F6"


class OfferType(StrEnum):
    COACHING = "COACHING"
    LANGUAGE_COURSE = "LANGUAGE_COURSE"
    QUALIFICATION = "QUALIFICATION"
    SCHOOL_CERTIFICATE = "SCHOOL_CERTIFICATE"
    PREPARATION = "PREPARATION"
    OTHER = "OTHER"


class NeedType(StrEnum):
    LANGUAGE = "LANGUAGE"
    SCHOOL = "SCHOOL"
    TRAINING = "TRAINING"
    WORK = "WORK"
    COACHING = "COACHING"
    CHILDCARE = "CHILDCARE"
    HOUSING = "HOUSING"
    OTHER = "OTHER"


class ConsentPurpose(StrEnum):
    REFERRAL = "REFERRAL"
    EVALUATION = "EVALUATION"


class DataCategory(StrEnum):
    """What a consent covers and a referral carries."""

    MASTER_DATA = "MASTER_DATA"
    LANGUAGE = "LANGUAGE"
    EDUCATION = "EDUCATION"
    ATTENDANCE = "ATTENDANCE"


class ClosureReason(StrEnum):
    """Every ending says why."""

    COMPLETED = "COMPLETED"
    MOVED = "MOVED"
    CONTACT_LOST = "CONTACT_LOST"
    CANCELLED = "CANCELLED"
    ENTERED_IN_ERROR = "ENTERED_IN_ERROR"


class WithdrawalReason(StrEnum):
    PERSON_WITHDREW = "PERSON_WITHDREW"
    ENTERED_IN_ERROR = "ENTERED_IN_ERROR"


class ReferralAnswer(StrEnum):
    ACCEPTED = "ACCEPTED"
    DECLINED = "DECLINED"


class DeclineReason(StrEnum):
    FULL = "FULL"
    LANGUAGE_LEVEL = "LANGUAGE_LEVEL"
    NOT_ELIGIBLE = "NOT_ELIGIBLE"
    NOT_REACHED = "NOT_REACHED"
    RUN_CANCELLED = "RUN_CANCELLED"
    OTHER = "OTHER"


class ParticipationStep(StrEnum):
    START = "START"
    END = "END"


class EndKind(StrEnum):
    """How a participation ended. Only DROPPED_OUT leads to a drop-out."""

    COMPLETED = "COMPLETED"
    WITHOUT_SUCCESS = "WITHOUT_SUCCESS"
    DROPPED_OUT = "DROPPED_OUT"
    TRANSFERRED = "TRANSFERRED"
    CANCELLED = "CANCELLED"
    ENTERED_IN_ERROR = "ENTERED_IN_ERROR"


class EndReason(StrEnum):
    """Barriers and reasons as codes, no diagnosis."""

    REGULAR = "REGULAR"
    WORK = "WORK"
    TRAINING = "TRAINING"
    CHILDCARE = "CHILDCARE"
    TRAVEL = "TRAVEL"
    HEALTH = "HEALTH"
    MOVED = "MOVED"
    LEVEL = "LEVEL"
    MOTIVATION = "MOTIVATION"
    CONTACT_LOST = "CONTACT_LOST"
    UNKNOWN = "UNKNOWN"


class Presence(StrEnum):
    PRESENT = "PRESENT"
    LATE = "LATE"
    EXCUSED = "EXCUSED"
    UNEXCUSED = "UNEXCUSED"
    NOT_RECORDED = "NOT_RECORDED"


class ExcuseReason(StrEnum):
    """The absence catalogue, coarse; "certificate seen" is evidence, never its content."""

    SICKNESS = "SICKNESS"
    CHILD_SICK = "CHILD_SICK"
    CHILDCARE = "CHILDCARE"
    INTERNSHIP = "INTERNSHIP"
    SUMMONS = "SUMMONS"
    BEREAVEMENT = "BEREAVEMENT"
    FAMILY_EVENT = "FAMILY_EVENT"
    OTHER = "OTHER"


class Rule(StrEnum):
    """Risk signals that are raised (domain reference 8.3)."""

    S2 = "S2"
    S6 = "S6"
