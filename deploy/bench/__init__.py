"""`lotse bench`: how fast this machine carries Lotse, measured from outside: topics, processes, `/metrics`.

`people.py` says who is there, `house.py` what runs, `meters.py` what is read, `rounds.py` what is measured in which order,
`figures.py` what is said of it.
"""
