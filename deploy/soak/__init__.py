"""The night shift: what may break is broken on purpose, and a ledger says whether anything was lost, doubled or swapped.

journal: what was sent. expected: what must come of it. observed: what came of it. ledger: the two held against each other.
load, sending: who sends. proxy, faults: what breaks. rows: the matrix. night: one run of all of it. reliability: its table.
"""
