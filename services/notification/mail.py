"""The errand: one mail an attempt. Content-free beyond case number, since when, how often, and a sentence (domain 9, H-03)."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import NamedTuple

import aiosmtplib
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from contracts.codes import NoticeKind, RiskEnd
from contracts.envelope import Fact, Recorded
from contracts.notification import NoticeLine, NotificationAttempted
from services.notification.domain import failed, sent, uncertain
from services.notification.organisations import Mailbox, MailSettings
from services.process.telemetry import calling

SUBJECTS = {"de": ("Hinweis", "Hinweise"), "en": ("notice", "notices")}
TIMEOUT = 30.0  # seconds a step of the conversation may take
HELLO = 50.0  # and all before the mail itself: with the two steps behind it, shorter than an attempt may last (errands.LONGEST)
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    autoescape=False,
    keep_trailing_newline=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Said(NamedTuple):
    """What a mail says of a case: lines between which its reader can see no difference are one."""

    case_id: str
    rule: str
    first_on: date
    instead_of: tuple[date, ...]
    """The first days that the office was told before, where those were wrong."""
    others: int
    """How many other risks of the case go on: told of before, and, beside one that is over, in this mail."""


ORDER = ("RAISED", RiskEnd.ENDED, RiskEnd.CORRECTED, RiskEnd.REPLANNED, RiskEnd.ATTENDED, None)
"""Sections of a mail: what holds, then what holds no more, by why; None where nobody knows."""


def sections_of(lines: Sequence[NoticeLine]) -> list[tuple[str | None, list[tuple[Said, int]]]]:
    """Lines as a person reads them: by section what is said, and of how many risks. A risk whose first day was corrected is one with all
    that it is said instead of: alone, what takes back would say that nobody stayed away. What stands before all that holds was known
    to be over: that it was wrong is said by itself."""
    first = next((n for n, line in enumerate(lines) if line.kind == NoticeKind.RAISED), len(lines))
    wrong: dict[tuple[str, str, str], list[NoticeLine]] = defaultdict(list)
    for line in lines[first:]:
        if line.reason == RiskEnd.CORRECTED:
            wrong[_what(line)].append(line)
    found: dict[str | None, Counter[Said]] = {kind: Counter() for kind in ORDER}
    said_above = set[NoticeLine]()
    for line in sorted(lines, key=lambda line: line.kind != NoticeKind.RAISED):
        if line.kind == NoticeKind.RAISED:
            before = wrong.pop(_what(line), [])
            said_above |= {*before}
            found["RAISED"][_said(line, *before)] += 1
        elif line not in said_above:
            found[line.reason if line.reason in found else None][_said(line)] += 1
    return [(kind, [*said.items()]) for kind, said in found.items() if said]


def _what(line: NoticeLine) -> tuple[str, str, str]:
    return line.case_id, line.about, line.rule


def _said(line: NoticeLine, *instead_of: NoticeLine) -> Said:
    return Said(line.case_id, line.rule, line.first_on, tuple(wrong.first_on for wrong in instead_of), line.others or 0)


def written(attempt: NotificationAttempted, recorded: Recorded, to: Mailbox, sender: str) -> EmailMessage:
    """The mail of an attempt: plain text in the office's language, with the attempt's id, its moment and trace. The same whenever it
    is written."""
    sections, about = sections_of(attempt.lines), recorded.attributes
    n = sum(risks for _, said in sections for _, risks in said)
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, to.mailbox
    mail["Subject"] = f"Lotse: {n} {SUBJECTS[to.language][n > 1]}"
    mail["Date"] = format_datetime(about.recordedtime or about.time)
    mail["Message-ID"] = f"<{attempt.attempt_id}@lotse>"
    mail["Auto-Submitted"] = "auto-generated"
    if about.traceparent:
        mail["traceparent"] = about.traceparent
    text = _TEMPLATES.get_template(f"notice.{to.language}.txt").render(sections=sections)
    mail.set_content(text, cte="quoted-printable")  # 8bit is only for servers that say 8BITMIME, and nobody asks them
    return mail


class Post:
    """Sends attempts; says what is certain and what is not."""

    def __init__(self, settings: MailSettings, mailboxes: Mapping[str, Mailbox]) -> None:
        self.settings, self.mailboxes = settings, mailboxes

    async def perform(self, recorded: Recorded) -> Fact:
        """Sent, failed (the server certainly has nothing: it said no, or nothing was handed over) or uncertain (silence after
        the message was handed over)."""
        with calling("send mail", recorded.attributes.traceparent) as ended:
            result = await self._handed_over(recorded)
            ended(type(result).__name__)
        return result

    async def _handed_over(self, recorded: Recorded) -> Fact:
        attempt = recorded.fact
        assert isinstance(attempt, NotificationAttempted)
        to = self.mailboxes.get(recorded.attributes.subject.partition(":")[2])
        if to is None:
            return failed(attempt, "NO_MAILBOX")
        settings = self.settings
        client = aiosmtplib.SMTP(
            hostname=settings.smtp_host, port=settings.smtp_port, timeout=TIMEOUT, use_tls=settings.smtp_tls
        )
        whose = "SERVER"  # until the mailbox is named, a no is said to all offices alike: of us, or of the server
        try:
            mail = written(attempt, recorded, to, settings.mail_from).as_bytes()
            async with asyncio.timeout(HELLO):
                await client.connect()
                if settings.smtp_user and settings.smtp_password:
                    await client.login(settings.smtp_user, settings.smtp_password.get_secret_value())
                await client.mail(settings.mail_from)
                whose = "SMTP"
                await client.rcpt(to.mailbox)
        except aiosmtplib.SMTPResponseException as error:
            client.close()
            return failed(attempt, f"{whose}_{error.code}")
        except (aiosmtplib.SMTPException, OSError, TimeoutError):
            client.close()
            return failed(attempt, "UNREACHABLE")
        except ValueError:  # UnicodeError is one: an address or a login that can't be put on the wire
            client.close()
            return failed(attempt, "BAD_ADDRESS")
        try:
            await client.data(mail)
        except aiosmtplib.SMTPResponseException as error:
            client.close()
            return failed(attempt, f"SMTP_{error.code}")
        except (aiosmtplib.SMTPException, OSError, TimeoutError):
            client.close()
            return uncertain(attempt)
        client.close()
        return sent(attempt)
