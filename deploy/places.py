"""Which services there are, and where things lie in this tree."""

from pathlib import Path

SERVICES = ("intake", "referral", "notification", "reporting")
ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".lotse" / "cache"
EXAMPLES = ROOT / "deploy" / "examples"
