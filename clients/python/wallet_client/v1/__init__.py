"""Generated from `protos/wallet/v1`: never edited by hand, see `make protos`."""
