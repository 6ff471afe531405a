"""Records in the store: JSON, compressed with a dictionary of what most records hold."""

from __future__ import annotations

import zlib

_FIGURES = (
    '"sum":0.0,"shape":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0],"tests":{"psi":0.0,"ks":0.0,"tail":0.0,"missing":0.0,'
    '"type_change":0.0,"new_categories":0.0},"p":{"psi":0.0},"times":0.0,"courses":{"cusum":0.0}},"'
)
_DICTIONARY = (
    '{"model":"","version":"","segment":"all","window_start":17,"window_end":17,"kind":"traffic","revision":0,'
    '"final":true,"count":1,"labelled":0,"compared":0,"baseline":"first-10000","accuracy":0.9,"confusion":[["true",'
    '"false",1]],"measures":{"label_disagreement":{"group":"outcome","n":0},"absolute_error":{"group":"outcome","n":0},'
    '"error":{"group":"outcome","n":0,"mean":0.0,"sum":0.0},"signal.click":{"group":"human","n":0},"latency_ms":'
    '{"group":"software","n":0},"missing":0,"prediction":{"group":"output","top":{"true":0,"false":0}},"score":{'
    '"group":"output","n":0,"missing":0,"mean":0.0,"std":0.0,"min":0.0,"max":0.0,"p05":0.0,"p25":0.0,"p50":0.0,'
    f'"p75":0.0,"p95":0.0,"p99":0.0,"p999":0.0,{_FIGURES}":{{"group":"input","n":0,"missing":0,"mean":0.0,"std":0.0,'
    f'"min":0.0,"max":0.0,"p05":0.0,"p25":0.0,"p50":0.0,"p75":0.0,"p95":0.0,"p99":0.0,"p999":0.0,{_FIGURES}'
).encode()
"""Text that zlib may refer to. A store with records on another one cannot be read: change `store.FORMAT` with it."""

LEVEL = 3
"""Half the time of zlib's usual level, for a tenth more bytes."""


def pack_record(value: bytes) -> bytes:
    """Compress a record.

    >>> unpack_record(pack_record(b'{"model":"a"}'))
    b'{"model":"a"}'
    """
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, -15, zdict=_DICTIONARY)
    return packer.compress(value) + packer.flush()


def unpack_record(packed: bytes) -> bytes:
    """The inverse of `pack_record`."""
    unpacker = zlib.decompressobj(-15, zdict=_DICTIONARY)
    return unpacker.decompress(packed) + unpacker.flush()
