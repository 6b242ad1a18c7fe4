"""The contract, for those who ask the server itself for it."""

import functools
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha.reflection import ReflectionServicer

from wallet_service.transport.threads import ThreadPool

_THREADS = 16


class _Pool:
    """All that was imported; methods are found too, which the library's own pool leaves out."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, name: str) -> FileDescriptor:  # noqa: N802 (the library's)
        """Return the file that a message, service, method or the like is in; or `KeyError`."""
        try:
            return self._pool.FindFileContainingSymbol(name)
        except KeyError:
            return self._pool.FindMethodByName(name).containing_service.file


def make_reflector(service_names: list[str]) -> ReflectionServicer:
    """Make what answers for some services, on threads of its own: who asks needs no token."""
    reflector = ReflectionServicer(service_names, pool=_Pool())
    explain = functools.partial(reflector.ServerReflectionInfo)
    explain.experimental_thread_pool = ThreadPool(  # type: ignore[attr-defined]
        _THREADS, thread_name_prefix="reflection"
    )
    reflector.ServerReflectionInfo = explain
    return reflector
