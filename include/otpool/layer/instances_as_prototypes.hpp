// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/compiler.hpp"  // before Eigen

#include <Eigen/Core>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool {

/// Prototypes for `slots` slots, D x K, to start learning from: instances of the batch that lie apart. The first is drawn
/// with equal chances, each next one with a chance proportional to its squared distance to the nearest prototype so far
/// (the seeding of k-means++: Arthur & Vassilvitskii, SODA 2007); with equal chances where all distances are 0. Instances
/// of prior 0 do not take part. The same seed gives the same prototypes on every machine, up to rounding of distances.
/// Throws InvalidArgument for fewer than one slot, no instance, or an instance that is not finite. Cost: 3 K N D flops.
template <BagScalar Scalar>
Matrix<Scalar> instances_as_prototypes(const Bags<Scalar>& bags, Index slots, std::uint64_t seed = 0) {
    detail::require_that(slots >= 1, "slots", slots, "at least 1");
    Matrix<Scalar> instances(bags.features(), 0);
    for (Index b = 0; b < bags.size(); ++b) {
        const Bag<Scalar> bag = bags[b];
        Index count = instances.cols();
        instances.conservativeResize(Eigen::NoChange, count + bag.instances.cols());
        for (Index n = 0; n < bag.instances.cols(); ++n) {
            if (bag.prior.size() == 0 || bag.prior[n] > 0) instances.col(count++) = bag.instances.matrix().col(n);
        }
        instances.conservativeResize(Eigen::NoChange, count);
    }
    const Index count = instances.cols();
    detail::require_that(count > 0, "number of instances", count, "at least 1");
    detail::require_finite(MatrixView<Scalar>(instances), "instances");

    std::mt19937_64 random(seed);
    // The place where the running sum of weights passes a random part of the total.
    const auto draw = [&](const RealVector& weights) {
        Real left = static_cast<Real>(random() >> 11) * 0x1p-53 * weights.sum();
        Index last = 0;
        for (Index i = 0; i < weights.size(); ++i) {
            if (weights[i] == 0) continue;
            last = i;
            left -= weights[i];
            if (left < 0) break;
        }
        return last;
    };
    Matrix<Scalar> prototypes(bags.features(), slots);
    RealVector nearest = RealVector::Constant(count, std::numeric_limits<Real>::infinity());
    for (Index k = 0; k < slots; ++k) {
        const bool all_alike = k == 0 || nearest.maxCoeff() == 0;
        prototypes.col(k) = instances.col(draw(all_alike ? RealVector(RealVector::Ones(count)) : nearest));
        for (Index i = 0; i < count; ++i) {
            const auto squared = static_cast<Real>((instances.col(i) - prototypes.col(k)).squaredNorm());
            nearest[i] = (std::min)(nearest[i], squared);
        }
    }
    return prototypes;
}

}  // namespace otpool
