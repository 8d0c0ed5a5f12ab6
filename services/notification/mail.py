"""The errand: one mail an attempt. Content-free beyond case number, since when, and a sentence (domain 9, H-03)."""

import asyncio
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from contracts.codes import RiskEnd
from contracts.envelope import Fact, Recorded
from contracts.notification import NotificationAttempted
from services.notification.domain import failed, sent, uncertain
from services.notification.organisations import Mailbox, MailSettings
from services.telemetry import calling

SUBJECTS = {"de": "Lotse: {n} Hinweise", "en": "Lotse: {n} notices"}
TIMEOUT = 30.0  # seconds a step of the conversation may take
HELLO = 50.0  # and all before the mail itself: with the two steps behind it, shorter than an attempt may last (errands.LONGEST)
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    autoescape=False,
    keep_trailing_newline=True,
)


def written(attempt: NotificationAttempted, recorded: Recorded, to: Mailbox, sender: str) -> EmailMessage:
    """The mail of an attempt: plain text in the office's language, with the attempt's id and trace."""
    mail = EmailMessage()
    mail["From"], mail["To"] = sender, to.mailbox
    mail["Subject"] = SUBJECTS[to.language].format(n=len(attempt.lines))
    mail["Message-ID"] = f"<{attempt.attempt_id}@lotse>"
    mail["Auto-Submitted"] = "auto-generated"
    if recorded.attributes.traceparent:
        mail["traceparent"] = recorded.attributes.traceparent
    mail.set_content(
        _TEMPLATES.get_template(f"notice.{to.language}.txt").render(
            raised=[line for line in attempt.lines if line.kind == "RAISED"],
            ended=[line for line in attempt.lines if line.kind == "WITHDRAWN" and line.reason == RiskEnd.ENDED],
            withdrawn=[line for line in attempt.lines if line.kind == "WITHDRAWN" and line.reason != RiskEnd.ENDED],
        )
    )
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
