"""What is written down of each thing that is done by hand, before it is done."""

import asyncpg

LONGEST_WHO, LONGEST_WHY = 64, 300
"""Characters. Nobody is named in a reason: it is kept for as long as the database."""


async def write_down(pool: asyncpg.Pool, who: str, what: str, about: str, why: str) -> None:
    """Who does what, about what, and why."""
    await pool.execute("insert into audit (who, what, about, why) values ($1, $2, $3, $4)", who, what, about, why)
