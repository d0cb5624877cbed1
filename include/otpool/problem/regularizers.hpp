// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <concepts>

namespace otpool {

/// R(P) = <P, log P - 1>: Cheng & Xu, arXiv 2201.09191, eq. 4. A dense plan.
struct Entropy {};

/// R(P) = KL(P | p0 q0^T): POT's "kl". Entropy with reward X + alpha0 log(p0 q0^T); keeps q0 when alpha0 is large.
struct RelativeEntropy {};

/// R(P) = ||P||_F^2: the paper's second regulariser. A sparse plan.
struct Quadratic {};

template <class R>
concept EntropicRegularizer = std::same_as<R, Entropy> || std::same_as<R, RelativeEntropy>;

template <class R>
concept Regularizer = EntropicRegularizer<R> || std::same_as<R, Quadratic>;

}  // namespace otpool
