"""Clearcall for Python programs: a client of the stream. It needs `websockets` and nothing else."""
