// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/differentiable_pooling.hpp"
#include "otpool/gradient/step_parameters.hpp"
#include "otpool/gradient/unrolled.hpp"
#include "otpool/layer/layer_gradient.hpp"
#include "otpool/layer/learned_prior.hpp"
#include "otpool/layer/positive.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/pooling/instance_prior.hpp"
#include "otpool/pooling/readout.hpp"
#include "otpool/problem/regularizers.hpp"
#include "otpool/solver/sinkhorn.hpp"

namespace otpool {

/// The learnable numbers of a UotLayer, and the type of their gradient. Alphas and rho are raw (see PositiveExp); they
/// have one entry for all steps, or one per step.
template <BagScalar Scalar, class Prior>
struct UotParameters {
    Vector<Scalar> alpha0,    ///< Raw: of the regulariser.
        alpha1,               ///< Raw: of the feature marginal.
        alpha2;               ///< Raw: of the instance marginal.
    Vector<Scalar> rho = {};  ///< Raw: empty for Sinkhorn, which has none.
    Vector<Scalar> p0 = {};   ///< D logits of the feature prior; if empty, it stays uniform.
    Prior prior = {};         ///< Computes q0; learned if it is a LearnedPrior.

    /// visit(name, array) for every array that is not empty.
    template <class Visit>
    void for_each_array(const Visit& visit) {
        const auto visit_filled = [&](const std::string& name, auto& array) {
            if (array.size() > 0) visit(name, array);
        };
        visit_filled("alpha0", alpha0);
        visit_filled("alpha1", alpha1);
        visit_filled("alpha2", alpha2);
        visit_filled("rho", rho);
        visit_filled("p0", p0);
        if constexpr (LearnedPrior<Prior, Scalar>) {
            prior.for_each_array([&](const std::string& name, auto& array) { visit_filled("prior." + name, array); });
        }
    }
};

/// The UOT-pooling layer of Cheng & Xu (arXiv 2201.09191): K steps of a solver, whose alphas, rho and priors are
/// learned.
///
///     P = K steps on the UOT problem of the bag,  alpha = Positive(raw),  p0 = softmax,  q0 = softmax(prior's scores)
///
/// If a bag has its own prior, q0 is multiplied by it and normalised: what the bag excludes (0) stays excluded.
///
/// Solver: Sinkhorn, or BregmanAdmm, which also takes Quadratic. Prior: UniformPrior, or a LearnedPrior such as
/// Attention. A value type; forward and backward are const and thread-safe. Cost: see Unrolled.
template <BagScalar Scalar, class Solver = Sinkhorn, Regularizer R = Entropy, class Prior = UniformPrior,
          class Positive = PositiveExp, class Readout = ConditionalReadout>
struct UotLayer {
    using Parameters = UotParameters<Scalar, Prior>;     ///< What is learned.
    using Gradient = LayerGradient<Scalar, Parameters>;  ///< What backward() returns.
    /// Whether rho is a parameter.
    static constexpr bool has_rho = requires(Solver s) { s.rho; };

    Parameters parameters;     ///< What is learned; see start().
    int steps = 4;             ///< K, at least 1.
    Solver solver = {};        ///< Its number of iterations and its rho are replaced by the layer's.
    Readout readout = {};      ///< Computes the pooled vector from the plan.
    Execution execution = {};  ///< Runs the bags of a batch, in both passes; Sequential by default.

    /// Parameters to start from, for bags of `features` features with a spread of about 1 (standardised or normalised):
    /// alpha0 = 1/2, alpha1 = 10, alpha2 = 1/10. This is close to softmax pooling at half the spread: every parameter
    /// has a gradient, and mean and max are a few steps of log alpha0 away. For Quadratic, alpha0 = D/2 is close to
    /// sparsemax at the spread. rho is BregmanAdmm's default. p0 is uniform. `sets`: 1, or K for parameters per step.
    static Parameters start(Index features, Prior prior = {}, bool learn_p0 = false, int sets = 1) {
        const auto all = [&](double value) -> Vector<Scalar> {
            return Vector<Scalar>::Constant(sets, static_cast<Scalar>(Positive::raw(value)));
        };
        const double alpha0 = std::same_as<R, Quadratic> ? 0.5 * static_cast<double>(features) : 0.5;
        Parameters start{all(alpha0), all(10), all(0.1)};
        // A Quadratic plan's largest entry is about 1/D here; rho must be at least 2 alpha0 times that.
        if (has_rho) start.rho = all(std::same_as<R, Quadratic> ? 1.1 : 0.1 + alpha0);
        if (learn_p0) start.p0 = Vector<Scalar>::Zero(features);
        start.prior = std::move(prior);
        return start;
    }

    /// The pooled bags, and what backward() needs. Views the bags, which must outlive it.
    struct Forward {
        Matrix<Scalar> pooled;  ///< D x B
        Bags<Scalar> bags;      ///< The bags that were pooled.
        /// The result of the pooling.
        typename DifferentiablePooling<Scalar, Unrolled<Solver, StepsAlone>, R, Readout>::Forward pooling;
    };

    /// Pools the bags. Throws InvalidArgument.
    Forward forward(const Bags<Scalar>& bags) const {
        Workspaces workspaces;
        return forward(bags, workspaces);
    }
    /// The same in the memory of `workspaces`, which the next pass can reuse.
    Forward forward(const Bags<Scalar>& bags, Workspaces& workspaces) const {
        validate(bags.features());
        auto pooling = this->pooling().forward(detail::with_prior(bags, parameters.prior, {}, execution), workspaces);
        return {pooling.pooled, bags, std::move(pooling)};
    }

    /// The solution that the steps find for one bag, with its plan. Views the bag.
    Solution<Scalar, R> solve(const MatrixView<Scalar>& bag) const {
        validate(bag.rows());
        const Bags<Scalar> alone(bag, {0, bag.cols()});
        const auto pooling = this->pooling();
        const Bag<Scalar> of_layer = detail::with_prior(alone, parameters.prior, {}, execution)[0];
        return *pooling.mode.solve(pooling.without_tapes().problem(of_layer)).solution;
    }

    /// The pooled bags, D x B, if no gradient is wanted. If all steps share parameters, this needs no memory for tapes,
    /// and small bags take a seventh less time than in forward().
    Matrix<Scalar> operator()(const Bags<Scalar>& bags) const {
        Workspaces workspaces;
        return (*this)(bags, workspaces);
    }
    /// The same in the memory of `workspaces`, which the next pass can reuse.
    Matrix<Scalar> operator()(const Bags<Scalar>& bags, Workspaces& workspaces) const {
        if (!shares_parameters()) return forward(bags, workspaces).pooled;
        validate(bags.features());
        return pooling().without_tapes()(detail::with_prior(bags, parameters.prior, {}, execution), workspaces);
    }

    /// The gradient of L with respect to bags and parameters, given dL/dpooled (D x B). Pass an old gradient to reuse
    /// its memory: new memory costs up to a third of the time for large bags.
    ///
    /// The exponents of Sinkhorn's plans are potentials / alpha0, up to 1 / s in size at alpha0 = s spreads of the bag's
    /// reward. Rounding them costs a gradient up to 1e-16 / s of its largest derivative; those with respect to alphas
    /// are taken times alpha, and may be much smaller. If exponents are above 1e9, InvalidArgument: fewer than six
    /// digits are left. BregmanAdmm divides by rho + alpha0, and keeps its digits.
    Gradient backward(const Forward& forward, const MatrixView<Scalar>& dL_dpooled, Gradient gradient = {}) const {
        Workspaces workspaces;
        return backward(forward, dL_dpooled, std::move(gradient), workspaces);
    }
    /// The same in the memory of `workspaces`, which the next pass can reuse.
    Gradient backward(const Forward& forward, const MatrixView<Scalar>& dL_dpooled, Gradient gradient,
                      Workspaces& workspaces) const {
        if constexpr (!has_rho) {
            Index bag = 0;
            for (const auto& tape : forward.pooling.tapes) tape.trajectory->require_digits(bag++);
        }
        ProblemGradient<Scalar> of =
            pooling().backward(forward.pooling, dL_dpooled, {.reward = std::move(gradient.instances)}, workspaces);
        gradient = {detail::of_instances(of), {}};
        Parameters& to = gradient.parameters;
        to.alpha0 = through_positive(parameters.alpha0, of.alpha0);
        to.alpha1 = through_positive(parameters.alpha1, of.alpha1);
        to.alpha2 = through_positive(parameters.alpha2, of.alpha2);
        if constexpr (has_rho) to.rho = through_positive(parameters.rho, of.rho);
        if (parameters.p0.size() > 0) to.p0 = std::move(of.log_p0);
        to.prior =
            detail::pull_back_prior(forward.bags, parameters.prior, {}, of.log_q0, gradient.instances, execution);
        gradient.instances = detail::of_columns(forward.bags, std::move(gradient.instances));
        return gradient;
    }

    /// visit(name, array) for every array that is learned; see named_arrays().
    template <class Visit>
    void for_each_array(const Visit& visit) {
        parameters.for_each_array(visit);
    }

    /// The alphas and rho of every step.
    std::vector<StepParameters> step_parameters() const {
        std::vector<StepParameters> all(static_cast<std::size_t>(steps));
        for (std::size_t k = 0; k < all.size(); ++k) {
            all[k] = {value(parameters.alpha0, k), value(parameters.alpha1, k), value(parameters.alpha2, k)};
            if constexpr (has_rho) all[k].rho = value(parameters.rho, k);
        }
        return all;
    }

private:
    static double value(const Vector<Scalar>& raw, std::size_t k) {
        return Positive::value(raw[raw.size() == 1 ? 0 : static_cast<Index>(k)]);
    }

    void validate(Index features) const {
        using detail::require_that;
        using detail::text;
        require_that(steps >= 1, "steps", steps, "at least 1");
        const auto validate = [&](const Vector<Scalar>& raw, const char* name) {
            require_that(raw.size() == 1 || raw.size() == steps, text("length of ", name), raw.size(),
                         text("1, or the number of steps, ", steps));
            for (Index k = 0; k < raw.size(); ++k) {
                require_that(std::isfinite(raw[k]), text(name, "[", k, "]"), raw[k], "finite numbers");
            }
        };
        validate(parameters.alpha0, "alpha0");
        validate(parameters.alpha1, "alpha1");
        validate(parameters.alpha2, "alpha2");
        if constexpr (has_rho) validate(parameters.rho, "rho");
        require_that(parameters.p0.size() == 0 || parameters.p0.size() == features, "length of p0",
                     parameters.p0.size(), text(features, ", the number of features, or 0 for a uniform prior"));
    }

    /// With parameters per step, unless all steps share them, which costs less.
    DifferentiablePooling<Scalar, Unrolled<Solver, StepsAlone>, R, Readout> pooling() const {
        DifferentiablePooling<Scalar, Unrolled<Solver, StepsAlone>, R, Readout> pooling;
        pooling.mode = {.solver = solver, .steps = step_parameters()};
        pooling.mode.solver.options.iterations = steps;
        pooling.mode.solver.options.closed_forms = false;  // without_tapes() pools by the same steps
        if (shares_parameters()) {
            const StepParameters all = pooling.mode.steps.front();
            detail::validate(pooling.mode.steps, steps);
            pooling.parameters.alpha0 = static_cast<Scalar>(all.alpha0);
            pooling.parameters.features.alpha = static_cast<Scalar>(all.alpha1);
            pooling.parameters.instances.alpha = static_cast<Scalar>(all.alpha2);
            if constexpr (has_rho) pooling.mode.solver.rho = all.rho;
            pooling.mode.steps.clear();
        }
        pooling.readout = readout;
        pooling.execution = execution;
        if (parameters.p0.size() > 0) pooling.parameters.features.prior = softmax(parameters.p0);
        return pooling;
    }

    bool shares_parameters() const {
        bool shares = true;
        for (const auto* raw : {&parameters.alpha0, &parameters.alpha1, &parameters.alpha2, &parameters.rho}) {
            shares = shares && raw->size() <= 1;
        }
        return shares;
    }

    /// dL/draw per step, or summed over the steps if they share the parameter.
    static Vector<Scalar> through_positive(const Vector<Scalar>& raw, const RealVector& gradient) {
        RealVector shared = gradient;
        if (raw.size() == 1) shared = RealVector::Constant(1, gradient.sum());
        for (Index k = 0; k < shared.size(); ++k) shared[k] *= Positive::derivative(raw[k]);
        return shared.template cast<Scalar>();
    }
};

}  // namespace otpool
