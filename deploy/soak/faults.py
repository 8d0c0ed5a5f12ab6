"""What breaks things, and heals them in `finally`. Processes are known by their recorded pid, never by a name."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4, uuid5

import asyncpg
import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from deploy.errors import UNREACHABLE, Trouble
from deploy.local.postgres import Postgres
from deploy.local.processes import Process, free_port
from deploy.local.stack import ROOT, SERVICES
from deploy.services import make_topics, migrate, publishers_from, settings_of
from deploy.soak.night import Night
from deploy.soak.proxy import Proxy

WRONG_CLOCK = Path(__file__).parent / "wrong_clock"
MAIN = [sys.executable, "-m", "deploy.cli"]


def process(night: Night, name: str) -> Process:
    """A service's or a part of the stack's process."""
    return night.fleet.processes.get(name) or night.fleet.stack.processes[name]


# --- processes


def clock_off(hours: float) -> dict[str, str]:
    """Settings of a process whose clock is wrong by so much, everywhere Python tells the time."""
    return {"PYTHONPATH": f"{WRONG_CLOCK}{os.pathsep}{ROOT}", "LOTSE_SOAK_CLOCK": str(hours * 3600)}


def kill(night: Night, name: str) -> None:
    """SIGKILL; Postgres with its children, as a crash of the machine would."""
    one = process(night, name)
    assert one.child is not None
    children = psutil.Process(one.child.pid).children(recursive=True) if one.pid else []
    one.kill()
    for child in children:
        if child.is_running():
            child.kill()
    psutil.wait_procs(children, timeout=10)
    night.kills += 1
    night.note(f"SIGKILL {name}")


async def start(night: Night, name: str, **settings: str) -> None:
    """Starts a service again, or Kafka or Postgres, and waits until it answers."""
    if name in night.fleet.processes:
        night.fleet.start_one(name, **settings)
        await asyncio.to_thread(night.fleet.wait_ready, name)
    else:
        await asyncio.to_thread(night.fleet.stack.start_again(name))


async def restart(night: Night, name: str, **settings: str) -> None:
    """SIGTERM, and a new process with other settings."""
    await asyncio.to_thread(night.fleet.processes[name].stop)
    await start(night, name, **settings)


async def mended(night: Night) -> None:
    """Whatever a row that broke off left behind: everything runs again, and every service is ready."""
    fleet = night.fleet
    for name in ("postgres", "kafka"):
        if fleet.stack.processes[name].pid is None:
            await start(night, name)
    for name in SERVICES:
        if fleet.processes[name].pid is None:
            fleet.start_one(name)
    for name in SERVICES:
        await asyncio.to_thread(fleet.wait_ready, name)


@asynccontextmanager
async def frozen(one: Process, seconds: float) -> AsyncIterator[None]:
    """SIGSTOP for so long; SIGCONT whatever happens. The body runs at once, and the rest of the time is waited."""
    assert one.child is not None
    until, pid = time.monotonic() + seconds, one.child.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
        await asyncio.sleep(max(0.0, until - time.monotonic()))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def another(night: Night, name: str, *, own_group: bool = True, **settings: str) -> AsyncIterator[Process]:
    """A further worker of a service, ready. In a group of its own it has every partition, too: split brain, permanently."""
    fleet, port = night.fleet, free_port()
    one = Process(fleet.stack.folder / "second", f"{name}-{uuid4().hex[:6]}")
    group = {"LOTSE_GROUP": f"second-{uuid4().hex[:6]}"} if own_group else {}
    one.start([*MAIN, "serve", name], fleet.environment(name, **group, LOTSE_HTTP_PORT=str(port), **settings))
    try:
        await night.until(lambda: b"serving" in one.log.read_bytes(), f"another worker of {name}")
        yield one
    finally:
        if one.child is not None and one.pid is not None:
            os.kill(one.child.pid, signal.SIGCONT)
        await asyncio.to_thread(one.stop)


@asynccontextmanager
async def armed(night: Night, name: str, failpoint: str, **settings: str) -> AsyncIterator[Process]:
    """A service with a failpoint in it; a sound one in its place afterwards. It is in a group of its own: what a dead member's
    group waits for (its session timeout) is looked at in row 15, not everywhere."""
    await restart(night, name, LOTSE_FAILPOINT=failpoint, LOTSE_GROUP=f"armed-{uuid4().hex[:6]}", **settings)
    try:
        yield night.fleet.processes[name]
    finally:
        await restart(night, name)


async def dead(night: Night, one: Process, patience: float = 60.0) -> int:
    """Waits until a process has ended; its exit code."""
    await night.until(lambda: one.pid is None, f"the end of {one.name}", patience)
    assert one.child is not None
    return int(one.child.returncode)


def rss(one: Process) -> int:
    """Resident bytes of a process."""
    assert one.pid is not None
    return int(psutil.Process(one.pid).memory_info().rss)


def descriptors(one: Process) -> int:
    """Open descriptors of a process."""
    assert one.pid is not None
    return int(psutil.Process(one.pid).num_fds())


# --- the network


@asynccontextmanager
async def through(night: Night, name: str, *, kafka: bool = False, database: bool = False) -> AsyncIterator[Proxy]:
    """A service that reaches Kafka (by a door of the broker) or Postgres only through a proxy; afterwards directly again."""
    stack, settings = night.fleet.stack, {}
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


# --- the database


@asynccontextmanager
async def session(night: Night, service: str) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's session on a service's database."""
    dsn = night.fleet.stack.admin_dsn.rpartition("/")[0]
    con = await asyncpg.connect(f"{dsn}/{service}", timeout=10, server_settings={"search_path": "lotse"})
    try:
        yield con
    finally:
        con.terminate()


async def tables(con: asyncpg.Connection) -> list[str]:
    """Names of the service's tables, in their order; we know none of them by heart."""
    rows = await con.fetch("select tablename from pg_tables where schemaname = 'lotse' order by 1")
    return [f"lotse.{row['tablename']}" for row in rows]


@asynccontextmanager
async def locked(night: Night, service: str) -> AsyncIterator[None]:
    """Every table of a service locked by a session that does nothing: a forgotten operator."""
    async with session(night, service) as con:
        names = await tables(con)
        for again in range(20):
            transaction = con.transaction()
            await transaction.start()
            try:
                for table in names:
                    await con.execute(f"lock table {table} in exclusive mode")
                break
            except (
                asyncpg.DeadlockDetectedError
            ):  # the service was there first, in another order: it goes on, we come again
                await transaction.rollback()
                if again == 19:
                    raise
        yield


@asynccontextmanager
async def idle_operator(night: Night, service: str) -> AsyncIterator[int]:
    """Somebody with a role of their own has looked at rows `for update` and gone to lunch; their session's number."""
    dsn, password = night.fleet.stack.admin_dsn.rpartition("/")[0], uuid4().hex
    async with session(night, service) as con:
        await con.execute("drop role if exists operator")
        await con.execute(f"create role operator login password '{password}' in role \"{service}_owner\"")
        try:
            place = f"{dsn.replace(dsn.split('//')[1].split('@')[0], f'operator:{password}')}/{service}"
            idle = await asyncpg.connect(place, timeout=10)
            try:
                await idle.execute("begin")
                for table in await tables(con):
                    await idle.execute(f"select from {table} for update")  # noqa: S608
                yield int(await idle.fetchval("select pg_backend_pid()"))
            finally:
                idle.terminate()
        finally:
            sql = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'operator'"
            while await con.fetch(sql):
                await asyncio.sleep(0.1)
            await con.execute("drop role operator")


def megabytes_of_log(night: Night) -> int:
    """Size of the broker's data on its disk; files with holes take what they hold."""
    files = (night.fleet.stack.folder / "kafka" / "data").rglob("*")
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file()) // 2**20 + 1


async def megabytes(night: Night, service: str) -> int:
    """Size of a service's database."""
    async with session(night, service) as con:
        return int(await con.fetchval("select pg_database_size(current_database())")) // 2**20 + 1


async def cross(night: Night, service: str, rounds: int) -> int:
    """Locks a service's tables in the wrong order, again and again: deadlocks. Gives back how often we were the victim."""
    victim = 0
    async with session(night, service) as con:
        names = await tables(con)
        await con.execute(
            "set deadlock_timeout = '3s'; set lock_timeout = '4s'"
        )  # so that mostly the service is the victim
        for _ in range(rounds):
            try:
                async with con.transaction():
                    for table in reversed(names):
                        await con.execute(f"lock table {table} in share row exclusive mode")
                        await asyncio.sleep(0.03)
            except (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError):
                victim += 1
            await asyncio.sleep(0.1)
    return victim


async def terminate_backends(night: Night, service: str) -> int:
    """pg_terminate_backend of everybody on a service's database; how many."""
    async with session(night, service) as con:
        return await _end_others(con, service)


@asynccontextmanager
async def _role_told(night: Night, service: str, what: str, back: str, *, anew: bool = True) -> AsyncIterator[None]:
    """Something is changed about the service's role, and changed back. `anew`: the connections it has are ended."""
    async with session(night, service) as con:
        await con.execute(what)
        try:
            if anew:
                await _end_others(con, service)
            yield
        finally:
            await con.execute(back)


def wrong_password(night: Night, service: str) -> AbstractAsyncContextManager[None]:
    """The service's role has another password than the service, and the connections it has are ended."""
    set_to = f"alter role \"{service}_runtime\" password '{{}}'"
    right = urlsplit(night.fleet.stack.databases[service].runtime).password
    return _role_told(night, service, set_to.format(uuid4().hex), set_to.format(right))


def right_revoked(night: Night, service: str, table: str) -> AbstractAsyncContextManager[None]:
    """The service's role may no longer write a table."""
    writes, role = f"insert, update on {table}", f'"{service}_runtime"'
    return _role_told(night, service, f"revoke {writes} from {role}", f"grant {writes} to {role}", anew=False)


def few_connections(night: Night, service: str, most: int) -> AbstractAsyncContextManager[None]:
    """The service's role may have only so many connections, and those it has are ended."""
    limit = f'alter role "{service}_runtime" connection limit {{}}'
    return _role_told(night, service, limit.format(most), limit.format(-1))


@asynccontextmanager
async def relay_kept(night: Night, service: str) -> AsyncIterator[None]:
    """The service's relay leads no more: its lock is ours. What is recorded meanwhile waits in the outbox."""
    mine = "select pg_try_advisory_lock(hashtext('lotse relay'))"
    theirs = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1"
    async with session(night, service) as con:
        async with asyncio.timeout(30):
            while not await con.fetchval(mine):  # the relay asks for it again twice a second
                await con.execute(theirs, f"lotse-relay-{service}")
                await asyncio.sleep(0.05)
        yield


async def _end_others(con: asyncpg.Connection, service: str) -> int:
    sql = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()"
    return len(await con.fetch(sql, service))


async def copied(night: Night, service: str) -> str:
    """A copy of a stopped service's database, as a backup would be; its name."""
    async with session(night, "postgres") as con:
        await _end_others(con, service)
        await con.execute(f'drop database if exists "{service}_old"')
        await con.execute(f'create database "{service}_old" template "{service}" owner "{service}_owner"')
    return f"{service}_old"


async def restored(night: Night, service: str) -> None:
    """Puts the copy in the place of a stopped service's database."""
    async with session(night, "postgres") as con:
        await con.execute(f'drop database "{service}" with (force)')
        await con.execute(f'alter database "{service}_old" rename to "{service}"')
        await con.execute(f'grant connect on database "{service}" to "{service}_runtime"')


async def gone(night: Night, service: str) -> None:
    """A stopped service's database is lost; an empty one, migrated, stands in its place."""
    async with session(night, "postgres") as con:
        await con.execute(f'drop database "{service}" with (force)')
    await asyncio.to_thread(night.fleet.stack.provision)
    await asyncio.to_thread(migrate, service, night.fleet.stack.databases[service].owner)


async def lotse(night: Night, service: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs the `lotse` command in a service's environment; a setting given as "" is missing from it."""
    environment = {name: value for name, value in night.fleet.environment(service, **settings).items() if value}
    return await asyncio.to_thread(
        lambda: subprocess.run(
            [*MAIN, *arguments], capture_output=True, text=True, check=False, env=environment, timeout=180
        )
    )


@asynccontextmanager
async def standby(night: Night, *, deaf: bool = False) -> AsyncIterator[Postgres]:
    """A second Postgres that has what is committed before the first says so; or, `deaf`, one that hears no more of it. The body
    promotes it, or it is gone unused."""
    first = night.fleet.stack.postgres
    second = Postgres(night.fleet.stack.folder / "standby")
    second.folder.mkdir(exist_ok=True)
    for secret in first.folder.glob("password.*"):
        shutil.copy(secret, second.folder)
    second.make_room()
    try:
        source = first.dsn("postgres", "postgres")
        done = await asyncio.to_thread(
            second.run, "pg_basebackup", "-d", source, "-D", str(second.data), "-R", "-X", "stream", "-c", "fast"
        )
        if done.returncode:
            raise Trouble(f"no standby: {done.stderr.decode(errors='replace')[-400:]}", f"see {second.folder}")
        second.start()
        await asyncio.to_thread(second.wait)
        if deaf:
            await _told(second.dsn("postgres", "postgres"), "alter system set primary_conninfo = ''")
        else:
            await _told(night.fleet.stack.admin_dsn, "alter system set synchronous_standby_names = '*'")
            async with session(night, "postgres") as con, asyncio.timeout(30):
                while not await con.fetchval(
                    "select exists (select from pg_stat_replication where sync_state = 'sync')"
                ):
                    await asyncio.sleep(0.1)
        yield second
    finally:
        with contextlib.suppress(OSError, asyncpg.PostgresError):  # a first that lives must not wait for it
            await _told(night.fleet.stack.admin_dsn, "alter system reset synchronous_standby_names")
        await asyncio.to_thread(second.process.stop)
        shutil.rmtree(second.folder, ignore_errors=True)


async def _told(dsn: str, setting: str) -> None:
    con = await asyncpg.connect(dsn, timeout=10)
    try:
        await con.execute(setting)
        await con.execute("select pg_reload_conf()")
    finally:
        await con.close()


async def failed_over(night: Night, second: Postgres) -> None:
    """The standby is promoted, and what it has stands where everybody looks for the first, which is gone for good."""
    con = await asyncpg.connect(second.dsn("postgres", "postgres"), timeout=10)
    await con.execute("select pg_promote()")
    await con.close()
    await asyncio.to_thread(second.process.stop)
    first = night.fleet.stack.postgres
    await asyncio.to_thread(shutil.rmtree, first.data)
    second.data.rename(first.data)
    await start(night, "postgres")


# --- disks


class Disk:
    """A small disk of its own, in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Takes all that is free."""
        with (self.folder / f"ballast-{uuid4().hex}").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(1 << 16))

    def clear(self) -> None:
        """Gives it back."""
        for ballast in self.folder.glob("ballast-*"):
            ballast.unlink()


def no_disk() -> str:
    """Why no disk can be mounted here; empty where one can."""
    if os.geteuid():
        return "mounting a disk of its own needs root"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "none", folder], check=False, capture_output=True)  # noqa: S607
        if done.returncode == 0:
            subprocess.run(["umount", folder], check=True)  # noqa: S607
    return "" if done.returncode == 0 else "mounting is refused here"


@contextlib.contextmanager
def disk(night: Night, mib: int) -> Iterator[Disk]:
    """A disk of so many MiB below the stack's folder; gone afterwards."""
    folder = night.fleet.stack.folder / f"disk-{uuid4().hex[:6]}"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0755", "lotse", str(folder)], check=True)  # noqa: S603, S607
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607
        folder.rmdir()


@asynccontextmanager
async def database_on(night: Night, service: str, disk: Disk) -> AsyncIterator[None]:
    """A service's database on a disk of its own; back among the others afterwards."""
    place = disk.folder / service
    place.mkdir(mode=0o700)
    data = (night.fleet.stack.folder / "postgres" / "data").stat()
    os.chown(place, data.st_uid, data.st_gid)
    try:
        for space, before in (
            (f"small_{service}", f"create tablespace small_{service} location '{place}'"),
            ("pg_default", ""),
        ):
            await asyncio.to_thread(night.fleet.processes[service].stop)
            async with session(night, "postgres") as con:
                if before:
                    await con.execute(before)
                await _end_others(con, service)
                await con.execute(f'alter database "{service}" set tablespace {space}')
            await start(night, service)
            if before:
                yield
    finally:
        async with session(night, "postgres") as con:
            await con.execute(f"drop tablespace if exists small_{service}")


@asynccontextmanager
async def log_on(night: Night, disk: Disk) -> AsyncIterator[None]:
    """The broker's data on a disk of its own; back in its folder afterwards."""
    data, one = night.fleet.stack.folder / "kafka" / "data", night.fleet.stack.processes["kafka"]
    for away in (True, False):
        await asyncio.to_thread(one.stop, 60.0)
        old, new = (data, disk.folder / "data") if away else (disk.folder / "data", data)
        if not away:
            data.unlink()
        done = await asyncio.to_thread(subprocess.run, ["cp", "-a", "--sparse=always", str(old), str(new)], check=False)
        if done.returncode:
            raise Trouble("the broker's data do not fit where they shall go", "a larger disk", UNREACHABLE)
        if away:
            shutil.rmtree(data)
            data.symlink_to(new)
        await start(night, "kafka")
        if away:
            yield


# --- Kafka


async def committed(night: Night, service: str) -> list[TopicPartition]:
    """Partitions of which Kafka keeps a committed offset of a service."""
    admin = AIOKafkaAdminClient(bootstrap_servers=night.fleet.stack.kafka)
    await admin.start()
    try:
        return list(await admin.list_consumer_group_offsets(f"lotse-{service}"))
    finally:
        await admin.close()


async def offsets_set_back(night: Night, service: str) -> int:
    """A stopped service's committed offsets, all set to 0: worse than lost. Gives back how many partitions."""
    parts = await committed(night, service)
    async with AIOKafkaConsumer(
        bootstrap_servers=night.fleet.stack.kafka, group_id=f"lotse-{service}", enable_auto_commit=False
    ) as consumer:
        consumer.assign(parts)
        await consumer.commit(dict.fromkeys(parts, 0))
    return len(parts)


async def delete_records(night: Night, topic: str) -> None:
    """Everything that stands on a topic is gone, as if its retention were over."""
    admin = AIOKafkaAdminClient(bootstrap_servers=night.fleet.stack.kafka)
    await admin.start()
    try:
        await admin.delete_records(
            {TopicPartition(topic, part): RecordsToDelete(before_offset=-1) for part in range(4)}
        )
    finally:
        await admin.close()


@asynccontextmanager
async def topic_set(night: Night, topic: str, settings: dict[str, str]) -> AsyncIterator[None]:
    """Some settings of a topic are others; what stood there comes back."""
    admin = AIOKafkaAdminClient(bootstrap_servers=night.fleet.stack.kafka)
    await admin.start()
    try:
        own = await _own(admin, topic)
        try:
            await _topic_is(admin, topic, {**own, **settings})
            yield
        finally:
            await _topic_is(admin, topic, own)
    finally:
        await admin.close()


async def _topic_is(admin: AIOKafkaAdminClient, topic: str, settings: dict[str, str]) -> None:
    """These settings and no others are the topic's own; the controller takes them, and the broker follows a moment later."""
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, settings)])
    async with asyncio.timeout(30):
        while await _own(admin, topic) != settings:
            await asyncio.sleep(0.1)


async def _own(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    """What is set on the topic itself, as the broker says it."""
    (has,) = await settings_of(admin, [topic])
    return {name: said for name, (said, inherited) in has.items() if not inherited}


@asynccontextmanager
async def topic_missing(night: Night, topic: str) -> AsyncIterator[None]:
    """A topic is deleted; what `lotse topics` does makes it again, empty."""
    admin = AIOKafkaAdminClient(bootstrap_servers=night.fleet.stack.kafka)
    await admin.start()
    try:
        await admin.delete_topics([topic])
        async with asyncio.timeout(30):
            while topic in await admin.list_topics():
                await asyncio.sleep(0.2)
        await asyncio.sleep(1)  # Kafka forgets the name a moment later
        try:
            yield
        finally:
            fleet = night.fleet
            await make_topics(fleet.stack.kafka, publishers_from(fleet.setup.publishers), local=True)
    finally:
        await admin.close()


async def write_fact(
    producer: AIOKafkaProducer, type: str, case: str, number: int, body: dict[str, Any], id: str = ""
) -> None:
    """A fact of intake, written by somebody else; its id is that of its number unless another is given."""
    now = datetime.now(UTC).isoformat()
    headers = {"ce_specversion": "1.0", "ce_id": id or str(uuid5(UUID(case), str(number))), "ce_source": "//lotse/local/intake",
               "ce_type": f"lotse.intake.{type}.v1", "ce_subject": case, "ce_time": now, "ce_tenant": "rkn",
               "ce_streamversion": str(number), "ce_cause": case, "ce_recordedtime": now}  # fmt: skip
    await producer.send_and_wait("intake.events", json.dumps(body).encode(), key=case.encode(),
                                 headers=[(name, text.encode()) for name, text in headers.items()])  # fmt: skip


async def members(night: Night, service: str) -> set[str]:
    """Members of a service's group as the broker knows them; one that was just killed knows none until they are back."""
    admin = AIOKafkaAdminClient(bootstrap_servers=night.fleet.stack.kafka)
    await admin.start()
    try:
        for _ in range(60):
            found = await admin.describe_consumer_groups([f"lotse-{service}"])
            if there := {member[0] for answer in found for group in answer.groups for member in group[5]}:
                return there
            await asyncio.sleep(0.5)
        return set()
    finally:
        await admin.close()


async def aborted(night: Night, topics: list[str], body: bytes, headers: list[tuple[str, bytes]]) -> None:
    """A foreign transaction on every partition, aborted: nobody may ever act on it."""
    producer = AIOKafkaProducer(bootstrap_servers=night.fleet.stack.kafka, transactional_id=f"foreign-{uuid4().hex}")
    await producer.start()
    try:
        await producer.begin_transaction()
        for topic in topics:
            for part in range(4):
                await producer.send_and_wait(topic, body, partition=part, headers=headers)
        await producer.abort_transaction()
    finally:
        await producer.stop()


async def in_sync(night: Night, copies: int = 3) -> None:
    """Waits until so many copies of every partition are in sync, and no more. Raises TimeoutError after a minute."""
    admin = AIOKafkaAdminClient(bootstrap_servers=night.fleet.stack.kafka)
    await admin.start()
    try:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(KafkaError):
                    topics = await admin.describe_topics()
                    parts = [part for topic in topics for part in topic["partitions"]]
                    if parts and all(len(part["isr"]) == copies and part["leader"] >= 0 for part in parts):
                        return
                await asyncio.sleep(0.3)
    finally:
        await admin.close()


async def copies_needed(night: Night, copies: int) -> None:
    """What is acknowledged stands on so many brokers, from now on."""
    admin = AIOKafkaAdminClient(bootstrap_servers=night.fleet.stack.kafka)
    await admin.start()
    try:
        names = sorted(name for name in await admin.list_topics() if not name.startswith("__"))
        changes = []
        for name, has in zip(names, await settings_of(admin, names), strict=True):
            own = {setting: said for setting, (said, inherited) in has.items() if not inherited}
            wanted = {**own, "min.insync.replicas": str(copies)}
            changes.append(ConfigResource(ConfigResourceType.TOPIC, name, wanted))
        await admin.alter_configs(changes)
    finally:
        await admin.close()


async def coordinator(night: Night, service: str) -> int:
    """The node that coordinates a service's group."""
    admin = AIOKafkaAdminClient(bootstrap_servers=night.fleet.stack.kafka)
    await admin.start()
    try:
        return int(await admin.find_coordinator(f"lotse-{service}"))
    finally:
        await admin.close()


def longest_pause(night: Night) -> float:
    """Seconds between two answers of referral, at most, since the shift began."""
    at = [moment for moment, service in night.sender.times if service == "referral"]
    return max((after - before for before, after in pairwise(at)), default=0.0)
