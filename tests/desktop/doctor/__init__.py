"""Tests of desktop.doctor."""
