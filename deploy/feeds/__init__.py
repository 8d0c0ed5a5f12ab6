"""What a publisher sent and what it was told, read from the topics alone: `log.py` reads, `told.py` knows what became of one
submission, `account.py` counts."""
