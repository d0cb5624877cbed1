"""Layers of otpool for PyTorch, from 2.1 on: modules whose passes run in the library, on tensors of the CPU.

`otpool.torch.geometric` has them as aggregations of PyTorch Geometric.
"""

from .pooling import Attention, AttentionPooling, GatedAttention, MaxPooling, MeanPooling, UOTPooling
from .published import PublishedPooling
from .slots import SlotPooling

__all__ = [
    "Attention",
    "AttentionPooling",
    "GatedAttention",
    "MaxPooling",
    "MeanPooling",
    "PublishedPooling",
    "SlotPooling",
    "UOTPooling",
]
