"""organisations.toml: mailbox and language of each organisation, a setting of notification."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict


class Mailbox(BaseModel):
    """Where an office reads its mail, and in which language."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    mailbox: str = Field(pattern=r"^[^@\s<>,]+@[^@\s<>,]+$", max_length=200)
    language: Literal["de", "en"] = "de"


class MailSettings(BaseSettings):
    """How mail leaves."""

    model_config = SettingsConfigDict(env_prefix="LOTSE_", hide_input_in_errors=True)

    organisations: Path
    smtp_host: str
    smtp_port: int
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    smtp_tls: bool = False
    mail_from: str


class BadOrganisations(ValueError):
    """organisations.toml can't be used; the text names file, entry and field, never a value."""


def load_mailboxes(path: Path) -> Mapping[str, Mailbox]:
    """Organisation (lower case) to mailbox. Raises BadOrganisations."""
    try:
        entries = tomllib.loads(path.read_text("utf-8")).get("organisation", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadOrganisations(f"{path}: {type(error).__name__}; it must be a readable TOML file") from None
    found: dict[str, Mailbox] = {}
    for name, entry in entries.items():
        try:
            found[name.lower()] = Mailbox.model_validate(entry)
        except ValidationError as error:
            where = ".".join(str(step) for step in error.errors(include_input=False)[0]["loc"])
            raise BadOrganisations(f"{path}: organisation.{name}: wrong or missing {where}") from None
    return found
