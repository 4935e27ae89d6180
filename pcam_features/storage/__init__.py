"""Reading and writing files and folders, which are always either complete or absent."""
