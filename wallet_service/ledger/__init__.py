"""The pure core: what happens to money, without I/O, clock or randomness."""
