"""Data before it is trusted: fetched, checked, converted."""
