"""Tests of desktop.camera."""
