"""From where patches are published to a folder: fetched, checked, recorded."""
