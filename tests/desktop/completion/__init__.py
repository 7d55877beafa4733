"""Tests of desktop.completion."""
