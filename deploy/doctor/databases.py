"""Each service's database: does it answer, whose role is it, does its schema fit the code, does its clock agree?"""

import asyncio
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg

from deploy.doctor.machine import status
from deploy.doctor.place import Place
from deploy.doctor.said import Said, found, good, not_checked
from deploy.services import made_later, schema_against_code

CLOCKS_MAY_DIFFER = timedelta(seconds=30)
PATIENCE = 5.0  # seconds a database has to answer
SILENCE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a session that is ended between two questions: "cannot switch to state"
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)
"""Nobody there any more; any other error of Postgres' is an answer."""


async def databases(place: Place) -> AsyncIterator[Said]:
    """All that is asked of each database, one connection each."""
    if place.up and not place.databases:
        yield not_checked(
            "databases", "LOTSE_DATABASE is not set; `lotse doctor SERVICE` looks at a service's database"
        )
    for name, dsn in place.databases.items():
        try:
            con = await asyncpg.connect(dsn, timeout=PATIENCE, command_timeout=PATIENCE)
        except (asyncpg.PostgresError, OSError, TimeoutError, ValueError, asyncpg.InterfaceError) as error:
            yield _unreachable(place, name, dsn, error)
            continue
        try:
            async for said in _looked_at(name, con):
                yield said
        except SILENCE as error:
            yield _away(place, f"the database of {name} fell silent while it was asked", dsn, error)
        except asyncpg.PostgresError as error:
            yield not_checked("databases", f"the database of {name} does not tell ({type(error).__name__})")
        finally:
            con.terminate()


_USED = """select t from unnest($1::text[]) t where exists (select from lotse.acked where topic = t and next > 0)
 or exists (select from lotse.position where topic = t and next > 0)"""


async def used(place: Place, topics: Collection[str]) -> dict[str, list[str]]:
    """Service to those of these topics on which it has written or read something; without services whose database does not say."""

    async def asked(name: str, dsn: str) -> tuple[str, list[str]] | None:
        try:
            con = await asyncpg.connect(dsn, timeout=PATIENCE, command_timeout=PATIENCE)
            try:
                return name, [row["t"] for row in await con.fetch(_USED, [*topics])]
            finally:
                con.terminate()
        except (asyncpg.PostgresError, OSError, TimeoutError, ValueError, asyncpg.InterfaceError):
            return None  # why, `databases` says

    return dict(filter(None, await asyncio.gather(*(asked(*one) for one in place.databases.items()))))


def _place_of(dsn: str) -> tuple[str, str, str, str]:
    """Role, database, host and port, without a password."""
    try:
        parts = urlsplit(dsn)
        return parts.username or "?", parts.path.lstrip("/") or "?", str(parts.hostname), str(parts.port or 5432)
    except ValueError:
        return "?", "?", "?", "?"


def _away(place: Place, what: str, dsn: str, error: BaseException) -> Said:
    _, _, host, port = _place_of(dsn)
    return found("databases", f"{what} at {host}:{port}", f"{type(error).__name__}; the service holds everything until it does",
                 f"tail {place.folder}/postgres/postgres.log   # then `lotse up` again" if place.local
                 else f"pg_isready -h {host} -p {port}   # then start the server or open the way", unreachable=True)  # fmt: skip


def _unreachable(place: Place, name: str, dsn: str, error: BaseException) -> Said:
    """What stands in the way, by the class of the error alone: its text may quote the address with its password."""
    again = "`lotse up` again: it sets the passwords of its roles anew"
    role, base, host, port = _place_of(dsn)
    superuser = f"-h {host} -p {port} -U postgres"  # an owner may set no password but its own, and make no database
    if isinstance(error, (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
        return found(
            "databases", f"the database of {name} refuses the password of {role}", "the service holds everything until it fits",
            again if place.local else f"psql {superuser} {base} -c '\\password {role}'"
            "   # as a superuser; or set LOTSE_DATABASE to the password it has",
        )  # fmt: skip
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return found("databases", f"there is no database {base} for {name} at {host}:{port}", "the service can't start",
                     again if place.local else f"createdb {superuser} -O {name}_owner {base}"
                     f"   # as a superuser; its rights and schema as in docs/operating.md; then lotse migrate {name}")  # fmt: skip
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return found("databases", f"{role} may not connect to the database {base} of {name}", "the service can't start",
                     again if place.local else f"psql {superuser} {base} -c 'grant connect on database \"{base}\" to \"{role}\"'   # as a superuser")  # fmt: skip
    if isinstance(error, ValueError | asyncpg.InterfaceError) and not isinstance(error, OSError):
        return found("databases", f"LOTSE_DATABASE of {name} is no address of a database", "the service can't start",
                     "export LOTSE_DATABASE=postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE")  # fmt: skip
    return _away(place, f"the database of {name} does not answer", dsn, error)


async def _looked_at(name: str, con: asyncpg.Connection) -> AsyncIterator[Said]:
    owner = await con.fetchrow(
        "select current_user as role, to_regnamespace('lotse') is not null as there,"
        " coalesce(has_schema_privilege(to_regnamespace('lotse'), 'create'), false) as makes"
    )
    assert owner is not None
    if owner["makes"]:
        yield found("databases", f"{owner['role']}, with which {name} works, may make and drop tables",
                    "a bug or an intruder could take the schema away; migrations run as the owner, services do not",
                    f"export LOTSE_DATABASE=...   # with the role {name}_runtime")  # fmt: skip
    async for said in _schema(name, con, there=owner["there"]):
        yield said
    theirs = await con.fetchval("select clock_timestamp()")
    yield clocks(f"the database of {name}", theirs)


async def _schema(name: str, con: asyncpg.Connection, *, there: bool) -> AsyncIterator[Said]:
    try:
        missing, newer = await schema_against_code(name, con)
    except asyncpg.InsufficientPrivilegeError:
        yield not_checked("schema", f"the role of {name} may not read which migrations ran")
        return
    if newer:
        yield found("schema", f"the schema of {name} is newer than this code: {', '.join(newer)}",
                    "a later release ran here; this one would write what that one can't read",
                    made_later(name))  # fmt: skip
    elif missing:
        what = "has no schema yet" if not there else f"is older than this code: {', '.join(missing)} did not run"
        yield found("schema", f"the database of {name} {what}", "the service fails at its first statement that needs it",
                    f"lotse migrate {name}" + ("" if there else "   # after its schema and rights, as in docs/operating.md"))  # fmt: skip
    else:
        yield good("schema", f"the schema of {name} fits")


def clocks(whose: str, theirs: datetime) -> Said:
    """This machine's clock against another's."""
    ahead = datetime.now(UTC) - theirs
    if abs(ahead) <= CLOCKS_MAY_DIFFER:
        return good("clock", f"agrees with that of {whose}")
    which = "ahead of" if ahead > timedelta() else "behind"
    return found("clock", f"this machine's clock is {_long(abs(ahead))} {which} that of {whose}",
                 "ticks ahead of time are held, statements ahead of time are refused (CLOCK_AHEAD), recorded times are wrong",
                 "timedatectl set-ntp true   # here and there; `date -u` shows which of the two is right")  # fmt: skip


def _long(time: timedelta) -> str:
    minutes = round(time.total_seconds() / 60)
    return f"{minutes} minutes" if minutes > 1 else f"{time.total_seconds():.0f} seconds"


def older_than_log(place: Place) -> list[Said]:
    """Whether a database was set back: its service, which compares it with its own topics, is asked."""
    said = []
    for name, (host, port) in place.http.items():
        answer = status(host, port)
        if answer.get("service") != name:
            said.append(
                not_checked("log", f"{name} does not answer; it compares its database with the log when it starts")
            )
        elif facts := answer.get("older_than_log"):
            said.append(found("log", f"the database of {name} lacks {facts} records that stand on its topics",
                              "it was set back, for instance to a backup; it refuses to serve, else it would answer twice",
                              f"lotse rebuild {name}"))  # fmt: skip
        else:
            said.append(good("log", f"the database of {name} knows all its own facts"))
    return said
