"""The fault matrix (rows as numbered in the reliability reference), a file an area: each row breaks something, sees that it
is broken, heals it, and says what it saw.

The ledger is drawn up after each, by who runs it; a row itself checks only what no ledger can see.
"""

from deploy.soak.rows import kafka, messages, network, operators, postgres, processes, resources, split_brain
from deploy.soak.rows.matrix import PR, ROWS, SOAK, NotRun, Row
from deploy.soak.rows.not_written import NOT_WRITTEN

ROWS.sort(key=lambda row: row.number)  # whatever the order in which the areas entered theirs

__all__ = ["NOT_WRITTEN", "PR", "ROWS", "SOAK", "NotRun", "Row",
           "kafka", "messages", "network", "operators", "postgres", "processes", "resources", "split_brain"]  # fmt: skip
