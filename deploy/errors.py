"""An error people can act on, and the exit codes of the `lotse` command."""

DONE, FINDINGS, USAGE, UNREACHABLE, REFUSED, PARTLY, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
"""0 done, 1 findings, 2 usage, 3 dependency unreachable, 4 refused, 5 partly done, 130 interrupted."""


class Trouble(Exception):
    """What went wrong, why, and the way out."""

    def __init__(self, what: str, way_out: str, exit_code: int = FINDINGS) -> None:
        super().__init__(what)
        self.what, self.way_out, self.exit_code = what, way_out, exit_code
