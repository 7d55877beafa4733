"""Tests of `clearcall image`."""
