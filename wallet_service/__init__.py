"""
A gRPC wallet service: exact, once-only, provable money balances.

Six floors, imports only point down: `cli → server → transport → engine, audit → storage → ledger`.
"""
