"""Fast operators, optional: Paddle has its own where none can be built."""
