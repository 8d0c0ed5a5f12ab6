"""Logs as JSON with an allow-list, and the metrics an operator needs first. Nothing that identifies a person."""

import logging
import sys
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LOGGABLE = frozenset(
    "event level timestamp service topic partition offset part position end count seconds error kind family why tick "
    "tenant publisher verdict pointer rule facts answers batch state held port reason name id records lag".split()
)
"""Only these fields leave a process. `id` is ours (attempt, tick), never one a sender chose."""


def _only_loggable(_logger: Any, _method: str, event: Any) -> Any:
    return {key: value for key, value in event.items() if key in LOGGABLE}


class _Foreign(logging.Handler):
    """Libraries' logs: the template of the message, never its arguments, which may quote what others sent."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(record.levelno, "library", name=record.name, why=str(record.msg)[:200])


def set_up_logs(service: str, level: str) -> None:
    """JSON lines on stderr."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _only_loggable,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(handlers=[_Foreign()], level=logging.WARNING, force=True)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # 75 lines a second a client while a broker is away


class Metrics:
    """About ten figures: is every submission being answered, and if not, where does it stand still?"""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        one: dict[str, Any] = {"registry": self.registry}
        self.messages = Counter("lotse_messages", "Messages settled, by kind of input", ["kind"], **one)
        self.answers = Counter("lotse_answers", "Answers written to the outbox", **one)
        self.facts = Counter("lotse_facts", "Facts recorded", **one)
        self.batch_seconds = Histogram(
            "lotse_batch_seconds", "Seconds a batch took", buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 30), **one
        )
        self.retries = Counter("lotse_batches_held", "Batches sought back, by error class", ["error"], **one)
        self.relayed = Counter("lotse_relayed", "Records acknowledged by Kafka", **one)
        self.lag_seconds = Gauge("lotse_lag_seconds", "Age of the oldest input not applied", **one)
        self.outbox_rows = Gauge("lotse_outbox_rows", "Outbox rows not yet acknowledged", **one)
        self.outbox_seconds = Gauge("lotse_outbox_age_seconds", "Age of the oldest outbox row", **one)
        self.waiting = Gauge("lotse_waiting", "Submissions that rest on something unknown", **one)
        self.set_aside = Gauge("lotse_set_aside", "Submissions a rule of ours could not bear", **one)
        self.dead_letters = Gauge("lotse_dead_letters", "Messages that could never be read", **one)
        self.held = Gauge("lotse_held", "Things held: everything or partitions", **one)
