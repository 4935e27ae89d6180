"""Scoring and comparing predictions; works on tables of ids and numbers only."""
