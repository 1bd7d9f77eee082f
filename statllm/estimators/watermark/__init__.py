"""Watermarks: what a key leaves in a text, tests of it with valid p-values, and planning."""
