"""Stacks from images: what can be seen of them where no engine answers."""

import shutil

from tests.containers import ContainerStack


def test_a_stack_of_containers_is_made_as_one_from_packages_is() -> None:
    """The fixtures make both in the same way; where an engine answers, it is too late to find out."""
    stack = ContainerStack.ephemeral()
    assert stack.brokers == ["kafka"] and stack.folder.name.startswith("lotse-")
    shutil.rmtree(stack.folder)
