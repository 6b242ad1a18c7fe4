"""
Running commands: many at once in one database transaction, again where others were in the way.
"""
