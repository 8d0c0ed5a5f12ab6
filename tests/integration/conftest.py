"""What several tests of one part stand on: a service's node without the service around it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import deploy.local.kafka
from deploy.local.kafka import Kafka
from deploy.local.processes import free_port
from deploy.local.stack import LocalStack
from deploy.places import CACHE
from deploy.services import declared
from services.host.host import Host
from services.host.kafka import Reader
from services.host.running import Running, running
from services.host.settings import Settings
from services.process.connections import KafkaSecurity
from services.runtime.database import connect
from tests.certificates import made
from tests.conftest import PUBLISHERS
from tests.publishing import until


@pytest.fixture
async def node(prepared: LocalStack) -> AsyncIterator[Running]:
    """Intake's, without the service around it."""
    async with node_of(prepared, "intake") as found:
        yield found


@asynccontextmanager
async def node_of(stack: LocalStack, name: str) -> AsyncIterator[Running]:
    """A service's, on a prepared stack."""
    dsn = stack.databases[name].runtime
    settings = Settings(kafka=stack.kafka, database=SecretStr(dsn), publishers=PUBLISHERS,
                        operations_key=stack.operations_key, http_port=0)  # fmt: skip
    reader, pool = Reader(stack.kafka, KafkaSecurity(), "alone"), await connect(dsn)
    pool._init = unhurried  # type: ignore[attr-defined]  # asked of each session it opens
    await unhurried(pool)  # the one there is
    await reader.start()
    yield running(declared(name), settings, pool, reader)
    await reader.stop()
    pool.terminate()


@asynccontextmanager
async def served(stack: LocalStack, name: str) -> AsyncIterator[Host]:
    """A service that serves in this process, on a prepared stack."""
    settings = Settings(kafka=stack.kafka, database=SecretStr(stack.databases[name].runtime), publishers=PUBLISHERS,
                        operations_key=stack.operations_key, http_port=free_port())  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.host.host.settle_in", lambda _: None)  # this process goes on
        serves = Host(declared(name), settings)
        serving = asyncio.create_task(serves._run())
        try:
            await until(lambda: serving.done() or (hasattr(serves, "status") and serves.status.ready))
            assert not serving.done(), serving.exception()
            yield serves
        finally:
            serving.cancel()
            await asyncio.wait([serving])


async def unhurried(session: Any) -> None:
    """A transaction of a test may wait for a processor: of the largest release Postgres once ended the session, beside a load of eight."""
    await session.execute("set idle_in_transaction_session_timeout = 0")


GUARDED = """\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:admin;User:ANONYMOUS
sasl.enabled.mechanisms=PLAIN
inter.broker.listener.name=SASL
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.sasl.plain.sasl.jaas.config={users}
listener.name.tls.plain.sasl.jaas.config={users}
listener.name.tls.ssl.keystore.type=PEM
listener.name.tls.ssl.keystore.location={keystore}
listener.name.mutual.ssl.keystore.type=PEM
listener.name.mutual.ssl.keystore.location={keystore}
listener.name.mutual.ssl.truststore.type=PEM
listener.name.mutual.ssl.truststore.location={cafile}
listener.name.mutual.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=([^,]*).*$/$1/
"""
USERS = (
    'org.apache.kafka.common.security.plain.PlainLoginModule required username="admin" password="admin-secret"'
    ' user_admin="admin-secret" user_intake="intake-secret" user_clock="clock-secret";'
)


@dataclass
class Guarded:
    """A broker that asks who one is and gives no right by itself; its users' passwords are `<user>-secret`; where it speaks SSL
    alone, it asks for a certificate."""

    addresses: dict[str, str]
    """Protocol to `host:port`."""
    cafile: Path
    users: dict[str, Path]
    """User to certificate and key."""
    shows: Callable[[bool], None]
    """Starts it anew, with a certificate that holds or one that has expired."""

    def options(self, protocol: str, user: str) -> dict[str, str]:
        """LOTSE_KAFKA_SECURITY of a user, before it is JSON; without a name of one who has no certificate."""
        if protocol == "SSL":
            own = {"ssl_certfile": str(self.users[user])} if user else {}
            return {"security_protocol": protocol, "ssl_cafile": str(self.cafile), **own}
        tls = {"ssl_cafile": str(self.cafile)} if protocol == "SASL_SSL" else {}
        return {"security_protocol": protocol, "sasl_mechanism": "PLAIN", "sasl_plain_username": user,
                "sasl_plain_password": f"{user}-secret", **tls}  # fmt: skip


@contextmanager
def broker_that_asks(folder: Path) -> Iterator[Guarded]:
    """One with three doors: a password in clear, a password under TLS, a certificate."""
    tls, mutual, files, shown = free_port(), free_port(), made(folder, "admin", "intake", "clock"), folder / "shown.pem"
    config = deploy.local.kafka.CONFIG.replace("PLAINTEXT://127.0.0.1:{port}", "SASL://127.0.0.1:{port}")
    config = config.replace(
        "SASL://127.0.0.1:{port}", f"SASL://127.0.0.1:{{port}},TLS://127.0.0.1:{tls},MUTUAL://127.0.0.1:{mutual}"
    )
    config = config.replace(",PLAINTEXT:PLAINTEXT", ",SASL:SASL_PLAINTEXT,TLS:SASL_SSL,MUTUAL:SSL")
    broker = Kafka(folder / "kafka", CACHE)

    def shows(holds: bool) -> None:
        broker.process.stop()
        shown.write_bytes((files.keystore if holds else files.expired).read_bytes())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                deploy.local.kafka, "CONFIG", config + GUARDED.format(users=USERS, keystore=shown, cafile=files.cafile)
            )
            broker.start(broker.port or None)
        broker.wait()

    try:
        shows(True)
        doors = {"SASL_PLAINTEXT": broker.address, "SASL_SSL": f"127.0.0.1:{tls}", "SSL": f"127.0.0.1:{mutual}"}
        yield Guarded(doors, files.cafile, files.users, shows)
    finally:
        broker.process.stop()


@pytest.fixture(scope="module")
def guarded_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One for all tests of a module."""
    with broker_that_asks(tmp_path_factory.mktemp("guarded")) as broker:
        yield broker


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """The address without TLS of one that knows nothing yet."""
    with broker_that_asks(tmp_path) as broker:
        yield broker.addresses["SASL_PLAINTEXT"]
