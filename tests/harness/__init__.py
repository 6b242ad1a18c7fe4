"""What the tests stand on: a real PostgreSQL, real server processes, tokens."""
