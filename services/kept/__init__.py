"""What a service keeps beside its states: ids that were claimed, what cannot be settled yet and how it is taken up again, what nobody
can read, what the world is asked to do."""
