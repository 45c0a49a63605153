"""Where the server keeps its objects."""
