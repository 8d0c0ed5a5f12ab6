"""What subscribers rely on: `contracts/expectations/<subscriber>.json`, one file each, in the form its README tells."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from contracts.topics import Name
from deploy.published.breaks import Break

EXPECTATIONS = Path("contracts/expectations")

Pointer = Annotated[str, StringConstraints(pattern=r"^(/([^/~]|~[01])+)+$", max_length=256)]
Sentence = Annotated[str, StringConstraints(min_length=1, max_length=300)]


class Expectation(BaseModel):
    """One subscriber: what it does with what it reads, where it is reached, and the fields it relies on."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    subscriber: Name
    contact: Sentence
    """An office's address, never a person's."""
    uses: Sentence
    relies_on: Annotated[dict[str, Annotated[list[Pointer], Field(min_length=1)]], Field(min_length=1)]
    """Wire type (or `attributes.v1`) to JSON Pointers into the body; a number stands for every item of a list."""

    def touched(self, ce_type: str, at: str) -> bool:
        """Whether a change at this pointer concerns something relied on: the same, what holds it, or what it holds."""
        relied_on = (re.sub(r"/\d+(?=/|$)", "/0", one) for one in self.relies_on.get(ce_type, ()))
        return any(f"{one}/".startswith(f"{at}/") or f"{at}/".startswith(f"{one}/") for one in relied_on)


def expectations(root: Path) -> tuple[list[Expectation], list[Break]]:
    """Every registered subscriber, by name; and of files that are not of the form where and by which rule, never what stands there."""
    found, wrong = list[Expectation](), list[Break]()

    def no_form(file: str, at: str, rule: str) -> None:
        wrong.append(Break("FORM", file, at, f"this is not what an expectation looks like: {rule}", "the subscriber", "this gate", (),
                           "see contracts/expectations/README.md"))  # fmt: skip

    for file in sorted((root / EXPECTATIONS).glob("*.json")):
        name = (EXPECTATIONS / file.name).as_posix()
        try:
            said = Expectation.model_validate_json(file.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            steps = [step for step in first["loc"] if isinstance(step, int) or step in Expectation.model_fields]
            no_form(name, "".join(f"/{step}" for step in steps), first["type"])
            continue
        if said.subscriber == file.stem:
            found.append(said)
        else:
            no_form(name, "/subscriber", "file_name")
    return found, wrong
