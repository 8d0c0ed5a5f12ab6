"""The operations key pair of a local stack: dead letters are sealed to its public half; the private half reads them."""

import json
import os
from pathlib import Path

from joserfc.jwk import ECKey

from deploy.errors import USAGE, Trouble

PUBLIC, PRIVATE = "operations.pub.json", "operations.json"


def make_operations_key(folder: Path) -> None:
    """Makes the pair once, both or none. The private half is for whoever operates (mode 600); no service is given it. Raises
    Trouble where it can't be written."""
    private, public = folder / PRIVATE, folder / PUBLIC
    if private.exists() and public.exists():
        return
    key = ECKey.generate_key("P-256")
    try:
        public.write_text(json.dumps(key.as_dict(private=False)))
        part = private.with_suffix(".new")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(key.as_dict(private=True), file)
            file.flush()
            os.fsync(file.fileno())
        part.rename(private)  # last: whoever dies before makes both anew
    except OSError as error:
        raise Trouble(
            f"no key can be written to {folder} ({type(error).__name__})", "name a folder you may write to", USAGE
        ) from None
