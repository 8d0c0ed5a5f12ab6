"""An error people can act on, and the exit codes of the `lotse` command."""

DONE, FINDINGS, USAGE, UNREACHABLE, REFUSED, PARTLY, FAULT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 70, 130
"""0 done, 1 findings, 2 usage, 3 dependency unreachable, 4 refused, 5 partly done, 70 a fault of ours, 130 interrupted.
A fault is no finding: a crash of `doctor` or `contracts check` must not be taken for an answer. 70 is EX_SOFTWARE of sysexits."""


class Trouble(Exception):
    """What went wrong, why, and the way out."""

    def __init__(self, what: str, way_out: str, exit_code: int = FINDINGS) -> None:
        super().__init__(what)
        self.what, self.way_out, self.exit_code = what, way_out, exit_code
