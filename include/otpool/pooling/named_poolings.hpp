// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <utility>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/pooling/attention.hpp"
#include "otpool/pooling/dynamic_routing.hpp"
#include "otpool/pooling/instance_prior.hpp"
#include "otpool/pooling/pooling.hpp"
#include "otpool/pooling/readout.hpp"
#include "otpool/pooling/transform.hpp"
#include "otpool/pooling/two_level.hpp"
#include "otpool/problem/marginal.hpp"
#include "otpool/solver/closed_form.hpp"

// The named poolings are Pooling with particular parameters. All have a closed form, which every solver takes. A solver
// with Options::closed_forms = false iterates instead, if it accepts the problem.

namespace otpool {

/// y_d = (1/N) sum_n x_dn: only the regulariser, alpha0 = inf.
template <BagScalar Scalar, class Solver = ClosedForm>
auto mean_pooling(Solver solver = {}) {
    return Pooling<Scalar, Solver>{.parameters = {.alpha0 = infinity}, .solver = solver};
}

/// y_d = sum_n x_dn: the mean, times N.
template <BagScalar Scalar, class Solver = ClosedForm>
auto sum_pooling(Solver solver = {}) {
    return Pooling<Scalar, Solver, Entropy, SumReadout>{.parameters = {.alpha0 = infinity}, .solver = solver};
}

/// y_d = max_n x_dn: no regulariser, alpha0 = 0, and free instances. Ties share the plan equally.
template <BagScalar Scalar, class Solver = ClosedForm>
auto max_pooling(Solver solver = {}) {
    return Pooling<Scalar, Solver>{.parameters = {.alpha0 = 0}, .solver = solver};
}

/// y_d = min_n x_dn: the max with reward -X.
template <BagScalar Scalar, class Solver = ClosedForm>
auto min_pooling(Solver solver = {}) {
    return Pooling<Scalar, Solver, Entropy, ConditionalReadout, UniformPrior, Negate>{.parameters = {.alpha0 = 0},
                                                                                      .solver = solver};
}

/// y_d = sum_n x_dn exp(x_dn / t) / sum_n exp(x_dn / t) (Boltzmann), t in [0, inf]: the max at 0, the mean at inf.
template <BagScalar Scalar, class Solver = ClosedForm>
auto softmax_pooling(Scalar temperature, Solver solver = {}) {
    detail::require_alpha(Real(temperature), "temperature");
    return Pooling<Scalar, Solver>{.parameters = {.alpha0 = temperature}, .solver = solver};
}

/// y_d = t log (1/N) sum_n exp(x_dn / t), t in [0, inf]: the max at 0, the mean at inf.
template <BagScalar Scalar, class Solver = ClosedForm>
auto log_sum_exp_pooling(Scalar temperature, Solver solver = {}) {
    detail::require_alpha(Real(temperature), "temperature");
    return Pooling<Scalar, Solver, Entropy, LogMeanExpReadout>{.parameters = {.alpha0 = temperature}, .solver = solver};
}

/// y_d = ((1/N) sum_n x_dn^p)^(1/p), entries >= 0, p in [-inf, inf]: harmonic mean at -1, geometric at 0, arithmetic at
/// 1, the min at -inf and the max at inf. Computed in double, as log-mean-exp of sign(p) log x at temperature 1/|p|,
/// then exp.
template <BagScalar Scalar, class Solver = ClosedForm>
auto generalized_mean_pooling(Scalar power, Solver solver = {}) {
    detail::require_that(!std::isnan(power), "power", power, "-inf to inf");
    const int sign = power < 0 ? -1 : 1;
    return Pooling<Scalar, Solver, Entropy, LogMeanExpReadout, UniformPrior, Logarithm, Exponential>{
        .parameters = {.alpha0 = power == 0 ? Real(infinity) : 1 / std::abs(static_cast<Real>(power))},
        .solver = solver,
        .reward = {sign},
        .output = {sign}};
}

/// y = sum_n q0_n x_n, q0 = prior(bag): alpha0 = inf and a hard instance marginal. Prior: a functor such as Attention,
/// GatedAttention or FixedPrior. A bag's own prior multiplies it: what the bag excludes (0) stays excluded.
template <BagScalar Scalar, class Prior = UniformPrior, class Solver = ClosedForm>
auto attention_pooling(Prior prior = {}, Solver solver = {}) {
    return Pooling<Scalar, Solver, Entropy, ConditionalReadout, Prior>{
        .parameters = {.alpha0 = infinity, .instances = {.alpha = hard}}, .solver = solver, .prior = std::move(prior)};
}

/// Attention pooling with the gated scores of Ilse et al. 2018.
template <BagScalar Scalar, class Solver = ClosedForm>
auto gated_attention_pooling(GatedAttention<Scalar> gate, Solver solver = {}) {
    return attention_pooling<Scalar, GatedAttention<Scalar>, Solver>(std::move(gate), solver);
}

/// y = w mean + (1 - w) max, w in [0, 1] (Lee, Gallagher & Tu, "Generalizing Pooling Functions", AISTATS 2016):
/// attention over [mean; max] with q0 = [w, 1 - w].
template <BagScalar Scalar, class Solver = ClosedForm>
auto mixed_pooling(Scalar weight, Solver solver = {}) {
    detail::require_that(weight >= 0 && weight <= 1, "weight", weight, "0 to 1");
    auto outer = attention_pooling<Scalar>(FixedPrior<Scalar>{Vector<Scalar>{{weight, 1 - weight}}}, solver);
    return TwoLevelPooling<Scalar, decltype(outer), decltype(mean_pooling<Scalar>(solver)),
                           decltype(max_pooling<Scalar>(solver))>{
        .outer = std::move(outer), .inner = {mean_pooling<Scalar>(solver), max_pooling<Scalar>(solver)}};
}

/// y = w mean + (1 - w) max, w = sigmoid(<weights, mean> + bias) for each bag: the gated mix of Lee et al. 2016, with
/// one gate for bags of any size.
template <BagScalar Scalar, class Solver = ClosedForm>
auto gated_mean_max_pooling(MeanMaxGate<Scalar> gate, Solver solver = {}) {
    auto outer = attention_pooling<Scalar>(std::move(gate), solver);
    return TwoLevelPooling<Scalar, decltype(outer), decltype(mean_pooling<Scalar>(solver)),
                           decltype(max_pooling<Scalar>(solver))>{
        .outer = std::move(outer), .inner = {mean_pooling<Scalar>(solver), max_pooling<Scalar>(solver)}};
}

/// Attention whose scores are updated from the pooled vector, `iterations` times: see DynamicRouting.
template <BagScalar Scalar, class Solver = ClosedForm>
auto dynamic_routing_pooling(int iterations, Solver solver = {}) {
    detail::require_that(iterations >= 0, "iterations", iterations, "at least 0");
    auto attention = attention_pooling<Scalar>(UniformPrior{}, solver);
    return DynamicRouting<Scalar, decltype(attention)>{.attention = std::move(attention), .iterations = iterations};
}

}  // namespace otpool
