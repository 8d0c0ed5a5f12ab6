"""What every process of ours has, whatever it does: its connections, its telemetry, its watchdog, and where tests break it."""
