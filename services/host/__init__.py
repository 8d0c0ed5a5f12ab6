"""The process around the runtime: Kafka in and out, HTTP, what a service says of itself."""
