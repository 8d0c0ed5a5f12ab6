"""Rows of any partner's CSV become submissions, sent as any other publisher would, through the public contracts alone.

Read `plan.py` first (what a row becomes), then `sending.py` (how it goes out and what came of it).
"""
