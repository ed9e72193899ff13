from collections.abc import Mapping, Sequence
import os
from typing import Any

from . import Array, Module

def call(package: Module | str | os.PathLike[str], *arrays: Array,
         params: Mapping[str, Array] | Sequence[Array] | None = None, batch: str | None = None,
         **by_name: Array) -> Any: ...
