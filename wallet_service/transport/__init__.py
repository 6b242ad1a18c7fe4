"""The gRPC face: the only floor that knows protobuf, statuses and metadata."""
