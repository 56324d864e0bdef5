"""Offline language models: they read the request and answer in its format, visibly as `sim`."""

from .engine import SimSource as SimSource
from .model import SimModel as SimModel
from .model import SimOptions as SimOptions
