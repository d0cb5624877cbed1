#pragma once

#include <utility>
#include <variant>

#include <otpool/otpool.hpp>

#include "any_solver.hpp"

// Poolings to slots whose parts are chosen at run time: one type for all, so that little is compiled.

namespace pool {

using otpool::Index;
using otpool::Matrix;
using otpool::Vector;

/// Any reward that is computed from prototypes.
template <otpool::BagScalar Scalar>
struct AnyReward {
    std::variant<otpool::SquaredDistance<Scalar>, otpool::DotProduct<Scalar>, otpool::RelativeDistance<Scalar>> reward;

    Index slots() const {
        return std::visit([](const auto& known) { return known.slots(); }, reward);
    }
    Matrix<Scalar> operator()(const otpool::MatrixView<Scalar>& instances, const Vector<Scalar>& prior) const {
        return std::visit([&](const auto& known) { return known(instances, prior); }, reward);
    }
};

/// Any readout of slots.
struct AnyReadout {
    using Conditional = otpool::ConditionalSlots;
    using Joint = otpool::JointSlots;
    std::variant<Conditional, Joint, otpool::ResidualSlots<Conditional>, otpool::ResidualSlots<Joint>> readout = {};

    otpool::RealVector operator()(Index slot, const Eigen::Ref<const otpool::RealVector>& mean, otpool::Real mass,
                                  Index instances) const {
        return std::visit([&](const auto& known) { return known(slot, mean, mass, instances); }, readout);
    }
};

/// A dummy slot of any kind, or none.
struct AnyDummy {
    std::variant<otpool::NoDummySlot, otpool::PartialSlots, otpool::Dustbin> dummy = {};
    double reward = std::visit([](const auto& known) { return known.reward; }, dummy);

    otpool::Real mass(Index slots, Index instances) const {
        return std::visit([&](const auto& known) { return known.mass(slots, instances); }, dummy);
    }
};

template <otpool::BagScalar Scalar, otpool::Regularizer R>
using AnySlotPooling = otpool::SlotPooling<Scalar, AnyReward<Scalar>, AnySolver, AnyReadout, AnyDummy, R>;

/// The same pooling, of a type that does not tell its parts.
template <otpool::Regularizer R, otpool::BagScalar Scalar, class Reward, class Solver, class Readout, class Dummy>
AnySlotPooling<Scalar, R> any_slot_pooling(const otpool::SlotPooling<Scalar, Reward, Solver, Readout, Dummy>& known) {
    return {.reward = {known.reward},
            .parameters = known.parameters,
            .solver = AnySolver::of(known.solver),
            .readout = {known.readout},
            .dummy = {known.dummy}};
}

}  // namespace pool
