"""Reference networks in PyTorch (the extra `deep`), which only this folder needs."""
