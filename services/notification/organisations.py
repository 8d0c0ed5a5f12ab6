"""organisations.toml: mailbox and language of each organisation, a setting of notification."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings

from services.host.settings import FROM_ENVIRONMENT


class Mailbox(BaseModel):
    """Where an office reads its mail, and in which language."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    mailbox: str = Field(pattern=r"^[^@\s<>,]+@[^@\s<>,]+$", max_length=200)
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
    mail_from: str
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
        try:
            found[name.lower()] = Mailbox.model_validate(entry)
        except ValidationError as error:
            where = ".".join(str(step) for step in error.errors(include_input=False)[0]["loc"])
            raise BadOrganisations(f"organisation.{name}: wrong or missing {where}") from None
    return found
