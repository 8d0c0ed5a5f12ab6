"""Postgres: locks, rights, connections, copies, standbys. Everything heals in `finally`."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import psutil

from deploy.errors import Trouble
from deploy.local.postgres import Postgres
from deploy.local.processes import Process
from deploy.services import migrate
from deploy.soak.faults.processes import start
from deploy.soak.night import Night
from deploy.soak.observed import session


async def tables(con: asyncpg.Connection) -> list[str]:
    """Names of the service's tables, in their order; we know none of them by heart."""
    rows = await con.fetch("select tablename from pg_tables where schemaname = 'lotse' order by 1")
    return [f"lotse.{row['tablename']}" for row in rows]


@asynccontextmanager
async def locked(night: Night, service: str) -> AsyncIterator[None]:
    """Every table of a service locked by a session that does nothing: a forgotten operator."""
    async with session(night.fleet, service) as con:
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
    async with session(night.fleet, service) as con:
        await con.execute("drop role if exists operator")
        await con.execute(f"create role operator login password '{password}' in role \"{service}_owner\"")
        try:
            place = f"{dsn.replace(dsn.split('//')[1].split('@')[0], f'operator:{password}')}/{service}"
            idle = await asyncpg.connect(place, timeout=10)
            try:
                await _look_at_all(idle, await tables(con))
                yield int(await idle.fetchval("select pg_backend_pid()"))
            finally:
                idle.terminate()
        finally:
            sql = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'operator'"
            while await con.fetch(sql):
                await asyncio.sleep(0.1)
            await con.execute("drop role operator")


async def _look_at_all(idle: asyncpg.Connection, names: list[str], times: int = 20) -> None:
    """Somebody who is told of a deadlock with the service, which takes its locks in another order, begins again."""
    for _ in range(times):
        try:
            await idle.execute("begin")
            for table in names:
                await idle.execute(f"select from {table} for update")  # noqa: S608  # a name of our own catalogue
        except asyncpg.DeadlockDetectedError:
            await idle.execute("rollback")
        else:
            return
    raise TimeoutError(f"{times} deadlocks")


async def megabytes(night: Night, service: str) -> int:
    """Size of a service's database."""
    async with session(night.fleet, service) as con:
        return int(await con.fetchval("select pg_database_size(current_database())")) // 2**20 + 1


async def cross(night: Night, service: str, rounds: int) -> int:
    """Locks a service's tables in the wrong order, again and again: deadlocks. Gives back how often we were the victim."""
    victim = 0
    async with session(night.fleet, service) as con:
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


@asynccontextmanager
async def reader_before_a_migration(night: Night, service: str) -> AsyncIterator[None]:
    """Somebody reads the states in a transaction that does not end, and a migration that needs the table alone has not run yet."""
    async with session(night.fleet, service) as con:
        await con.execute("delete from lotse.runtime_migrations where version = '0003'")  # it may run twice
        async with con.transaction():
            await con.execute("select from lotse.state limit 1")
            yield


async def terminate_backends(night: Night, service: str) -> int:
    """pg_terminate_backend of everybody on a service's database; how many."""
    async with session(night.fleet, service) as con:
        return await end_others(con, service)


@asynccontextmanager
async def _role_told(night: Night, service: str, what: str, back: str, *, anew: bool = True) -> AsyncIterator[None]:
    """Something is changed about the service's role, and changed back. `anew`: the connections it has are ended."""
    async with session(night.fleet, service) as con:
        await con.execute(what)
        try:
            if anew:
                await end_others(con, service)
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


async def came_to_lead(night: Night, service: str, one: Process, patience: float) -> bool:
    """Waits until it is this process that leads the service's relay; whether it came to be."""
    until = time.monotonic() + patience
    while not (there := await leads(night, service, one)) and time.monotonic() < until:
        await asyncio.sleep(0.5)
    return there


async def leads(night: Night, service: str, one: Process) -> bool:
    """Whether it is this process whose session holds the lock of the service's relay, as Postgres and the kernel say."""
    sql = ("select client_port from pg_stat_activity join pg_locks using (pid)"
           " where locktype = 'advisory' and granted and application_name = $1")  # fmt: skip
    async with session(night.fleet, service) as con:
        leader = await con.fetchval(sql, f"lotse-relay-{service}")
    assert one.child is not None
    return leader in {socket.laddr.port for socket in psutil.Process(one.child.pid).net_connections()}


async def waits_for_a_table(night: Night, service: str) -> bool:
    """Whether somebody waits to have a table of a service alone."""
    sql = "select exists (select from pg_locks where not granted and mode = 'AccessExclusiveLock')"
    async with session(night.fleet, service) as con:
        return bool(await con.fetchval(sql))


@asynccontextmanager
async def relay_kept(night: Night, service: str) -> AsyncIterator[None]:
    """The service's relay leads no more: its lock is ours. What is recorded meanwhile waits in the outbox."""
    mine = "select pg_try_advisory_lock(hashtext('lotse relay'))"
    theirs = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1"
    async with session(night.fleet, service) as con:
        async with asyncio.timeout(150):
            while not await con.fetchval(mine):  # the relay asks for it again twice a second
                await con.execute(theirs, f"lotse-relay-{service}")
                await asyncio.sleep(0.05)
        yield


async def end_others(con: asyncpg.Connection, service: str) -> int:
    sql = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()"
    return len(await con.fetch(sql, service))


async def copied(night: Night, service: str) -> str:
    """A copy of a stopped service's database, as a backup would be; its name."""
    async with session(night.fleet, "postgres") as con:
        await end_others(con, service)
        await con.execute(f'drop database if exists "{service}_old"')
        await con.execute(f'create database "{service}_old" template "{service}" owner "{service}_owner"')
    return f"{service}_old"


async def restored(night: Night, service: str) -> None:
    """Puts the copy in the place of a stopped service's database."""
    async with session(night.fleet, "postgres") as con:
        await con.execute(f'drop database "{service}" with (force)')
        await con.execute(f'alter database "{service}_old" rename to "{service}"')
        await con.execute(f'grant connect on database "{service}" to "{service}_runtime"')


async def gone(night: Night, service: str) -> None:
    """A stopped service's database is lost; an empty one, migrated, stands in its place."""
    async with session(night.fleet, "postgres") as con:
        await con.execute(f'drop database "{service}" with (force)')
    await asyncio.to_thread(night.fleet.stack.provision)
    await asyncio.to_thread(migrate, service, night.fleet.stack.databases[service].owner)


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
            async with session(night.fleet, "postgres") as con, asyncio.timeout(150):
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
