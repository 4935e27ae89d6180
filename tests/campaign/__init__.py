"""Seeded faults on every command that writes."""
