"""Pseudo-random functions of watermarks: one file per family, reading and writing."""
