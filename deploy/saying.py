"""What a command says beside its data, on stderr and as loud as it was asked to be: `-q` leaves errors, `-qq` nothing."""

from typing import Any

from deploy.screen import Screen


class Voice(Screen):
    """Silent from so many `-q` on."""

    asked = 0
    """How often the command that runs was asked to be quiet."""

    def __init__(self, silent_from: int) -> None:
        self._silent_from = silent_from
        super().__init__(stderr=True, soft_wrap=True)

    @property
    def quiet(self) -> bool:
        """Whether nothing of it is shown; rich asks before it writes."""
        return Voice.asked >= self._silent_from

    @quiet.setter
    def quiet(self, _: Any) -> None:
        """rich sets its own when it begins."""


say, complain = Voice(1), Voice(2)
"""For progress and results; for errors and what a person must look at."""
