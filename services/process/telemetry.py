"""Logs as JSON with an allow-list, the metrics an operator needs first, and traces. Nothing that identifies a person."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LOGGABLE = frozenset(
    "event level timestamp service topic partition offset part position end count seconds error kind family why tick "
    "tenant publisher verdict pointer rule facts answers batch state held port reason name id records lag stands".split())  # fmt: skip
"""Only these fields leave a process. `id` is ours (attempt, tick), never one a sender chose; `stands` are
files, lines and functions of a stack."""

MAX_LINKS = 32  # of a batch's span; more is cost without insight


def _only_loggable(_logger: Any, _method: str, event: Any) -> Any:
    return {key: value for key, value in event.items() if key in LOGGABLE}


OF_LIBRARIES = ("certificate has expired", "certificate verify failed", "Authentication failed", "Connection refused",
                "Failed to resolve")  # fmt: skip
"""What of a library's own words helps at night, and quotes nobody."""
SAID_AGAIN = 10.0  # seconds; a broker that is away is told of a hundred times in one


class _Foreign(logging.Handler):
    """Libraries' logs: the template of the message, or a known word of it; never its arguments, which may quote what others
    sent."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(TypeError, ValueError):  # arguments that do not fit their template
            known = next((word for word in OF_LIBRARIES if word in record.getMessage()), None)
            if known is None and record.name.startswith("aiokafka"):
                return  # 75 lines a second a client while a broker is away, of which one is enough
            said = (record.name, known or str(record.msg)[:200])
            if record.created - self._said.get(said, 0.0) > SAID_AGAIN:
                self._said[said] = record.created
                structlog.get_logger().log(record.levelno, "library", name=said[0], why=said[1])


def set_up_logs(service: str, level: str) -> None:
    """JSON lines on stderr."""
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level,
                    structlog.processors.TimeStamper(fmt="iso", utc=True), _only_loggable,
                    structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True)  # fmt: skip
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(handlers=[_Foreign()], level=logging.WARNING, force=True)
    logging.getLogger("aiokafka").setLevel(logging.ERROR)


def set_up_traces(service: str) -> None:
    """Spans leave where OTEL_EXPORTER_OTLP_ENDPOINT says so, from a bounded buffer: a collector that is gone blocks nothing."""
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        # 4 MB and a tenth of a start that most services need not
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        provider = TracerProvider(resource=Resource.create({"service.name": f"lotse-{service}"}))
        # seconds: SIGTERM waits for a last send, and with ten a silent collector made it 14
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(timeout=3)))
        trace.set_tracer_provider(provider)


@contextlib.contextmanager
def spanning(service: str, records: Sequence[Any]) -> Iterator[None]:
    """One span a batch, linked to what its messages were sent under; sizes and places only, no value of a message."""
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        sent = (value for record in records for name, value in record.headers if name == "traceparent" and value)
        contexts = [_context(text.decode("ascii", "replace")) for text in islice(dict.fromkeys(sent), MAX_LINKS)]
        links = [trace.Link(trace.get_current_span(context).get_span_context()) for context in contexts]
        said = {"messaging.system": "kafka", "messaging.operation.type": "process", "messaging.batch.message_count": len(records),
                "messaging.consumer.group.name": service, "messaging.destination.name": records[0].topic}  # fmt: skip
        with _span("process batch", kind=trace.SpanKind.CONSUMER, links=links, attributes=said):
            yield
    else:
        yield


@contextlib.contextmanager
def calling(what: str, traceparent: str | None) -> Iterator[Callable[[str], None]]:
    """A span around what the world is asked to do, in the trace of what led to it. Gives what is called with how it ended: a
    word of ours, which goes to the collector."""
    context = _context(traceparent) if traceparent else None
    with _span(what, kind=trace.SpanKind.CLIENT, context=context) as span:
        yield lambda result: span.set_attribute("lotse.result", result)


@contextlib.contextmanager
def _span(name: str, **more: Any) -> Iterator[trace.Span]:
    """An error's text and stack quote rows and messages: only its class goes to the collector."""
    quiet: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
    with trace.get_tracer("lotse").start_as_current_span(name, **more, **quiet) as span:
        try:
            yield span
        except Exception as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(trace.StatusCode.ERROR)
            raise


def _context(traceparent: str) -> Context:
    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})


class Metrics:
    """Is every submission being answered, and if not, where does it stand still? Gauges are set when they are read."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        one: dict[str, Any] = {"registry": self.registry}
        self.messages = Counter("lotse_messages", "Messages settled, by kind of input", ["kind"], **one)
        self.answers = Counter("lotse_answers", "Answers written to the outbox", **one)
        self.facts = Counter("lotse_facts", "Facts recorded", **one)
        self.relayed = Counter("lotse_relayed", "Records acknowledged by Kafka", **one)
        self.forks = Counter("lotse_forks", "Forks met: a number that came again with another id", **one)
        self.retries = Counter("lotse_batches_held", "Batches sought back, by error class", ["error"], **one)
        seconds = (0.01, 0.05, 0.1, 0.5, 1, 5, 30)
        self.batch_seconds = Histogram("lotse_batch_seconds", "Seconds a batch took", buckets=seconds, **one)
        self.gauges = {name: Gauge(f"lotse_{name}", says, **one) for name, says in GAUGES.items()}

    def set(self, **values: float) -> None:
        """Sets gauges by name."""
        for name, value in values.items():
            self.gauges[name].set(value)


GAUGES = {
    "lag_seconds": "Age of the oldest input not applied",
    "oldest_unanswered_seconds": "Age of the oldest submission that waits, is set aside or in quarantine",
    "outbox_rows": "Outbox rows not yet acknowledged",
    "outbox_age_seconds": "Age of the oldest outbox row not yet acknowledged",
    "waiting": "Submissions that rest on something unknown",
    "early": "Facts kept until the missing one comes",
    "findings": "What a person should look at, in words in /status",
    "set_aside": "Submissions a rule of ours could not bear",
    "quarantined": "Subjects in quarantine",
    "held": "Partitions held, and everything",
    "publishers_held": "Publishers held at their limit of unreadable messages",
    "gaps": "Partitions whose position, or whose acknowledged end, lies outside the log",
    "dead_letters": "Messages that could never be read",
    "progress_age_seconds": "Seconds since the last settled batch, 0 while there is no lag",
    "tick_age_seconds": "Age of the newest tick acted on, of the alliance for which time stands still the longest",
    "certificate_seconds": "Seconds until the first certificate on the way to Kafka ends, our own or a broker's; +Inf without TLS",
    "older_than_log_facts": "By how many records the log is ahead of the database, counted up to 100,000; more than 0: it does not serve",
}
