"""Mail as a real mail server takes it: what can't be carried is refused at start, and what never left is no mail."""

import asyncio
import email
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiosmtpd.smtp import SMTP

import services.kept.errands
import services.notification.mail
from contracts.envelope import Attributes, Fact, Recorded
from contracts.notification import NoticeLine, NotificationAttempted, NotificationFailed, NotificationSent
from deploy.local.mail import Sink
from services.host.settings import BadSettings
from services.notification.app import service
from services.notification.domain import LOTSE, MOST_REFUSALS, Office, evolve
from services.notification.mail import Post
from services.notification.organisations import BadOrganisations, Mailbox, MailSettings, load_mailboxes

NOW = datetime(2026, 3, 10, 6, tzinfo=UTC)
UMLAUT = Mailbox.model_construct(mailbox="büro@kreis.example", language="de")
"""As it stood in a file before it was refused there."""


@pytest.fixture
async def port(tmp_path: Path) -> AsyncIterator[int]:
    """Of a real mail server; each mail it takes is a file in `tmp_path`."""
    loop, sink = asyncio.get_running_loop(), Sink(tmp_path, None)
    server = await loop.create_server(lambda: SMTP(sink, hostname="localhost", loop=loop), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


def attempt() -> Recorded:
    line = NoticeLine(kind="RAISED", case_id=str(uuid4()), about=str(uuid4()), rule="S2", first_on=date(2026, 3, 2))
    said = NotificationAttempted(by=LOTSE, attempt_id=str(uuid4()), lines=(line,), as_of=NOW)
    return Recorded(Attributes(said.attempt_id, "urn:lotse", said.ce_type, "rkn:thm", NOW, "rkn"), said)


async def told(port: int, to: Mailbox, sender: str = "lotse@localhost") -> Fact:
    settings = MailSettings.model_construct(
        smtp_host="127.0.0.1", smtp_port=port, smtp_user=None, smtp_password=None, smtp_tls=False, mail_from=sender
    )
    offices = {"jmd": Mailbox(mailbox="jmd@localhost"), "thm": to, "vhs": Mailbox(mailbox="vhs@localhost")}
    return await Post(settings, offices).perform(attempt())


async def test_a_mail_goes_to_its_office_and_to_nobody_else(port: int, tmp_path: Path) -> None:
    assert isinstance(await told(port, Mailbox(mailbox="thm@localhost")), NotificationSent)
    (file,) = tmp_path.glob("*.eml")
    mail = email.message_from_bytes(file.read_bytes())
    assert mail.get_all("Delivered-To") == mail.get_all("To") == ["thm@localhost"]


@pytest.mark.parametrize(
    ("to", "sender"), [(UMLAUT, "lotse@localhost"), (Mailbox(mailbox="thm@localhost"), "büro@localhost")]
)
async def test_what_an_address_kept_from_leaving_is_not_told(
    port: int, tmp_path: Path, to: Mailbox, sender: str
) -> None:
    """Uncertain counts as told: that office, or with the sender's address every office, would hear of no risk ever."""
    result = await told(port, to, sender)
    assert isinstance(result, NotificationFailed) and result.reason == "BAD_ADDRESS"
    assert not list(tmp_path.glob("*.eml"))
    office = Office("rkn:thm", "rkn")
    for _ in range(MOST_REFUSALS):
        evolve(office, result, "")
    assert office.notification.failures == MOST_REFUSALS  # a person's job: then once a day


class Saying:
    """What a server says to each step, and how long it thinks before it does."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.mails = seconds, 0
        self.says: dict[str, str] = {}

    async def handle_MAIL(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802  # the library's name
        await asyncio.sleep(self.seconds)
        envelope.mail_from = address
        return self.says.get("mail", "250 OK")

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802  # the library's name
        await asyncio.sleep(self.seconds)
        envelope.rcpt_tos.append(address)
        return self.says.get("rcpt", "250 OK")

    async def handle_DATA(self, _server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802  # the library's name
        self.mails += 1
        return "250 OK"


async def told_by(server: Saying) -> Fact:
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: SMTP(server, hostname="localhost", loop=loop), "127.0.0.1", 0)
    try:
        return await told(listening.sockets[0].getsockname()[1], Mailbox(mailbox="thm@localhost"))
    finally:
        listening.close()


@pytest.mark.parametrize(
    ("step", "reason", "counts"), [("mail", "SERVER_550", 0), ("rcpt", "SMTP_550", 1), ("mail", "SERVER_451", 0)]
)
async def test_what_is_said_to_all_offices_alike_is_no_refusal_of_one(step: str, reason: str, counts: int) -> None:
    """A sender or a password that is not taken any more: mended at ten, every office heard nothing until midnight."""
    server = Saying()
    server.says[step] = f"{reason.partition('_')[2]} no"
    result = await told_by(server)
    assert isinstance(result, NotificationFailed) and result.reason == reason and server.mails == 0
    office = Office("rkn:thm", "rkn")
    evolve(office, result, "")
    assert office.notification.failures == counts


async def test_a_server_that_takes_its_time_before_the_mail_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step within its time, all of them longer than an attempt may last: called uncertain it counts as told."""
    monkeypatch.setattr(services.notification.mail, "HELLO", 0.5)
    server = Saying(seconds=0.4)
    result = await told_by(server)
    assert isinstance(result, NotificationFailed) and result.reason == "UNREACHABLE" and server.mails == 0
    monkeypatch.setattr(services.notification.mail, "HELLO", 10)
    assert isinstance(await told_by(Saying(seconds=0.01)), NotificationSent)


def test_an_attempt_lasts_longer_than_all_the_steps_of_its_mail() -> None:
    """Whoever is told to stop waiting in the midst of it does not know what the world has."""
    assert services.notification.mail.HELLO + 2 * services.notification.mail.TIMEOUT < services.kept.errands.LONGEST


def test_one_organisation_in_two_spellings_has_not_silently_the_mailbox_of_the_last(tmp_path: Path) -> None:
    file = tmp_path / "organisations.toml"
    file.write_text(
        '[organisation.thm]\nmailbox = "a@kreis.example"\n[organisation.THM]\nmailbox = "b@kreis.example"\n'
    )
    with pytest.raises(BadOrganisations, match=r"^organisation\.THM: written twice, once in other letters$"):
        load_mailboxes(file)


async def test_a_domain_with_an_umlaut_is_written_as_mail_servers_know_it(port: int, tmp_path: Path) -> None:
    result = await told(port, Mailbox(mailbox="thm@bücher.example"), "Führung <lotse@localhost>")
    assert isinstance(result, NotificationSent)
    (file,) = tmp_path.glob("*.eml")
    assert email.message_from_bytes(file.read_bytes())["To"] == "thm@xn--bcher-kva.example"


@pytest.mark.parametrize(
    "mailbox",
    ["büro@kreis.example", "amt@straße.example", "a;b@kreis.example", "a(b)@kreis.example", 'a"b@kreis.example',
     "amt@ü..example", "a\x01b@kreis.example"],
)  # fmt: skip
def test_a_mailbox_no_mail_server_takes_stops_at_start_and_names_the_entry(tmp_path: Path, mailbox: str) -> None:
    """Of ß the older of two standards makes ss: a domain of somebody else's."""
    file, text = tmp_path / "organisations.toml", '[organisation.thm]\nmailbox = "{}"\n'
    file.write_text(text.format("thm@kreis.example"))
    assert load_mailboxes(file)["thm"].mailbox == "thm@kreis.example"
    file.write_text(text.format(mailbox.replace("\\", "").replace('"', '\\"').replace("\x01", "\\u0001")))
    with pytest.raises(
        BadOrganisations, match=r"organisation\.thm: wrong or missing mailbox \(mail servers take"
    ) as bad:
        load_mailboxes(file)
    assert mailbox.partition("@")[0] not in str(bad.value).replace(str(tmp_path), "")


def test_a_sender_no_mail_server_takes_stops_at_start_and_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "organisations.toml").write_text("")
    for name, value in (
        ("ORGANISATIONS", str(tmp_path / "organisations.toml")),
        ("SMTP_HOST", "h"),
        ("SMTP_PORT", "25"),
    ):
        monkeypatch.setenv(f"LOTSE_{name}", value)
    for sender in ("lotse@localhost", "Führung <lotse@kreis.example>"):
        monkeypatch.setenv("LOTSE_MAIL_FROM", sender)
        assert service().name == "notification"
    monkeypatch.setenv("LOTSE_MAIL_FROM", "büro@kreis.example")
    with pytest.raises(BadSettings, match=r"LOTSE_MAIL_FROM \(mail servers take") as bad:
        service()
    assert "büro" not in str(bad.value)
