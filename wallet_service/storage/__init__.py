"""Everything that knows SQL: the schema, both databases, and the statements of a batch."""
