#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <otpool/otpool.hpp>

#include "made_up.hpp"

namespace slots {

/// The pooling of all examples: squared distances to prototypes, the slots' means, a dummy slot if m < 1.
using Pooling = otpool::SlotPooling<double, otpool::SquaredDistance<double>, otpool::Sinkhorn, otpool::ConditionalSlots,
                                    otpool::PartialSlots>;

struct NamedPooling {
    std::string name;
    Pooling pooling;
};

/// Four poolings that differ in their parameters alone. `unit` is the unit of the alphas: a squared distance.
inline std::vector<NamedPooling> all_poolings(const Matrix& prototypes, double alpha0, double unit) {
    const auto pooling = [&](double alpha1, double alpha2, double m) {
        return Pooling{.reward = {prototypes},
                       .parameters = {.alpha0 = alpha0 * unit,
                                      .features = {.alpha = alpha1 * unit},
                                      .instances = {.alpha = alpha2 * unit}},
                       .solver = {{.tolerance = 1e-6, .max_iterations = 10000}},
                       .dummy = {.m = m}};
    };
    return {{"free slots", pooling(0, otpool::hard, 1)},
            {"equal slots", pooling(otpool::hard, otpool::hard, 1)},
            {"partial, m = 0.7", pooling(otpool::hard, otpool::hard, 0.7)},
            {"soft on both sides", pooling(5, 5, 1)}};
}

/// A step of the alternation: every prototype moves to the mean of what its slot draws, over all bags. With the plans fixed,
/// these prototypes have the largest total reward; a slot without mass stays.
inline Matrix moved_prototypes(const Pooling& pooling, const otpool::Bags<double>& bags) {
    const Matrix& prototypes = pooling.reward.prototypes;
    Matrix sums = Matrix::Zero(prototypes.rows(), prototypes.cols());
    Vector mass = Vector::Zero(prototypes.cols());
    for (Index b = 0; b < bags.size(); ++b) {
        const Matrix plan = pooling.plan(bags[b]);
        sums += bags[b].instances.matrix() * plan.transpose();
        mass += plan.rowwise().sum();
    }
    Matrix moved = prototypes;
    for (Index k = 0; k < moved.cols(); ++k) {
        if (mass[k] > 0) moved.col(k) = sums.col(k) / mass[k];
    }
    return moved;
}

/// What the plans are like, on average over the bags.
struct Character {
    double draws_on = 0;   ///< instances a slot draws on: exp of the entropy of its row, weighted by mass
    double shared_by = 0;  ///< slots that share an instance: exp of the entropy of its column, weighted by mass
    double mass = 0;       ///< that slots draw; the instances have 1
    double of_group = 0;   ///< part of a slot's mass that is from its largest group; 0 where groups are not known
};

namespace detail {

/// sum_i weight_i exp(entropy of row i) / sum of weights
inline double effective(const Matrix& rows) {
    double sum = 0, mass = 0;
    for (Index i = 0; i < rows.rows(); ++i) {
        const double weight = rows.row(i).sum();
        if (weight <= 0) continue;
        double entropy = 0;
        for (const double entry : rows.row(i)) {
            if (entry > 0) entropy -= entry / weight * std::log(entry / weight);
        }
        sum += weight * std::exp(entropy);
        mass += weight;
    }
    return mass > 0 ? sum / mass : 0;
}

/// The mass of every slot's largest group, added up.
inline double mass_of_groups(const Matrix& plan, const Index* groups) {
    const Index count = *std::max_element(groups, groups + plan.cols()) + 1;
    Matrix by_group = Matrix::Zero(plan.rows(), std::max<Index>(count, 1));
    for (Index n = 0; n < plan.cols(); ++n) {
        if (groups[n] >= 0) by_group.col(groups[n]) += plan.col(n);
    }
    return by_group.rowwise().maxCoeff().sum();
}

}  // namespace detail

inline Character character(const Pooling& pooling, const Data& data) {
    Character mean;
    const otpool::Bags<double> bags = data.bags();
    const auto part = 1 / static_cast<double>(bags.size());
    for (Index b = 0; b < bags.size(); ++b) {
        const Matrix plan = pooling.plan(bags[b]);
        mean.draws_on += part * detail::effective(plan);
        mean.shared_by += part * detail::effective(plan.transpose());
        mean.mass += part * plan.sum();
        if (data.groups.empty()) continue;
        mean.of_group += part *
                         detail::mass_of_groups(plan, &data.groups[static_cast<std::size_t>(bags.first_instance(b))]) /
                         plan.sum();
    }
    return mean;
}

}  // namespace slots
