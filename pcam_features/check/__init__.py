"""Checking data before use: faults, duplicates, image quality, drift."""
