"""Runs as people use them: started, waited for, read."""
