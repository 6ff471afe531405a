"""The command line: what each command takes and says of itself. What it does is in `commands`."""
