"""organisations.toml: mailbox and language of each organisation, a setting of notification."""

import tomllib
import unicodedata
from collections.abc import Mapping
from email.utils import formataddr, parseaddr
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings

from services.host.settings import FROM_ENVIRONMENT


def carried(mailbox: str) -> str:
    """A mailbox as every mail server takes it (RFC 5321, without SMTPUTF8): ASCII alone, the domain in its IDNA form. Raises
    PydanticCustomError where it can't be written so, or would then be somebody else's: of an ß IDNA 2003 makes ss."""
    local, _, domain = mailbox.rpartition("@")
    found = f"{local}@{domain if domain.isascii() else _idna(domain)}"
    if not (local and found.isascii() and found.isprintable() and parseaddr(found) == ("", found)):
        raise PydanticCustomError(
            "mailbox", "mail servers take one mailbox in ASCII, name@domain; a domain with ß as xn--"
        )
    return found


def _idna(domain: str) -> str:
    """A domain in ASCII, or as it was where that is not certainly the same domain."""
    try:
        ascii = domain.encode("idna")
        return ascii.decode() if ascii.decode("idna") == unicodedata.normalize("NFC", domain).lower() else domain
    except UnicodeError:
        return domain


def _sender(mail_from: str) -> str:
    """A mailbox with or without a name before it (`Lotse <lotse@kreis.example>`)."""
    name, mailbox = parseaddr(mail_from)
    return formataddr((name, carried(mailbox)))


class Mailbox(BaseModel):
    """Where an office reads its mail, and in which language."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    mailbox: Annotated[str, Field(pattern=r"^[^@\s<>,]+@[^@\s<>,]+$", max_length=200), AfterValidator(carried)]
    language: Literal["de", "en"] = "de"


class MailSettings(BaseSettings):
    """How mail leaves."""

    model_config = FROM_ENVIRONMENT

    organisations: Path
    """organisations.toml: mailbox and language of each organisation."""
    smtp_host: str
    """The mail server."""
    smtp_port: int
    """Its port."""
    smtp_user: str | None = None
    """Who logs in there; without it nobody does."""
    smtp_password: SecretStr | None = None
    """Their password."""
    smtp_tls: bool = False
    """Whether it speaks TLS."""
    mail_from: Annotated[str, AfterValidator(_sender)]
    """Whose mail it is: the sender's address."""


class BadOrganisations(ValueError):
    """organisations.toml can't be used; the text names entry and field, never a value or where the file lies."""


def load_mailboxes(path: Path) -> Mapping[str, Mailbox]:
    """Organisation (lower case) to mailbox. Raises BadOrganisations."""
    try:
        entries = tomllib.loads(path.read_text("utf-8")).get("organisation", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadOrganisations(f"{type(error).__name__}; it must be a readable TOML file") from None
    found: dict[str, Mailbox] = {}
    for name, entry in entries.items():
        if name.lower() in found:  # one office's cases would go to the other's address
            raise BadOrganisations(f"organisation.{name}: written twice, once in other letters")
        try:
            found[name.lower()] = Mailbox.model_validate(entry)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(str(step) for step in first["loc"])
            why = f" ({first['msg']})" if first["type"] == "mailbox" else ""
            raise BadOrganisations(f"organisation.{name}: wrong or missing {where}{why}") from None
    return found
