"""What of a batch and a mail goes to the collector of traces: sizes, places, an error's class; nothing a message or a row said."""

from datetime import UTC, date, datetime
from types import SimpleNamespace
from uuid import uuid4

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from contracts.envelope import Attributes, Recorded
from contracts.notification import NoticeLine, NotificationAttempted
from services.notification.domain import LOTSE
from services.notification.mail import Post
from services.notification.organisations import MailSettings
from services.process.telemetry import spanning

SENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What the collector gets."""
    told, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(told))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return told


def test_of_what_broke_a_batch_only_its_class_is_told(told: InMemorySpanExporter) -> None:
    """Postgres' errors quote the row, pydantic's the value; a span's usual event carries both, and the stack."""
    record = SimpleNamespace(
        topic="intake.submissions.kreis", headers=[("traceparent", SENT.encode())], value=b"Zainab Canary"
    )
    with pytest.raises(ValueError, match="Canary"), spanning("intake", [record]):
        raise ValueError("Key (name)=(Zainab Canary) already exists")
    (span,) = told.get_finished_spans()
    assert "anary" not in span.to_json()
    assert span.attributes and span.attributes["error.type"] == "ValueError"
    assert span.status.status_code is trace.StatusCode.ERROR and span.links[0].context.trace_id == int(SENT[3:35], 16)


@pytest.mark.parametrize("traceparent", [SENT, None, "no trace at all"])
async def test_a_mail_has_a_span_in_the_trace_of_what_led_to_it(
    told: InMemorySpanExporter, traceparent: str | None
) -> None:
    line = NoticeLine(kind="RAISED", case_id=str(uuid4()), about=str(uuid4()), rule="S2", first_on=date(2026, 3, 2))
    said = NotificationAttempted(
        by=LOTSE, attempt_id=str(uuid4()), lines=(line,), as_of=datetime(2026, 3, 10, tzinfo=UTC)
    )
    attributes = Attributes(
        said.attempt_id, "urn:lotse", said.ce_type, "rkn:thm", said.as_of, "rkn", traceparent=traceparent
    )
    settings = MailSettings.model_construct()
    assert (await Post(settings, {}).perform(Recorded(attributes, said))).reason == "NO_MAILBOX"  # type: ignore[attr-defined]
    (span,) = told.get_finished_spans()
    assert (span.name, span.attributes) == ("send mail", {"lotse.result": "NotificationFailed"})
    assert (span.parent and span.parent.trace_id) == (int(SENT[3:35], 16) if traceparent == SENT else None)
