"""A synthetic Kreis: `kreis.py` says what happens on which day, `play.py` lets it happen in a house of its own."""
