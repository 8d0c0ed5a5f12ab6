"""Rows that nothing here runs, and why."""

NOT_WRITTEN: dict[int, tuple[str, str]] = {
    11: ("two pods with the same group_instance_id", "no static membership"),
    25: ("partitions increased", "partitions are for good (contracts/topics.py)"),
    26: ("compaction removed intermediates", "no topic is compacted"),
    28: ("acknowledged events vanish", "tests/system/test_what_an_operator_mends.py sets a broker's data back"),
    30: ("autoscaler flapping", "as row 9"),
    34: ("breaking schema change", "a gate over samples, in tests/contracts"),
    45: ("ciphertext whose key was destroyed", "no sealed fields yet"),
    56: ("I/O error on fsync", "needs libfiu (Debian: fiu-utils)"),
    57: ("PgBouncer in transaction mode", "needs pgbouncer"),
    63: ("a tenth of all packets lost", "needs netem, which this kernel does not have"),
    66: ("DNS failure", "needs a network namespace"),
    71: (
        "certificate expires",
        "the broker of these houses has no certificates. That a service says when its own or a broker's ends: "
        "tests/integration/test_a_guarded_kafka.py, and who is told: tests/architecture/test_alerts.py; what is after, as row 129",
    ),
    72: ("N and N+1 together", "there is one version"),
    73: ("rollback after an expand migration", "there is one version"),
    77: ("erasure during replay and backup", "no sealed fields yet"),
    79: ("node drain", "needs a real cluster"),
    80: (
        "spoofed headers, another user's topic",
        "the local broker has no rights; foreign sources and tenants are in every wave",
    ),
    129: (
        "right revoked, wrong password, certificate expired, in Kafka (row 29)",
        "the broker of these houses has no rights and no certificates. Rights to read, to write and to the group are taken from a"
        " service at work and given back, and a broker's certificate expires and is renewed, in"
        " tests/integration/test_a_guarded_kafka.py",
    ),
}
"""Rows that nothing here runs, and why: shown as not run, never as passed."""
