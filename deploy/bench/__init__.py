"""`lotse bench`: how fast this machine carries Lotse, measured from outside: topics, processes, `/metrics`.

`parts.py` says what can be measured by itself and how long it takes, `people.py` who is there, `house.py` what runs, `meters.py`
what is read, `rounds.py`, `latency.py` and `inside.py` what is measured in which order, `yardsticks.py`, `twin.py` and
`connect.py` what it is held against, `figures.py` what is said of it, `page.py` and `plots.py` how it is shown.
"""
