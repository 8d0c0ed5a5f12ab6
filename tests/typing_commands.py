"""Commands as an operator types them."""

import asyncio
import sys
from asyncio.subprocess import Process

from deploy.fleet import Fleet
from deploy.local.processes import child_environment
from deploy.places import ROOT


async def typed(house: Fleet, at: str | None, *words: str) -> tuple[int, str]:
    """`lotse WORDS`, against a service of the house where one is named: exit code and stdout."""
    where = ["--at", house.url(at)] if at else []
    process = await typing(house, *words, *where)
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def typing(house: Fleet, *words: str, stderr: int | None = None) -> Process:
    """`lotse WORDS`, running; its stdout is a pipe."""
    env = child_environment(PYTHONPATH=str(ROOT), LOTSE_KAFKA=house.stack.kafka)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.cli", *words, env=env, stdout=asyncio.subprocess.PIPE, stderr=stderr
    )
