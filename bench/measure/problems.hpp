// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <otpool/otpool.hpp>
#include <string>
#include <vector>

#include "random.hpp"

namespace measure {

using otpool::Index;

inline constexpr double infinity = std::numeric_limits<double>::infinity();

/// A range of alpha0, in units of the reward's spread, and what is done to the rewards.
struct Regime {
    std::string name;
    double alpha0_low = 0;
    double alpha0_high = 0;
    bool quadratic = false;
    bool shifted_or_scaled = false;
    bool own_alphas = false;  ///< An alpha for each feature and instance: free, soft and hard ones.
    bool fixed_mass = false;

    bool has_reference() const { return !quadratic && alpha0_high > 0; }
};

inline const std::vector<Regime>& regimes() {
    static const std::vector<Regime> all = {
        {.name = "0.1 to 10", .alpha0_low = 0.1, .alpha0_high = 10},
        {.name = "0.01 to 0.1", .alpha0_low = 0.01, .alpha0_high = 0.1},
        {.name = "1e-3 to 0.01", .alpha0_low = 1e-3, .alpha0_high = 1e-2},
        {.name = "1e-4 to 1e-3", .alpha0_low = 1e-4, .alpha0_high = 1e-3},
        {.name = "0.1 to 10, shifted or scaled", .alpha0_low = 0.1, .alpha0_high = 10, .shifted_or_scaled = true},
        {.name = "0"},
        {.name = "0.1 to 10, Quadratic", .alpha0_low = 0.1, .alpha0_high = 10, .quadratic = true},
        {.name = "0.01 to 10, own alphas", .alpha0_low = 0.01, .alpha0_high = 10, .own_alphas = true},
        {.name = "0.01 to 10, own alphas, fixed mass",
         .alpha0_low = 0.01,
         .alpha0_high = 10,
         .own_alphas = true,
         .fixed_mass = true},
        // A new kind of problem comes here: the problems of the rows above then stay the same.
    };
    return all;
}

/// How the two marginals are held. Free ones are left out: they have closed forms.
inline const std::vector<std::string>& marginal_names() {
    static const std::vector<std::string> names = {"hard", "weak", "strong", "mixed"};
    return names;
}

/// A random problem of a regime, its numbers rounded to Scalar.
template <class Scalar>
struct Case {
    otpool::Matrix<Scalar> reward;
    otpool::Matrix<Scalar> values = {};  ///< Empty if the rewards are pooled.
    Scalar alpha0 = 0;
    otpool::Marginal<Scalar> features = {};
    otpool::Marginal<Scalar> instances = {};
    std::optional<Scalar> mass = {};
    double spread = 1;          ///< Standard deviation of the reward's entries; the unit of the alphas.
    std::size_t marginals = 0;  ///< Index into marginal_names().
    bool relative = false;      ///< RelativeEntropy instead of Entropy.

    template <class R>
    otpool::UotProblem<Scalar, R> problem() const {
        otpool::UotProblem<Scalar, R> made{
            .reward = reward, .alpha0 = alpha0, .features = features, .instances = instances, .mass = mass};
        if (values.size() > 0) made.values = values;
        return made;
    }

    /// The very same problem in double.
    Case<double> in_double() const {
        const auto converted = [](const otpool::Marginal<Scalar>& side) -> otpool::Marginal<double> {
            return {.alpha = side.alpha,
                    .prior = side.prior.template cast<double>(),
                    .alphas = side.alphas.template cast<double>()};
        };
        return {.reward = reward.template cast<double>(),
                .alpha0 = alpha0,
                .features = converted(features),
                .instances = converted(instances),
                .mass = mass ? std::optional<double>(*mass) : std::optional<double>(),
                .spread = spread,
                .marginals = marginals,
                .relative = relative};
    }
};

namespace detail {

/// Standard deviation of all entries; 1 where it is zero.
inline double standard_deviation(const otpool::RealMatrix& matrix) {
    const double deviation = std::sqrt((matrix.array() - matrix.mean()).square().mean());
    return deviation > 0 ? deviation : 1;
}

inline otpool::RealVector uneven_prior(bench::Random& random, Index size, bool with_zeros) {
    otpool::RealVector prior(size);
    for (double& entry : prior) entry = std::exp(random.normal());
    const auto kept = static_cast<Index>(random.uniform() * static_cast<double>(size));
    for (Index i = 0; i < size; ++i) {
        if (with_zeros && i != kept && random.uniform() < 0.2) prior[i] = 0;
    }
    return prior / prior.sum();
}

/// Gives each line of a side an alpha of its own: 0, infinite, or 0.1 to 100 spreads, as at least one is that has a prior
/// above 0. Returns the sum of the priors of hard lines.
template <class Scalar>
double draw_alphas(bench::Random& random, otpool::Marginal<Scalar>& side, Index size, double spread) {
    side.alphas.resize(size);
    const otpool::RealVector prior = side.prior.size() > 0 ? otpool::RealVector(side.prior.template cast<double>())
                                                           : otpool::RealVector::Constant(size, 1.0 / double(size));
    Index soft = 0;
    prior.maxCoeff(&soft);
    double hard_sum = 0;
    for (Index i = 0; i < size; ++i) {
        const double kind = i == soft ? 1 : random.uniform();
        const double alpha = kind < 0.2 ? 0 : kind < 0.5 ? infinity : spread * random.log_uniform(0.1, 100);
        side.alphas[i] = static_cast<Scalar>(alpha);
        if (alpha == infinity) hard_sum += prior[i];
    }
    return hard_sum;
}

}  // namespace detail

/// Problem `index` of a regime: sizes, rewards, priors and alphas at random; kinds of reward, prior, regulariser and
/// marginals in turn, so that every combination comes up. The same for float and double but for rounding.
template <class Scalar>
Case<Scalar> random_case(const Regime& regime, std::size_t regime_index, std::size_t index) {
    bench::Random random(std::uint64_t{1000} * regime_index + index);
    const bool rectified = index / 8 % 2 == 1;  // as after a ReLU: about half of the rewards are equal, zero
    const bool uneven = index / 16 % 2 == 1;
    const auto features = static_cast<Index>(random.log_uniform(1, 65));
    const auto instances = static_cast<Index>(random.log_uniform(1, 301));
    otpool::RealMatrix reward = random.normal_matrix<double>(features, instances);
    if (rectified) reward = reward.cwiseMax(0);

    double scale = 1;
    double offset = 0;
    if (regime.shifted_or_scaled) {
        const double choices[][2] = {{1, 1000}, {1, -1000}, {1e30, 0}, {1e-30, 0}};
        scale = choices[index / 8 % 4][0];
        offset = choices[index / 8 % 4][1];
    }

    Case<Scalar> made;
    made.spread = scale * detail::standard_deviation(reward);
    made.reward = (scale * (reward.array() + offset)).matrix().template cast<Scalar>();
    made.relative = !regime.quadratic && index % 2 == 1;
    made.marginals = index / 2 % 4;
    if (regime.alpha0_high > 0) {
        made.alpha0 = static_cast<Scalar>(made.spread * random.log_uniform(regime.alpha0_low, regime.alpha0_high));
    }
    const double soft = random.log_uniform(0.1, 100);
    const bool hard_features = random.uniform() < 0.5;
    const double alphas[][2] = {{infinity, infinity},
                                {0.1, 0.1},
                                {100, 100},
                                {hard_features ? infinity : soft, hard_features ? soft : infinity}};
    made.features.alpha = static_cast<Scalar>(made.spread * alphas[made.marginals][0]);
    made.instances.alpha = static_cast<Scalar>(made.spread * alphas[made.marginals][1]);
    if (uneven) {
        made.features.prior = detail::uneven_prior(random, features, false).template cast<Scalar>();
        made.instances.prior = detail::uneven_prior(random, instances, true).template cast<Scalar>();
    }
    if (regime.own_alphas) {
        made.marginals = 3;
        const double hard_sum = std::max(detail::draw_alphas(random, made.features, features, made.spread),
                                         detail::draw_alphas(random, made.instances, instances, made.spread));
        const double more = random.log_uniform(1e-2, 1e2);
        if (regime.fixed_mass) made.mass = static_cast<Scalar>(hard_sum > 0 ? hard_sum * (1 + more) : more);
    }
    return made;
}

}  // namespace measure
