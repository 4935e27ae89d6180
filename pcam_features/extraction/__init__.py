"""Computes features of patches, into a store or a table."""
