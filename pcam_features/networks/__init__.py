"""Reference networks in PyTorch (the extra `deep`), and weights that networks start from."""
