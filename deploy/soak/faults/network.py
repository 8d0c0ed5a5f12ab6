"""The network: what lies between a service and what it talks to."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager

from deploy.local.processes import free_port
from deploy.soak.faults.processes import restart
from deploy.soak.night import Night
from deploy.soak.proxy import Proxy


@asynccontextmanager
async def all_through(night: Night, names: Sequence[str]) -> AsyncIterator[list[Proxy]]:
    """Services that reach Kafka through one proxy and each its database through its own; afterwards directly again."""
    stack = night.fleet.stack
    outer, inner = stack.doors[0]
    with ExitStack() as proxies:
        found = [proxies.enter_context(Proxy(outer, inner))]
        try:
            for name in names:
                port = free_port()
                found.append(proxies.enter_context(Proxy(port, stack.postgres_port)))
                database = stack.databases[name].runtime.replace(f":{stack.postgres_port}/", f":{port}/")
                await restart(night, name, LOTSE_KAFKA=f"127.0.0.1:{outer}", LOTSE_DATABASE=database)
            yield found
        finally:
            for proxy in found:
                proxy.heal()
            for name in names:
                await restart(night, name)


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
