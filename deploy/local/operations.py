"""The operations key pair of a local stack: dead letters are sealed to its public half; the private half reads them."""

import json
import os
import tempfile
from pathlib import Path

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from deploy.errors import REFUSED, USAGE, Trouble

PUBLIC, PRIVATE = "operations.pub.json", "operations.json"


def make_operations_key(folder: Path, *, dry_run: bool = False) -> list[Path]:
    """Makes the pair once; gives back the files it made, or would. Where only the private half is, the public one is made from
    it: another pair would open no letter sealed until then. The private half is for whoever operates (mode 600); no service is
    given it. Raises Trouble where only the public half is, it can't be written, or what is there is no key."""
    public, private = folder / PUBLIC, folder / PRIVATE
    missing = [file for file in (public, private) if not file.exists()]
    if missing == [private]:  # moved away, as whoever made it was told
        raise Trouble(
            f"{public} is there, its private half {PRIVATE} is not; a new pair would open nothing that is sealed to it",
            "where it was moved away the pair is made; else bring the private half back, name another folder, or delete the public one"
            " where nothing was ever sealed to it",
            REFUSED,
        )
    if not missing:
        return []
    try:
        key = ECKey.generate_key("P-256") if private in missing else _read(private)
        tempfile.TemporaryFile(dir=folder).close()  # of no name; os.access says root may write to /proc
        if dry_run:
            return missing
        for file in reversed(missing):  # the private half first: of it alone the next time makes the other
            _write(file, json.dumps(key.as_dict(private=file == private)), 0o600 if file == private else 0o644)
        return missing
    except OSError as error:
        raise Trouble(
            f"no key can be written to {folder} ({type(error).__name__})", "name a folder you may write to", USAGE
        ) from None


def _write(file: Path, text: str, mode: int) -> None:
    part = file.with_suffix(".new")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as new:
        new.write(text)
        new.flush()
        os.fsync(new.fileno())
    part.rename(file)


def _read(private: Path) -> ECKey:
    try:
        key = ECKey.import_key(json.loads(private.read_text("utf-8")))
    except (ValueError, KeyError, JoseError) as error:
        raise Trouble(f"{private} is no private key ({type(error).__name__})", "bring it back, or move it away", USAGE) from None  # fmt: skip
    if not key.is_private:
        raise Trouble(f"{private} is no private key", "bring it back, or move it away", USAGE)
    return key
