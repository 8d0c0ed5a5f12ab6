"""What every service stands on: one transaction's work. It knows no service by name; services call it, the host drives it."""
