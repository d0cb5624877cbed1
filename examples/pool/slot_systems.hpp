#pragma once

#include <type_traits>
#include <utility>
#include <variant>

#include <otpool/otpool.hpp>

#include "any_slots.hpp"
#include "parameters.hpp"
#include "settings.hpp"

// From the options to a pooling to slots.

namespace pool {

namespace detail {

/// A pooling of the literature as the library has it. `of` has the options that it cannot do without.
template <otpool::Regularizer R, otpool::BagScalar Scalar>
AnySlotPooling<Scalar, R> system_pooling(SystemName system, const Matrix<Scalar>& prototypes, const SlotSettings& of) {
    const AnySolver to_tolerance;
    switch (system) {
        case SystemName::otke: return any_slot_pooling<R>(otpool::otke_pooling<Scalar>(prototypes));
        case SystemName::salad:
            return any_slot_pooling<R>(otpool::salad_pooling<Scalar>(
                scalar<Scalar>(of.dustbin.value_or(0), "--dustbin"), otpool::DotProduct<Scalar>{prototypes}));
        case SystemName::otsurv:
            return any_slot_pooling<R>(otpool::otsurv_pooling<Scalar>(
                prototypes, scalar<Scalar>(of.partial.value_or(1), "--partial"), to_tolerance));
        case SystemName::motcat: return any_slot_pooling<R>(otpool::motcat_pooling<Scalar>(prototypes, to_tolerance));
        case SystemName::netvlad:
            return any_slot_pooling<R>(
                otpool::netvlad_pooling<Scalar>(otpool::SquaredDistance<Scalar>{prototypes}, prototypes));
        case SystemName::slot_attention:
            return any_slot_pooling<R>(otpool::slot_attention_pooling<Scalar>(otpool::DotProduct<Scalar>{prototypes}));
        case SystemName::lot: break;
    }
    return any_slot_pooling<R>(otpool::lot_embedding<Scalar>(prototypes));
}

template <otpool::BagScalar Scalar>
AnyReward<Scalar> reward_of(CostName cost, const Matrix<Scalar>& prototypes) {
    switch (cost) {
        case CostName::dot: return {otpool::DotProduct<Scalar>{prototypes}};
        case CostName::reldist: return {otpool::RelativeDistance<Scalar>{prototypes, 1}};
        case CostName::relsqdist: return {otpool::RelativeDistance<Scalar>{prototypes, 2}};
        case CostName::sqdist: break;
    }
    return {otpool::SquaredDistance<Scalar>{prototypes}};
}

/// The joint readout of a system that has one, so that its factor stays; else K sum_n P_kn x_n.
inline otpool::JointSlots joint_of(const AnyReadout& of_system, Index slots) {
    if (const auto* joint = std::get_if<otpool::JointSlots>(&of_system.readout)) return *joint;
    if (const auto* residual = std::get_if<otpool::ResidualSlots<otpool::JointSlots>>(&of_system.readout)) {
        return residual->readout;
    }
    return {.scale = static_cast<double>(slots)};
}

inline AnyReadout readout_of(ReadoutName name, const AnyReadout& of_system, const otpool::RealMatrix& centres) {
    const otpool::JointSlots joint = joint_of(of_system, centres.cols());
    switch (name) {
        case ReadoutName::joint: return {joint};
        case ReadoutName::residual: return {otpool::ResidualSlots<otpool::ConditionalSlots>{centres}};
        case ReadoutName::joint_residual: return {otpool::ResidualSlots<otpool::JointSlots>{centres, joint}};
        case ReadoutName::conditional: break;
    }
    return {otpool::ConditionalSlots{}};
}

}  // namespace detail

/// The pooling to the prototypes (D x K) that the options ask for: the system's, with what is given in its place. Throws
/// UsageError.
template <otpool::Regularizer R = otpool::Entropy, otpool::BagScalar Scalar>
AnySlotPooling<Scalar, R> slot_pooling(const Settings& settings, const Matrix<Scalar>& prototypes) {
    const SlotSettings& slots = settings.slots;
    AnySlotPooling<Scalar, R> pooling{.reward = {otpool::SquaredDistance<Scalar>{prototypes}}};
    if (slots.system) pooling = detail::system_pooling<R>(*slots.system, prototypes, slots);
    pooling.parameters = parameters(settings, pooling.parameters);
    if (slots.cost) pooling.reward = detail::reward_of(*slots.cost, prototypes);
    if (settings.readout) {
        const otpool::RealMatrix centres = prototypes.template cast<otpool::Real>();
        pooling.readout = detail::readout_of(*settings.readout, pooling.readout, centres);
    }
    if (slots.dustbin) pooling.dummy = {otpool::Dustbin{scalar<Scalar>(*slots.dustbin, "--dustbin")}};
    if (slots.partial) pooling.dummy = {otpool::PartialSlots{*slots.partial}};
    return pooling;
}

/// Whether the pooled vectors are less a centre.
inline bool needs_centres(const AnyReadout& of) { return of.readout.index() >= 2; }
/// Whether the pooled vectors grow with the plan's mass.
inline bool reads_mass(const AnyReadout& of) { return of.readout.index() % 2 == 1; }

}  // namespace pool
