"""A missing or wrong setting stops at once and is named; its value never is."""

import os

import pytest

from services.host.settings import BadSettings, load_settings
from services.process.failpoints import arm

GOOD = {
    "LOTSE_KAFKA": "127.0.0.1:9092", "LOTSE_DATABASE": "postgresql://u:hush@h/d", "LOTSE_PUBLISHERS": "publishers.toml",
    "LOTSE_HTTP_PORT": "8000", "LOTSE_OPERATIONS_KEY": "operations.pub.json",
}  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LOTSE_")]:
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
     ("LOTSE_KAFKA_SECURITY", "canary-7"), ("LOTSE_KAFKA_SECURITY", '["canary-7"]'),
     ("LOTSE_KAFKA_SECURITY", '{"canary-7": 1}'), ("LOTSE_KAFKA_SECURITY", '{"sasl_plain_password": "canary-7"}'),
     ("LOTSE_KAFKA", "canary-7:90x2"), ("LOTSE_KAFKA", "h:9092,canary-7"), ("LOTSE_KAFKA", "canary-7:9092/x"),
     ("LOTSE_KAFKA", "SSL://canary-7:9092"), ("LOTSE_KAFKA", "canary-7:0"), ("LOTSE_KAFKA", "canary-7:9092,"),
     ("LOTSE_DATABASE", "postgresql://u:canary-7/x@h/d"), ("LOTSE_DATABASE", "postgresql://u:canary-7#x@h/d"),
     ("LOTSE_DATABASE_OWNER", "postgresql://u:1?canary-7@h/d"), ("LOTSE_LOG_LEVEL", "canary-7"),
     ("LOTSE_HTTP_HOST", "0.0.0.0"), ("LOTSE_HTTP_HOST", "10.1.2.3"), ("LOTSE_HTTP_HOST", "canary-7")],
)  # fmt: skip
def test_a_wrong_setting_is_named_and_its_value_is_not(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings) as bad:
        load_settings()
    assert value.lower() not in str(bad.value).lower() and "canary" not in str(bad.value).lower()
    assert f"{name} (" in str(bad.value)


def test_a_level_may_be_written_small_and_what_is_empty_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOTSE_LOG_LEVEL", "debug")
    for name in ("LOTSE_KAFKA_SECURITY", "LOTSE_DATABASE_OWNER", "LOTSE_GROUP"):
        monkeypatch.setenv(name, "")
    settings = load_settings()
    assert settings.log_level == "DEBUG" and settings.database_owner is None and settings.group is None
    assert settings.kafka_security.security_protocol == "PLAINTEXT"
    monkeypatch.setenv("LOTSE_KAFKA", "")
    with pytest.raises(BadSettings, match=r"LOTSE_KAFKA \(missing\)"):
        load_settings()


def test_security_is_read_from_its_json(monkeypatch: pytest.MonkeyPatch) -> None:
    said = '{"security_protocol": "SASL_PLAINTEXT", "sasl_plain_username": "intake", "sasl_plain_password": "hush"}'
    monkeypatch.setenv("LOTSE_KAFKA_SECURITY", said)
    settings = load_settings()
    assert settings.kafka_security.librdkafka("h:1")["sasl.password"] == "hush" and "hush" not in repr(settings)
    monkeypatch.setenv("LOTSE_KAFKA_SECURITY", said[:-1])
    with pytest.raises(BadSettings, match=r"LOTSE_KAFKA_SECURITY \(no_json\)"):
        load_settings()


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
