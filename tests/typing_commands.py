"""Commands as an operator types them."""

import asyncio
import sys

from deploy.local.processes import child_environment
from deploy.local.stack import ROOT
from deploy.services import Fleet


async def typed(house: Fleet, at: str | None, *words: str) -> tuple[int, str]:
    """`lotse WORDS`, against a service of the house where one is named: exit code and stdout."""
    where = ["--at", house.url(at)] if at else []
    env = child_environment(PYTHONPATH=str(ROOT), LOTSE_KAFKA=house.stack.kafka)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.cli", *words, *where, env=env, stdout=pipe
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()
