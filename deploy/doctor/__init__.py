"""What `lotse doctor` looks at. `place.py` says where to look; each other file holds the checks of one neighbour of ours."""
