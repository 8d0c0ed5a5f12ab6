"""The operations key pair of a local stack: dead letters are sealed to its public half; the private half reads them."""

import json
import os
from pathlib import Path

from joserfc.jwk import ECKey

PUBLIC, PRIVATE = "operations.pub.json", "operations.json"


def make_operations_key(folder: Path) -> None:
    """Makes the pair once. The private half is for whoever operates (mode 600); no service is given it."""
    if (folder / PRIVATE).exists():
        return
    key = ECKey.generate_key("P-256")
    private = os.open(folder / PRIVATE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(private, "w") as file:
        json.dump(key.as_dict(private=True), file)
    (folder / PUBLIC).write_text(json.dumps(key.as_dict(private=False)))
