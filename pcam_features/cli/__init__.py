"""The command line: parses arguments, calls the public functions, and prints the results."""
