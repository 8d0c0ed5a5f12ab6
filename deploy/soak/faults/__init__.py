"""What breaks things and heals them in `finally`, by what is broken."""
