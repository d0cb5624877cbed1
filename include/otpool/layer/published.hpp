// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <optional>
#include <string>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/layer/published_steps.hpp"
#include "otpool/pooling/attention.hpp"
#include "otpool/pooling/batch.hpp"
#include "otpool/pooling/instance_prior.hpp"
#include "otpool/pooling/own_prior.hpp"
#include "otpool/problem/marginal.hpp"
#include "otpool/problem/regularizers.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool::published {

/// softplus(y) = log(1 + exp(y)) > 0. (For y > 20 PyTorch returns y, which is the same to 1e-10.)
inline Real softplus(Real raw) { return (std::max)(raw, 0.0) + std::log1p(std::exp(-std::abs(raw))); }

/// The layers' parameters as they are trained and stored, before softplus. Each has K entries, one per step, or one
/// entry for all steps. The released names count from 1.
struct RawParameters {
    RealVector alpha0;    ///< Released as a1: of the regulariser.
    RealVector alpha1;    ///< Released as a2: of the feature marginal.
    RealVector alpha2;    ///< Released as a3: of the instance marginal.
    RealVector rho = {};  ///< For ADMM; Sinkhorn ignores it.

    /// The parameters of step k = 0, 1, ...
    Step step(int k) const {
        const auto at = [k](const RealVector& raw) { return softplus(raw[std::min<Index>(k, raw.size() - 1)]); };
        return {.alpha0 = at(alpha0), .alpha1 = at(alpha1), .alpha2 = at(alpha2), .rho = rho.size() > 0 ? at(rho) : 1};
    }
};

/// Computes a layer's q0: UniformPrior ("fixed"), Attention<Real> ("learned": V is `linear_r1.weight`, w
/// `linear_r2.weight`) or FixedPrior<Real>. The bag is passed in double, also if the layer's scalar is float.
template <class Prior>
concept InstancePrior = requires(const Prior& prior, const MatrixView<Real>& bag) {
    { prior(bag) } -> std::convertible_to<RealVector>;
};

/// The forward pass of a released layer: K of its steps, from the bag X (D x N).
///
///     q0 = prior(X),  T = plan after the steps (SinkhornSteps, BregmanAdmmSteps),  z_d = D sum_n T_dn x_dn
///
/// It is for weights trained with these layers (adapter/published_weights.hpp loads them). It computes in double, for
/// bags of float too, and agrees with the released layers to their rounding. To solve the problem, use Pooling: what
/// SinkhornSteps and BregmanAdmmSteps solve is in their comments. Unlike ConditionalReadout, z is not divided by the
/// plan's mass, so that a wrong mass (Sinkhorn) changes the scale of z.
///
/// A value type; calls are const and thread-safe. They throw InvalidArgument before any step. Cost: K steps, and a few
/// D x N matrices of double per call.
template <BagScalar Scalar, class Steps, InstancePrior Prior = UniformPrior>
struct Layer {
    static constexpr bool uses_rho = Steps::uses_rho;  ///< Whether rho is a parameter.

    RawParameters parameters;              ///< Before softplus.
    int steps = 4;                         ///< K, at least 1.
    Prior prior = {};                      ///< q0, N entries >= 0 that sum to 1; its zeros exclude no instance.
    std::optional<Scalar> empty_bag = {};  ///< Fills an empty bag's pooled vector; if unset, an empty bag is an error.
    Execution execution = {};              ///< Runs the bags of a batch; Sequential by default.

    /// The plan T of one bag, D x N.
    RealMatrix plan(const MatrixView<Scalar>& bag) const {
        validate();
        validate(bag);
        const RealMatrix X = bag.matrix().template cast<Real>();
        return plan(X, prior(MatrixView<Real>(X)));
    }

    /// Pools one bag: z, D entries.
    Vector<Scalar> operator()(const MatrixView<Scalar>& bag) const { return (*this)(Bag<Scalar>{bag}); }

    /// The same with the bag's own prior, which the released layers do not have: q0 is multiplied by it, and the
    /// instances that it excludes (0) are left out of the bag. A bag's own reward is InvalidArgument.
    Vector<Scalar> operator()(const Bag<Scalar>& bag) const {
        validate();
        otpool::detail::require_that(bag.reward.empty(), "reward", "a bag's own", "none: these layers take the bag");
        validate(bag.instances);
        const RealMatrix X = bag.instances.matrix().template cast<Real>();
        const RealVector own = bag.prior.template cast<Real>();
        const RealVector q0 = otpool::detail::prior_of(prior, MatrixView<Real>(X), own);
        otpool::detail::require_prior(q0, X.cols(), true, "q0");
        const otpool::detail::ActiveInstances<UniformPrior, Real> active(X, own);
        RealVector of_active(q0.size() == 0 ? 0 : active.instances.cols());
        for (Index k = 0; k < of_active.size(); ++k) of_active[k] = q0[active.place_of(k)];
        const RealMatrix left(active.instances.matrix());
        return pooled(plan(left, of_active), left).template cast<Scalar>();
    }

    /// Pools a batch of B bags: D x B.
    Matrix<Scalar> operator()(const Bags<Scalar>& bags) const {
        validate();
        return otpool::detail::pool_batch<Scalar>(bags, empty_bag, execution,
                                                  [&](const otpool::detail::BagTask<Scalar>& task) {
                                                      Eigen::Ref<Vector<Scalar>> y = task.pooled;
                                                      y = (*this)(task.bag);
                                                  });
    }

private:
    RealMatrix plan(const RealMatrix& X, const RealVector& q0) const {
        otpool::detail::require_prior(q0, X.cols(), true, "q0");
        Steps state(X, otpool::detail::prior_of_mass(q0, X.cols()), parameters.step(0));
        for (int k = 0; k < steps; ++k) state.step(parameters.step(k));
        return state.plan();
    }

    static void validate(const MatrixView<Scalar>& bag) {
        otpool::detail::require_that(!bag.empty(), "shape of the bag",
                                     otpool::detail::shape_text(bag.rows(), bag.cols()),
                                     "at least one feature and one instance");
        otpool::detail::require_finite(bag, "bag");
    }

    void validate() const {
        otpool::detail::require_that(steps >= 1, "steps", steps, "at least 1");
        validate("alpha0", parameters.alpha0);
        validate("alpha1", parameters.alpha1);
        validate("alpha2", parameters.alpha2);
        if constexpr (uses_rho) validate("rho", parameters.rho);
    }

    void validate(const std::string& name, const RealVector& raw) const {
        using otpool::detail::printed;
        otpool::detail::require_that(raw.size() == 1 || raw.size() == steps, "length of raw " + name, raw.size(),
                                     steps == 1 ? "1" : "1 or " + printed(steps) + ", the number of steps");
        for (Index k = 0; k < raw.size(); ++k) {
            otpool::detail::require_that(std::isfinite(raw[k]) && softplus(raw[k]) > 0,
                                         "raw " + name + "[" + printed(k) + "]", raw[k],
                                         "finite numbers whose softplus is above 0, from about -745");
        }
    }
};

/// The released layer "sinkhorn".
template <BagScalar Scalar, InstancePrior Prior = UniformPrior>
using Sinkhorn = Layer<Scalar, SinkhornSteps, Prior>;

/// The released layer "badmm-e".
template <BagScalar Scalar, InstancePrior Prior = UniformPrior>
using EntropicAdmm = Layer<Scalar, BregmanAdmmSteps<Entropy>, Prior>;

/// The released layer "badmm-q".
template <BagScalar Scalar, InstancePrior Prior = UniformPrior>
using QuadraticAdmm = Layer<Scalar, BregmanAdmmSteps<Quadratic>, Prior>;

}  // namespace otpool::published
