"""How good predictions are: knows only tables of ids and numbers."""
