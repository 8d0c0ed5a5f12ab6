"""The network: what lies between a service and what it talks to."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from deploy.local.processes import free_port
from deploy.soak.faults.processes import restart
from deploy.soak.night import Night
from deploy.soak.proxy import Proxy


@asynccontextmanager
async def through(
    night: Night, name: str, *, kafka: bool = False, database: bool = False, more: Mapping[str, str] | None = None
) -> AsyncIterator[Proxy]:
    """A service that reaches Kafka (by a door of the broker) or Postgres only through a proxy; afterwards directly again."""
    stack, settings = night.fleet.stack, dict(more or {})
    if kafka:
        outer, inner = stack.doors[0]
        settings["LOTSE_KAFKA"] = f"127.0.0.1:{outer}"
    if database:
        outer, inner = free_port(), stack.postgres_port
        settings["LOTSE_DATABASE"] = stack.databases[name].runtime.replace(f":{inner}/", f":{outer}/")
    with Proxy(outer, inner) as proxy:
        await restart(night, name, **settings)
        try:
            yield proxy
        finally:
            proxy.heal()
            await restart(night, name)
