"""The four services, the two rooms they stand on (`runtime`, one transaction's work; `host`, the process around it), and what stands
beside these: docs/developing.md says which file is what."""
