"""Executors: they run units of work, in threads of this process."""
