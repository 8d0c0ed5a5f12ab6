"""The operations key pair of a local stack: dead letters are sealed to its public half; the private half reads them."""

import json
import os
import tempfile
from pathlib import Path

from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from deploy.errors import USAGE, Trouble

PUBLIC, PRIVATE = "operations.pub.json", "operations.json"


def make_operations_key(folder: Path, *, dry_run: bool = False) -> list[Path]:
    """Makes the pair once, both or none; gives back the files it made, or would. Where only the private half is, the public one
    is made from it: another pair would open no letter sealed until then. The private half is for whoever operates (mode 600); no
    service is given it. Raises Trouble where it can't be written, or what is there is no key."""
    private, public = folder / PRIVATE, folder / PUBLIC
    made = [public] if private.exists() else [public, private]
    if private.exists() and public.exists():
        return []
    try:
        key = _read(private) if private.exists() else ECKey.generate_key("P-256")
        tempfile.TemporaryFile(dir=folder).close()  # so a dry run is refused where the other would be
        if dry_run:
            return made
        public.write_text(json.dumps(key.as_dict(private=False)))
        if private in made:
            part = private.with_suffix(".new")
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(key.as_dict(private=True), file)
                file.flush()
                os.fsync(file.fileno())
            part.rename(private)  # last: whoever dies before makes both anew
        return made
    except OSError as error:
        raise Trouble(
            f"no key can be written to {folder} ({type(error).__name__})", "name a folder you may write to", USAGE
        ) from None


def _read(private: Path) -> ECKey:
    try:
        key = ECKey.import_key(json.loads(private.read_text("utf-8")))
    except (ValueError, KeyError, JoseError) as error:
        raise Trouble(f"{private} is no private key ({type(error).__name__})", "bring it back, or move it away", USAGE) from None  # fmt: skip
    if not key.is_private:
        raise Trouble(f"{private} is no private key", "bring it back, or move it away", USAGE)
    return key
