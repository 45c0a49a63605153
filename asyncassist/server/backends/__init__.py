"""What answers the runs."""
