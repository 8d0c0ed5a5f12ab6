"""`lotse doctor`: what is wrong around the services, why it matters, and the command that mends it."""

import asyncio

import click

from deploy.doctor import databases, files, kafka, machine, post
from deploy.doctor.place import Place, place_of
from deploy.doctor.said import Said, errors_of, exit_code, rows_of, told
from deploy.places import SERVICES
from deploy.printed import formats, printed
from deploy.saying import say


@click.command()
@click.argument("service", required=False, type=click.Choice(SERVICES))
@formats
def app(service: str | None, shape: str) -> int:
    """Look at machine, files, Kafka, databases, clock and mail; say what is wrong and the command that mends it.

    It looks where LOTSE_KAFKA or LOTSE_DATABASE of the environment point (then name the SERVICE whose environment it is),
    else at the stack of `lotse up`, else at this machine alone. It changes nothing.

    Exit codes: 0 nothing found, 1 findings, 2 usage, 3 something does not answer.
    """
    place = place_of(service)
    said = asyncio.run(looked_at(place))
    printed(shape, rows_of(said), errors=errors_of(said), people=told(said))
    if shape != "json":
        count = {state: sum(one.state == state for one in said) for state in ("found", "noted", "good", "not checked")}
        say.print(f"{place.what}: {', '.join(f'{n} {state}' for state, n in count.items())}")
    return exit_code(said)


async def looked_at(place: Place) -> list[Said]:
    """Every check, in the order in which a person would look."""
    said = [one for check in (machine.python, machine.programs, machine.disk, machine.memory, machine.ports,
                              machine.leftovers, files.publishers, files.organisations, files.operations_key) for one in check(place)]  # fmt: skip
    for looks in (kafka.kafka, databases.databases, post.mail):
        said += [one async for one in looks(place)]
    return said + databases.older_than_log(place)
