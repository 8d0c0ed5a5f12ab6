"""Commands as an operator types them."""

import asyncio
from asyncio.subprocess import Process

from deploy.fleet import Fleet
from deploy.local.processes import child_environment
from deploy.places import ROOT
from tests.forked import MAIN, run


async def typed(house: Fleet, at: str | None, *words: str) -> tuple[int, str]:
    """`lotse WORDS`, against a service of the house where one is named: exit code and stdout."""
    where = ["--at", house.url(at)] if at else []
    done = await asyncio.to_thread(run, *words, *where, env=_environment(house))
    return done.returncode, done.stdout


async def typing(house: Fleet, *words: str, stderr: int | None = None) -> Process:
    """`lotse WORDS`, running; its stdout is a pipe."""
    return await asyncio.create_subprocess_exec(
        *MAIN, *words, env=_environment(house), stdout=asyncio.subprocess.PIPE, stderr=stderr
    )


def _environment(house: Fleet) -> dict[str, str]:
    return child_environment(PYTHONPATH=str(ROOT), LOTSE_KAFKA=house.stack.kafka)
