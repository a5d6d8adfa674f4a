"""Every module of torch.nn and every function of torch.nn.functional, as parts of a backbone; or why one is none."""

import torch.nn.functional as F
from torch import nn

from support.torch_functions import FUNCTIONS, OTHERS
from support.torch_modules import MODULES
from support.torch_parts import Case

LOSS = "a loss, which compares predictions with targets"
BASE = "a base class or container, which computes nothing itself"
LAZY = "has no weights before its first batch: refused when a learner is built"
HALF = "of half or 8-bit numbers alone, which have no digits to compare"
NOT_SWEPT = {
    **dict.fromkeys(
        ("Container", "Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"), BASE
    ),
    **dict.fromkeys(("RNNBase", "RNNCellBase"), BASE),
    **{name: LAZY for name in nn.modules.__all__ if name.startswith("Lazy")},
    **{name: LOSS for name in nn.modules.__all__ if name.endswith("Loss")} | {"NLLLoss2d": LOSS},
    "LinearCrossEntropyOptions": "the options of a loss",
    **dict.fromkeys(
        (
            *(
                "binary_cross_entropy",
                "binary_cross_entropy_with_logits",
                "cosine_embedding_loss",
                "cross_entropy",
                "ctc_loss",
            ),
            *("gaussian_nll_loss", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "linear_cross_entropy"),
            *(
                "margin_ranking_loss",
                "mse_loss",
                "multi_margin_loss",
                "multilabel_margin_loss",
                "multilabel_soft_margin_loss",
            ),
            *("nll_loss", "poisson_nll_loss", "smooth_l1_loss", "soft_margin_loss", "triplet_margin_loss"),
            "triplet_margin_with_distance_loss",
        ),
        LOSS,
    ),
    "native_channel_shuffle": "has no derivative at all",
    **dict.fromkeys(("grouped_mm", "scaled_grouped_mm", "scaled_mm"), HALF),
    **dict.fromkeys(
        (
            *("Callable", "DType", "Optional", "ScalingType", "SwizzleType", "Tensor", "assert_int_or_pair"),
            *("boolean_dispatch", "handle_torch_function", "has_torch_function", "has_torch_function_unary"),
            "has_torch_function_variadic",
        ),
        "a helper of the module itself",
    ),
}
del NOT_SWEPT["AdaptiveLogSoftmaxWithLoss"]  # a head too
NAMES = {*nn.modules.__all__, *(name for name in dir(F) if name[0] != "_" and callable(getattr(F, name)))}
SWEPT: dict[str, Case] = {**MODULES, **FUNCTIONS, **OTHERS}
