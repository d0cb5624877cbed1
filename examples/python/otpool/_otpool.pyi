"""The extension module, which only this package calls."""

from typing import Any

def __getattr__(name: str) -> Any: ...
