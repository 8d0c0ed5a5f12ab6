"""What operators set going: what is done to a running service, with its audit, and a service that is learnt anew."""
