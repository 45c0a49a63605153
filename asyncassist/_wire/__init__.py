"""The protocol without I/O: values in, values out; no socket, clock, sleep or randomness."""
