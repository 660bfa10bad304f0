"""Host agent: decides what each tenant gets, and runs the daemon and its CLI."""
