"""Reference networks, in PyTorch (the extra `deep`): nothing else in the package needs it."""
