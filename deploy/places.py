"""Which services there are, where things lie in this tree, and who may look into them."""

import fcntl
import os
from pathlib import Path

SERVICES = ("intake", "referral", "notification", "reporting")
ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".lotse" / "cache"
STATE = Path(os.environ.get("LOTSE_STATE") or ROOT / ".lotse")
"""Where a stack that is up keeps what it knows, and is found; and what `lotse import` remembers of an installation. Empty is not
set. A relative one the `lotse` command refuses: from another folder it would be another one."""
EXAMPLES = ROOT / "deploy" / "examples"


def locked(file: Path) -> int | None:
    """A file that is ours for as long as it is open; None where it is somebody's. Raises OSError where it can't be opened."""
    lock = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def closed(folder: Path, *, passed: bool = False) -> Path:
    """A folder of ours, made where it is missing, into which nobody else looks: below lie raw submissions, mails and passwords.
    `passed`: who may pass may go on passing, as Postgres' user must where root starts it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(folder.stat().st_mode & ~(0o066 if passed else 0o077))
    return folder
