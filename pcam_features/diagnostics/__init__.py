"""Is it right, and how fast is it, on this machine."""
