"""Conversations: one thread, one turn at a time."""
