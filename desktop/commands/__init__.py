"""One module for each command of `clearcall`: its options; what it does lives elsewhere."""
