"""Clearcall for files and cameras, without a server: `image`, `video`, `camera`, `doctor`."""
