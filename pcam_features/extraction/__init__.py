"""From patches to features: into a store, or into a table."""
