"""A process around the runtime: Kafka in and out, HTTP, operators, rebuilds."""
