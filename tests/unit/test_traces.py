"""What of a batch goes to the collector of traces: sizes, places, an error's class; nothing a message or a row said."""

from types import SimpleNamespace

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.telemetry import spanning


def test_of_what_broke_a_batch_only_its_class_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres' errors quote the row, pydantic's the value; a span's usual event carries both, and the stack."""
    told, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(told))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    sent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    record = SimpleNamespace(topic="intake.submissions.kreis", headers=[("traceparent", sent)], value=b"Zainab Canary")
    with pytest.raises(ValueError, match="Canary"), spanning("intake", [record]):
        raise ValueError("Key (name)=(Zainab Canary) already exists")
    (span,) = told.get_finished_spans()
    assert "anary" not in span.to_json()
    assert span.attributes and span.attributes["error.type"] == "ValueError"
    assert span.status.status_code is trace.StatusCode.ERROR and span.links[0].context.trace_id == int(sent[3:35], 16)
