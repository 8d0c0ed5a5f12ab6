"""A missing or wrong setting stops at once and is named; its value never is."""

import pytest

from services.host.settings import BadSettings, load_settings
from services.runtime.failures import arm

GOOD = {
    "LOTSE_KAFKA": "127.0.0.1:9092", "LOTSE_DATABASE": "postgresql://u:hush@h/d", "LOTSE_PUBLISHERS": "publishers.toml",
    "LOTSE_HTTP_PORT": "8000", "LOTSE_OPERATIONS_KEY": "operations.pub.json",
}  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOTSE_FAILPOINT", "LOTSE_TESTING", "LOTSE_KAFKA_SECURITY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def test_good_settings_are_taken_and_secrets_do_not_print() -> None:
    assert "hush" not in repr(load_settings())


@pytest.mark.parametrize("name", list(GOOD))
def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(BadSettings, match=name):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [("LOTSE_HTTP_PORT", "canary-7"), ("LOTSE_INSTALLATION", "CANARY 7"), ("LOTSE_LEASE_SECONDS", "canary-7"),
     ("LOTSE_KAFKA_SECURITY", "canary-7")],
)  # fmt: skip
def test_a_wrong_setting_is_named_and_its_value_is_not(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings) as bad:
        load_settings()
    assert value.lower() not in str(bad.value).lower()
    assert name in str(bad.value) or name == "LOTSE_KAFKA_SECURITY"


def test_a_failpoint_is_refused_where_nobody_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOTSE_FAILPOINT", "before_commit:kill")
    with pytest.raises(BadSettings, match="LOTSE_FAILPOINT"):
        load_settings()
    monkeypatch.setenv("LOTSE_TESTING", "1")
    assert load_settings().failpoint


@pytest.mark.parametrize("spec", ["nowhere:kill", "decide:explode"])
def test_a_failpoint_nobody_knows_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="failpoints are"):
        arm(spec)
