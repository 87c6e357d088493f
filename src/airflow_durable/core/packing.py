"""Lists of up to a hundred thousand, as texts of a fraction of their size."""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def pack_keys(keys: Sequence[str]) -> str:
    """Return keys as a text of a fraction of their size."""
    return pack(json.dumps(keys).encode())


def unpack_keys(packed: str) -> list[str]:
    """Return the keys of such a text."""
    keys: list[str] = json.loads(unpack(packed))
    return keys


def pack(data: bytes) -> str:
    """Return bytes as a text."""
    return base64.b85encode(zlib.compress(data, 9)).decode()


def unpack(text: str) -> bytes:
    """
    Return the bytes of such a text.

    :raises ValueError: it is none.
    """
    try:
        return zlib.decompress(base64.b85decode(text))
    except zlib.error as error:
        message = "it was not packed here"
        raise ValueError(message) from error
