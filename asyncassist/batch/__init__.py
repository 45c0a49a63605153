"""Many jobs at once: running them, the ledger that survives crashes, files of jobs."""
