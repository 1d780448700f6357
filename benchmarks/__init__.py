"""Benchmarks: not part of the wheel. Run from the repository root, see README.md."""
