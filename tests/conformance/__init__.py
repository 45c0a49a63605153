"""The package compared with a table of bare facts about the API."""
