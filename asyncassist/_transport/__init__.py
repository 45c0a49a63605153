"""The only room that knows httpx: connections, sending, waiting for answers."""
