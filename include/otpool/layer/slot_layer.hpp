// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <concepts>
#include <string>
#include <utility>

#include "otpool/core/bags.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/gradient/differentiable_slot_pooling.hpp"
#include "otpool/gradient/unrolled.hpp"
#include "otpool/layer/layer_gradient.hpp"
#include "otpool/layer/learned_prior.hpp"
#include "otpool/layer/positive.hpp"
#include "otpool/pooling/instance_prior.hpp"
#include "otpool/problem/marginal.hpp"
#include "otpool/problem/regularizers.hpp"
#include "otpool/slots/dummy_slot.hpp"
#include "otpool/slots/slot_readouts.hpp"
#include "otpool/slots/slot_rewards.hpp"
#include "otpool/solver/sinkhorn.hpp"

namespace otpool {

/// The learnable numbers of a SlotLayer, and the type of their gradient. Alphas are raw (see PositiveExp).
template <BagScalar Scalar, class Prior>
struct SlotParameters {
    Matrix<Scalar> prototypes;         ///< D x K: one per slot.
    Vector<Scalar> bias = {};          ///< K, for DotProduct; empty: none.
    Vector<Scalar> alpha0 = {};        ///< Raw, one entry: of the regulariser.
    Vector<Scalar> alpha1 = {};        ///< Raw: of each slot's marginal (K), or of all (1); empty: slots are hard.
    Vector<Scalar> p0 = {};            ///< K logits of the slot prior; empty: it stays uniform.
    Vector<Scalar> dummy_reward = {};  ///< One entry: of the dummy slot; empty without one.
    Prior prior = {};                  ///< Computes q0; learned if it is a LearnedPrior.

    /// visit(name, array) for every array that is not empty.
    template <class Visit>
    void for_each_array(const Visit& visit) {
        const auto visit_filled = [&](const std::string& name, auto& array) {
            if (array.size() > 0) visit(name, array);
        };
        visit_filled("prototypes", prototypes);
        visit_filled("bias", bias);
        visit_filled("alpha0", alpha0);
        visit_filled("alpha1", alpha1);
        visit_filled("p0", p0);
        visit_filled("dummy_reward", dummy_reward);
        if constexpr (LearnedPrior<Prior, Scalar>) {
            prior.for_each_array([&](const std::string& name, auto& array) { visit_filled("prior." + name, array); });
        }
    }
};

/// Pooling to K slots that learns its prototypes: K' = `steps` Sinkhorn steps, whose alphas and priors are learned, too.
///
///     S = reward(bag; prototypes, bias),  P = K' steps on the UOT problem of S,  y_k = readout(P_k, instances)
///     alpha = Positive(raw),  p0 = softmax,  q0 = softmax(prior's scores)
///
/// The aggregation of SALAD is one with a Dustbin and hard slots (without their network of scores), OTKE one with
/// `solver.first` = HalfStep::instances. If a bag has its own prior, q0 is multiplied by it and normalised: what the
/// bag excludes (0) stays excluded.
///
/// Reward: DotProduct, SquaredDistance or RelativeDistance. Readout: ConditionalSlots or JointSlots. Dummy: NoDummySlot,
/// PartialSlots or Dustbin. A value type; forward and backward are const and thread-safe. Cost: see
/// DifferentiableSlotPooling and Unrolled.
template <BagScalar Scalar, class Readout = ConditionalSlots, class Dummy = NoDummySlot,
          class Reward = DotProduct<Scalar>, class Prior = UniformPrior, class Positive = PositiveExp,
          Regularizer R = Entropy>
struct SlotLayer {
    using Parameters = SlotParameters<Scalar, Prior>;    ///< What is learned.
    using Gradient = LayerGradient<Scalar, Parameters>;  ///< What backward() returns.
    /// The pooling that is differentiated.
    using Pooling = DifferentiableSlotPooling<Scalar, Reward, Unrolled<Sinkhorn, StepsAlone>, Readout, Dummy, R>;
    /// Whether there is a dummy slot, whose reward is a parameter.
    static constexpr bool has_dummy = !std::same_as<Dummy, NoDummySlot>;
    /// Whether there may be a bias.
    static constexpr bool takes_bias = requires(Reward r) { r.bias; };

    Parameters parameters;     ///< What is learned; see start().
    int steps = 4;             ///< At least 1.
    double alpha2 = hard;      ///< Of the instances' marginal, in [0, inf]; not learned.
    Sinkhorn solver = {};      ///< Its number of iterations is replaced by `steps`.
    Readout readout = {};      ///< Computes a slot's vector from what it draws.
    Dummy dummy = {};          ///< Its reward is replaced by the layer's.
    Reward reward = {};        ///< Its prototypes and bias are replaced by the layer's.
    Execution execution = {};  ///< Runs the bags of a batch, in both passes; Sequential by default.

    /// Parameters to start from, for standardised or normalised features: alpha0 is half the usual spread u of the
    /// rewards, and each alpha1 is u, so that every parameter has a gradient. u is sqrt(D) for DotProduct, sqrt(8 D)
    /// for SquaredDistance (that of independent normal vectors), 0.2 for RelativeDistance. Bias, p0 and the dummy
    /// slot's reward are 0. For prototypes see instances_as_prototypes().
    static Parameters start(Matrix<Scalar> prototypes, Prior prior = {}, bool learn_p0 = false) {
        const auto features = static_cast<double>(prototypes.rows());
        const Index slots = prototypes.cols();
        const bool relative = requires(Reward r) { r.power; };
        const double spread = relative ? 0.2 : std::sqrt(takes_bias ? features : 8 * features);
        const auto raw = [](Index size, double value) -> Vector<Scalar> {
            return Vector<Scalar>::Constant(size, static_cast<Scalar>(Positive::raw(value)));
        };
        Parameters start{.prototypes = std::move(prototypes)};
        if (takes_bias) start.bias = Vector<Scalar>::Zero(slots);
        start.alpha0 = raw(1, spread / 2);
        start.alpha1 = raw(slots, spread);
        if (learn_p0) start.p0 = Vector<Scalar>::Zero(slots);
        if (has_dummy) start.dummy_reward = Vector<Scalar>::Zero(1);
        start.prior = std::move(prior);
        return start;
    }

    /// K
    Index slots() const { return parameters.prototypes.cols(); }

    /// The pooled bags, and what backward() needs. Views the bags, which must outlive it.
    struct Forward {
        Matrix<Scalar> pooled;              ///< (D K) x B, as SlotPooling returns it.
        Bags<Scalar> bags;                  ///< The bags that were pooled.
        typename Pooling::Forward pooling;  ///< The result of the pooling.
    };

    /// Pools the bags. Throws InvalidArgument.
    Forward forward(const Bags<Scalar>& bags) const {
        Workspaces workspaces;
        return forward(bags, workspaces);
    }
    /// The same in the memory of `workspaces`, which the next pass can reuse.
    Forward forward(const Bags<Scalar>& bags, Workspaces& workspaces) const {
        auto of_pooling = pooling().forward(detail::with_prior(bags, parameters.prior, {}, execution), workspaces);
        return {of_pooling.pooled, bags, std::move(of_pooling)};
    }

    /// The pooled bags, (D K) x B, if no gradient is wanted.
    Matrix<Scalar> operator()(const Bags<Scalar>& bags) const {
        return pooling().without_tapes()(detail::with_prior(bags, parameters.prior, {}, execution));
    }

    /// The plan of one bag, K x N: which instances a slot draws on. Throws InvalidArgument.
    Matrix<Scalar> plan(const MatrixView<Scalar>& bag) const {
        const Bags<Scalar> alone(bag, {0, bag.cols()});
        return pooling().without_tapes().plan(detail::with_prior(alone, parameters.prior, {}, execution)[0]);
    }

    /// The gradient of L with respect to bags and parameters, given dL/dpooled, (D K) x B. Throws InvalidArgument if
    /// alpha0 leaves it fewer than six digits, as UotLayer does.
    Gradient backward(const Forward& forward, const MatrixView<Scalar>& dL_dpooled) const {
        Workspaces workspaces;
        return backward(forward, dL_dpooled, workspaces);
    }
    /// The same in the memory of `workspaces`, which the next pass can reuse.
    Gradient backward(const Forward& forward, const MatrixView<Scalar>& dL_dpooled, Workspaces& workspaces) const {
        Index bag = 0;
        for (const auto& tape : forward.pooling.tapes) tape.solved.trajectory->require_digits(bag++);
        SlotGradient<Scalar> of = pooling().backward(forward.pooling, dL_dpooled, workspaces);
        Gradient gradient{std::move(of.instances), {std::move(of.prototypes)}};
        Parameters& to = gradient.parameters;
        const bool own_alphas = parameters.alpha1.size() > 1;
        to.alpha0 = through_positive(parameters.alpha0, of.problem.alpha0);
        to.alpha1 = through_positive(parameters.alpha1, own_alphas ? of.problem.alphas1 : of.problem.alpha1);
        if (parameters.bias.size() > 0) to.bias = std::move(of.bias);
        if (parameters.p0.size() > 0) to.p0 = std::move(of.problem.log_p0);
        if (has_dummy) to.dummy_reward = Vector<Scalar>::Constant(1, static_cast<Scalar>(of.dummy_reward));
        to.prior = detail::pull_back_prior(forward.bags, parameters.prior, {}, of.problem.log_q0, gradient.instances,
                                           execution);
        gradient.instances = detail::of_columns(forward.bags, std::move(gradient.instances));
        return gradient;
    }

    /// visit(name, array) for every array that is learned; see named_arrays().
    template <class Visit>
    void for_each_array(const Visit& visit) {
        parameters.for_each_array(visit);
    }

    /// The pooling with the layer's present parameters. Throws InvalidArgument.
    Pooling pooling() const {
        validate();
        Pooling pooling;
        pooling.reward = reward;
        pooling.reward.prototypes = parameters.prototypes;
        if constexpr (takes_bias) pooling.reward.bias = parameters.bias;
        pooling.mode.solver = solver;
        pooling.mode.solver.options.iterations = steps;
        pooling.mode.solver.options.closed_forms = false;  // without_tapes() pools by the same steps
        pooling.readout = readout;
        pooling.dummy = dummy;
        if constexpr (has_dummy) pooling.dummy.reward = static_cast<double>(parameters.dummy_reward[0]);
        pooling.execution = execution;
        pooling.parameters.alpha0 = value(parameters.alpha0[0]);
        Marginal<Scalar>& of_slots = pooling.parameters.features;
        const Vector<Scalar>& alpha1 = parameters.alpha1;
        of_slots.alpha = alpha1.size() == 1 ? value(alpha1[0]) : Scalar(hard);
        if (alpha1.size() > 1) of_slots.alphas = alpha1.unaryExpr([](Scalar raw) { return value(raw); });
        if (parameters.p0.size() > 0) of_slots.prior = softmax(parameters.p0);
        pooling.parameters.instances.alpha = static_cast<Scalar>(alpha2);
        return pooling;
    }

private:
    static Scalar value(Scalar raw) { return static_cast<Scalar>(Positive::value(raw)); }

    static Vector<Scalar> through_positive(const Vector<Scalar>& raw, const RealVector& gradient) {
        Vector<Scalar> of_raw(raw.size());
        for (Index i = 0; i < raw.size(); ++i)
            of_raw[i] = static_cast<Scalar>(gradient[i] * Positive::derivative(raw[i]));
        return of_raw;
    }

    void validate() const {
        using detail::require_that;
        using detail::text;
        require_that(steps >= 1, "steps", steps, "at least 1");
        require_that(slots() >= 1, "number of prototypes", slots(), "at least 1");
        const auto expect = [&](const Vector<Scalar>& array, const char* name, bool fits, const std::string& allowed) {
            require_that(fits, text("length of ", name), array.size(), allowed);
            for (Index i = 0; i < array.size(); ++i) {
                require_that(std::isfinite(array[i]), text(name, "[", i, "]"), array[i], "finite numbers");
            }
        };
        const auto is_either = [&](const Vector<Scalar>& array) {
            return array.size() == 0 || array.size() == slots();
        };
        const std::string each = detail::printed(slots()) + ", the number of slots, ";
        const auto& [prototypes, bias, alpha0, alpha1, p0, dummy_reward, prior] = parameters;
        expect(alpha0, "alpha0", alpha0.size() == 1, "1");
        expect(alpha1, "alpha1", alpha1.size() == 1 || is_either(alpha1),
               each + "1 for all slots, or 0 for hard slots");
        expect(p0, "p0", is_either(p0), each + "or 0 for a uniform prior");
        expect(bias, "bias", takes_bias ? is_either(bias) : bias.size() == 0,
               takes_bias ? each + "or 0 for none" : "0, as only DotProduct has a bias");
        expect(dummy_reward, "dummy_reward", dummy_reward.size() == (has_dummy ? 1 : 0),
               has_dummy ? "1" : "0, as there is no dummy slot");
        detail::require_finite(MatrixView<Scalar>(prototypes), "prototypes");
    }
};

}  // namespace otpool
