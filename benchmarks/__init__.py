"""Measurements of asyncassist beside the OpenAI SDK; see ``benchmarks/README.md``."""
