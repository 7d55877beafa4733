"""The command `clearcall-train`."""
