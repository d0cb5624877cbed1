"""Global pooling by unbalanced optimal transport.

    >>> import numpy, otpool
    >>> x = numpy.array([[0.9, 0.3], [0.1, 0.8], [0.4, 0.7]])
    >>> otpool.max_pooling(x)
    array([0.9, 0.8])
    >>> otpool.solve(x, alpha0=0.1, alpha2=0.5).status
    'converged'

solve() is the problem spelled out. otpool.poolings has poolings to one vector, otpool.slots to several, otpool.options what they are
made of. otpool.pot has the functions of POT's ot.unbalanced.
"""

from ._otpool import __version__
from .errors import Error, InvalidArgument, UnsupportedProblem
from .options import (
    ActiveSet,
    AtMost,
    Automatic,
    BregmanAdmm,
    ChiSquared,
    ClosedForm,
    Entropy,
    KSparse,
    KullbackLeibler,
    Newton,
    Quadratic,
    Range,
    RelativeEntropy,
    Sinkhorn,
    TopK,
    TotalVariation,
)
from .poolings import (
    attention_pooling,
    dynamic_routing_pooling,
    gated_mean_max_pooling,
    generalized_mean_pooling,
    log_sum_exp_pooling,
    max_pooling,
    mean_pooling,
    min_pooling,
    mixed_pooling,
    pooling,
    softmax_pooling,
    sum_pooling,
)
from .slots import (
    lot_embedding,
    motcat_pooling,
    netvlad_pooling,
    otke_pooling,
    otsurv_pooling,
    plasma_alignment,
    ppot_assignment,
    salad_pooling,
    sinkhorn_assignment,
    sliced_embedding,
    slot_attention_pooling,
    slot_pooling,
    soft_moe,
    top_k_pooling,
)
from .solving import Solution, solve

__all__ = [
    "ActiveSet",
    "AtMost",
    "Automatic",
    "BregmanAdmm",
    "ChiSquared",
    "ClosedForm",
    "Entropy",
    "Error",
    "InvalidArgument",
    "KSparse",
    "KullbackLeibler",
    "Newton",
    "Quadratic",
    "Range",
    "RelativeEntropy",
    "Sinkhorn",
    "Solution",
    "TopK",
    "TotalVariation",
    "UnsupportedProblem",
    "attention_pooling",
    "dynamic_routing_pooling",
    "gated_mean_max_pooling",
    "generalized_mean_pooling",
    "log_sum_exp_pooling",
    "lot_embedding",
    "max_pooling",
    "mean_pooling",
    "min_pooling",
    "mixed_pooling",
    "motcat_pooling",
    "netvlad_pooling",
    "otke_pooling",
    "otsurv_pooling",
    "plasma_alignment",
    "pooling",
    "ppot_assignment",
    "salad_pooling",
    "sinkhorn_assignment",
    "sliced_embedding",
    "slot_attention_pooling",
    "slot_pooling",
    "soft_moe",
    "softmax_pooling",
    "solve",
    "sum_pooling",
    "top_k_pooling",
    "__version__",
]
