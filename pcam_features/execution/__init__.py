"""Who does the work: units of work are handed out to threads of this process."""
