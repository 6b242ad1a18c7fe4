"""Running commands: many in one database transaction, again where others were in the way."""
