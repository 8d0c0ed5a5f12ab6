"""How a service is asked over HTTP."""

from functools import cache

import httpx


@cache
def client() -> httpx.Client:
    """One a process, also for threads. Each that is made reads all the world's certificates: 30 ms, a hundred times as long as a
    service takes to answer; made for each question, that was 41 % of what the fault matrix' own process did."""
    return httpx.Client()
