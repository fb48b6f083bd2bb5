"""The rules of `dangers.py`, by what they guard. Each takes a delta and yields what is dangerous about it."""
