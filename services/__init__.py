"""The four services, the runtime they stand on, and the host that runs them."""
