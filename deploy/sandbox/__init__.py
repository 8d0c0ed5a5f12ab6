"""A synthetic Kreis as a feed for whoever develops against Lotse: `feed.py` says what is sent in which order, with what goes
wrong in real feeds; `sending.py` sends it at a rate."""
