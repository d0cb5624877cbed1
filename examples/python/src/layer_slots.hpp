// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <otpool/gradient/differentiable_slot_pooling.hpp>
#include <otpool/gradient/unrolled.hpp>
#include <otpool/pooling/instance_prior.hpp>
#include <otpool/slots/dummy_slot.hpp>
#include <otpool/slots/slot_readouts.hpp>
#include <otpool/slots/slot_rewards.hpp>
#include <otpool/solver/sinkhorn.hpp>

#include "arrays.hpp"
#include "layer_tape.hpp"
#include "threads.hpp"

// Forward and backward passes of the poolings to slots, for otpool.torch. Rewards are given: PyTorch computes and
// differentiates them. Readout and dummy slot are chosen at run time, so that all of them are compiled once.

namespace otpool_python {

namespace slot_layers {

using otpool::RealVector;
using otpool::SlotGradient;

/// ConditionalSlots or JointSlots.
struct AnySlots {
    std::optional<otpool::JointSlots> joint = {};

    RealVector operator()(Index slot, const Eigen::Ref<const RealVector>& mean, double mass, Index instances) const {
        return joint ? (*joint)(slot, mean, mass, instances) : otpool::ConditionalSlots()(slot, mean, mass, instances);
    }
};
/// What the library's reverse of a readout asks for.
inline const otpool::JointSlots* joint_part(const AnySlots& readout) {
    return readout.joint ? &*readout.joint : nullptr;
}

/// NoDummySlot, PartialSlots or Dustbin.
struct AnyDummySlot {
    std::string kind = "none";  ///< "none", "partial" or "dustbin".
    double partial = 1;         ///< The mass m of "partial".
    double reward = 0;          ///< Of the dummy slot.

    double mass(Index slots, Index instances) const {
        if (kind == "none") return 0;
        if (kind == "partial") return otpool::PartialSlots{partial}.mass(slots, instances);
        if (kind == "dustbin") return otpool::Dustbin{}.mass(slots, instances);
        throw otpool::InvalidArgument("dummy", kind, "none, partial or dustbin");
    }
};

template <BagScalar Scalar>
using SlotTape = LayerTape<Scalar, SlotGradient<Scalar>>;
template <BagScalar Scalar>
using Pooling =
    otpool::DifferentiableSlotPooling<Scalar, otpool::GivenReward,
                                      otpool::Unrolled<otpool::Sinkhorn, otpool::StepsAlone>, AnySlots, AnyDummySlot>;

template <BagScalar Scalar>
void fill(SlotTape<Scalar>& tape, const Pooling<Scalar>& pooling) {
    auto forward = std::make_shared<typename Pooling<Scalar>::Forward>(pooling.forward(tape.batch.bags()));
    tape.pooled = forward->pooled;
    tape.backward = [pooling, forward](const MatrixView<Scalar>& dL_dpooled) {
        Index bag = 0;
        for (const auto& of_bag : forward->tapes) of_bag.solved.trajectory->require_digits(bag++);
        return pooling.backward(*forward, dL_dpooled);
    };
}

/// Settings that are not learned.
struct SlotSettings {
    int steps;             ///< At least 1.
    double alpha2;         ///< Of the instances, in [0, inf].
    bool instances_first;  ///< Which half step comes first.
    std::string readout;   ///< "conditional" or "joint".
    double scale;          ///< Of "joint".
    bool times_instances;  ///< Whether that is multiplied by N.
    std::string dummy;     ///< See AnyDummySlot.
    double partial;
    int threads;
};

template <BagScalar Scalar>
Pooling<Scalar> pooling_of(const SlotSettings& settings, Scalar alpha0, const Vector<Scalar>& alpha1,
                           const Vector<Scalar>& p0, Scalar dummy_reward) {
    using otpool::detail::require_that;
    require_that(settings.readout == "conditional" || settings.readout == "joint", "readout", settings.readout,
                 "conditional or joint");
    Pooling<Scalar> pooling;
    auto& solver = pooling.mode.solver;
    solver.options.iterations = settings.steps;
    solver.options.closed_forms = false;
    solver.first = settings.instances_first ? otpool::HalfStep::instances : otpool::HalfStep::features;
    if (settings.readout == "joint") pooling.readout.joint = {settings.scale, settings.times_instances};
    pooling.dummy = {settings.dummy, settings.partial, static_cast<double>(dummy_reward)};
    pooling.execution = execution(settings.threads);
    pooling.parameters.alpha0 = alpha0;
    otpool::Marginal<Scalar>& of_slots = pooling.parameters.features;
    of_slots.alpha = alpha1.size() == 1 ? alpha1[0] : Scalar(otpool::hard);
    if (alpha1.size() > 1) of_slots.alphas = alpha1;
    if (p0.size() > 0) of_slots.prior = otpool::softmax(p0);
    pooling.parameters.instances.alpha = static_cast<Scalar>(settings.alpha2);
    return pooling;
}

template <BagScalar Scalar>
std::unique_ptr<SlotTape<Scalar>> pool(const Rows<Scalar>& x, const Pointers& ptr, const Rows<Scalar>& rewards,
                                       const std::optional<Line<Scalar>>& scores, const Line<Scalar>& alpha0,
                                       const Line<Scalar>& alpha1, const std::optional<Line<Scalar>>& p0,
                                       const std::optional<Line<Scalar>>& dummy_reward, int steps, double alpha2,
                                       bool instances_first, const std::string& readout, double scale,
                                       bool times_instances, const std::string& dummy, double partial, int threads) {
    using otpool::detail::require_that;
    require_that(alpha0.size() == 1, "size of alpha0", alpha0.size(), "1");
    require_that(alpha1.size() == 1 || alpha1.size() == rewards.shape(1), "size of alpha1", alpha1.size(),
                 "1, or the number of slots");
    require_that(!dummy_reward || dummy_reward->size() == 1, "size of dummy_reward",
                 dummy_reward ? dummy_reward->size() : 0, "1");
    auto tape = std::make_unique<SlotTape<Scalar>>();
    tape->batch = {x, ptr, scores, rewards};
    without_gil([&] {
        fill(*tape, pooling_of<Scalar>(
                        {steps, alpha2, instances_first, readout, scale, times_instances, dummy, partial, threads},
                        *alpha0.data(), vector_of<Scalar>(std::optional(alpha1)), vector_of<Scalar>(p0),
                        dummy_reward ? *dummy_reward->data() : Scalar(0)));
    });
    return tape;
}

/// Of x, rewards, scores, alpha0, alpha1, p0 and the dummy slot's reward.
template <BagScalar Scalar>
nb::tuple backward(const SlotTape<Scalar>& tape, const Rows<Scalar>& dL_dpooled) {
    SlotGradient<Scalar> of = without_gil([&] { return tape.backward(view_of(dL_dpooled)); });
    const auto cast = [](const RealVector& numbers) -> Vector<Scalar> { return numbers.template cast<Scalar>(); };
    auto& problem = of.problem;
    const RealVector& alpha1 = problem.alphas1.size() > 0 ? problem.alphas1 : problem.alpha1;
    return nb::make_tuple(array_of(std::move(of.instances)), array_of(std::move(problem.reward)),
                          array_of(std::move(problem.log_q0)), array_of(cast(problem.alpha0)), array_of(cast(alpha1)),
                          array_of(std::move(problem.log_p0)),
                          array_of(cast(RealVector::Constant(1, of.dummy_reward))));
}

template <BagScalar Scalar>
void bind(nb::module_& module, const char* name) {
    using Tape = SlotTape<Scalar>;
    nb::class_<Tape>(module, name, "A batch pooled to slots, and what its backward pass needs.")
        .def(
            "pooled", [](const Tape& tape) { return array_of(tape.pooled); }, "(B, K D)")
        .def("backward", &backward<Scalar>, nb::arg("dL_dpooled").noconvert(),
             "The derivatives of x, rewards, scores, alpha0, alpha1, p0 and dummy_reward.");
    module.def("layer_pool_slots", &pool<Scalar>, nb::arg("x").noconvert(), nb::arg("ptr").noconvert(),
               nb::arg("rewards").noconvert(), nb::arg("scores").noconvert().none(), nb::arg("alpha0").noconvert(),
               nb::arg("alpha1").noconvert(), nb::arg("p0").noconvert().none(),
               nb::arg("dummy_reward").noconvert().none(), nb::arg("steps"), nb::arg("alpha2"),
               nb::arg("instances_first"), nb::arg("readout"), nb::arg("scale"), nb::arg("times_instances"),
               nb::arg("dummy"), nb::arg("partial"), nb::arg("threads"),
               "Pools a batch x (sum N, D), ptr (B + 1) to slots of these rewards (sum N, K). Returns its tape.");
}

}  // namespace slot_layers

/// The layers that pool to slots.
inline void bind_slot_layers(nb::module_& module) {
    slot_layers::bind<float>(module, "SlotTapeFloat32");
    slot_layers::bind<double>(module, "SlotTapeFloat64");
}

}  // namespace otpool_python
