"""The four services and the runtime they stand on."""
