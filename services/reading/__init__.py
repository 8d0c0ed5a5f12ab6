"""What a service shows to people who read: a subject's own facts, and lists however long."""
