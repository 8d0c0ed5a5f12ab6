"""Every type has its wire name, every field its privacy class, and nothing personal stands unsealed in a fact."""

import types
import typing
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
from pydantic import BaseModel

from contracts import attendance, dropout, intake, notification, referral
from contracts.envelope import Message, Privacy, answer_id_of, content_of, fact_id_of, reference_of

MODULES = (intake, referral, attendance, dropout, notification)
TYPES = [kind for module in MODULES for kind in (*module.FACTS, *module.SUBMISSIONS)]


def classes_of(annotation: Any) -> set[Privacy]:
    """Privacy classes anywhere in an annotation."""
    found = {data for data in getattr(annotation, "__metadata__", ()) if isinstance(data, Privacy)}
    parts = typing.get_args(annotation) if typing.get_origin(annotation) else ()
    if isinstance(annotation, types.UnionType):
        parts = annotation.__args__
    for part in parts:
        found |= classes_of(part)
    if isinstance(annotation, type) and hasattr(annotation, "model_fields"):
        for hint in typing.get_type_hints(annotation, include_extras=True).values():
            found |= classes_of(hint)
    return found


def models_in(annotation: typing.Any) -> list[type[BaseModel]]:
    """Models a field holds: one of them without a class would hide behind its neighbours' classes."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in models_in(part)]


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_field_has_a_privacy_class_and_none_is_personal(kind: type[Message]) -> None:
    hints = typing.get_type_hints(kind, include_extras=True)
    for name in kind.model_fields:
        assert classes_of(hints[name]), f"{kind.__name__}.{name} has no privacy class"
        for nested in models_in(hints[name]):
            for field, hint in typing.get_type_hints(nested, include_extras=True).items():
                if field in nested.model_fields:
                    assert classes_of(hint), f"{nested.__name__}.{field} has no privacy class"
        assert not classes_of(hints[name]) & {Privacy.PERSONAL, Privacy.SPECIAL}


def test_wire_names_are_unique_and_say_the_family() -> None:
    names = [kind.ce_type for kind in TYPES]
    assert len(names) == len(set(names))
    assert all(kind.ce_type.startswith(f"lotse.{kind.family}.") and kind.ce_type.endswith(".v1") for kind in TYPES)


def test_every_id_that_follows_from_another_is_a_name_based_uuid_as_the_standard_says() -> None:
    for number in range(2000):  # each of the sixteen variants many times
        reference, content = reference_of(f"https://school-{number}.example", str(number)), f"r1:{number:032x}"
        expected = uuid5(uuid5(NAMESPACE_URL, f"https://school-{number}.example"), str(number))
        assert (reference, fact_id_of(reference)) == (str(expected), str(uuid5(expected, "fact")))
        assert answer_id_of(reference, content) == str(uuid5(expected, content))


def test_reference_and_content_are_what_a_publisher_can_compute() -> None:
    reference = reference_of("urn:a", "1")
    assert reference == str(uuid5(uuid5(NAMESPACE_URL, "urn:a"), "1"))
    assert content_of(reference, b"t", b"{}") != content_of(reference, b"t", b"{ }")
    assert content_of(reference, b"t", b"{}").startswith("r1:") and len(content_of(reference, b"t", b"{}")) == 35
