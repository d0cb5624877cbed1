// Copyright (c) 2026 the otpool authors. MIT licence.
#include "module.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <otpool/slots/named_slot_poolings.hpp>

#include "any_solver.hpp"
#include "arrays.hpp"
#include "assignments.hpp"
#include "batches.hpp"
#include "pool/any_slots.hpp"
#include "settings.hpp"

namespace otpool_python {

namespace {

/// A pooling to slots whose parts are chosen at run time.
template <BagScalar Scalar, otpool::Regularizer R = otpool::Entropy>
using AnySlots = otpool::SlotPooling<Scalar, pool::AnyReward<Scalar>, AnySolver, pool::AnyReadout, pool::AnyDummy, R>;

AnySolver any_solver(const AnySolver& solver) { return solver; }
AnySolver any_solver(const otpool::Sinkhorn& solver) {
    return {.options = solver.options,
            .name = SolverName::sinkhorn,
            .translation = solver.translation,
            .memory = solver.acceleration.memory,
            .instances_first = solver.first == otpool::HalfStep::instances};
}
AnySolver any_solver(const otpool::ClosedForm& solver) {
    return {.options = solver.options, .name = SolverName::closed_form};
}
AnySolver any_solver(const otpool::ActiveSet& solver) {
    return {.options = solver.options, .name = SolverName::active_set};
}

/// A reward of this name from prototypes. Without prototypes, bags must have their own.
template <BagScalar Scalar>
pool::AnyReward<Scalar> reward_of(const std::string& name, const MatrixView<Scalar>& prototypes) {
    const Matrix<Scalar> W = prototypes.matrix();
    if (name == "dot") return {otpool::DotProduct<Scalar>{W}};
    if (name == "reldist") return {otpool::RelativeDistance<Scalar>{W, 1}};
    if (name == "relsqdist") return {otpool::RelativeDistance<Scalar>{W, 2}};
    return {otpool::SquaredDistance<Scalar>{W}};
}
template <BagScalar Scalar>
pool::AnyReward<Scalar> any_reward(const pool::AnyReward<Scalar>& reward) {
    return reward;
}
template <BagScalar Scalar>
pool::AnyReward<Scalar> any_reward(const otpool::GivenReward& /*reward*/) {
    return {};
}
template <BagScalar Scalar, class Reward>
pool::AnyReward<Scalar> any_reward(const Reward& reward) {
    return {reward};
}

/// The same pooling, of a type that does not tell its parts.
template <BagScalar Scalar, class Reward, class Solver, class Readout, class Dummy, class R>
AnySlots<Scalar, R> any_slots(const otpool::SlotPooling<Scalar, Reward, Solver, Readout, Dummy, R>& known) {
    return {.reward = any_reward<Scalar>(known.reward),
            .parameters = known.parameters,
            .solver = any_solver(known.solver),
            .readout = {known.readout},
            .dummy = {known.dummy},
            .regularizer = known.regularizer};
}

/// The pooled slots of a batch, (B, K, D), and the plans of all bags, (sum N, K), if asked for.
template <BagScalar Scalar, otpool::Regularizer R>
nb::object pooled_slots(AnySlots<Scalar, R> pooling, const Batch<Scalar>& batch, bool wants_plan) {
    const otpool::Bags<Scalar>& bags = batch.bags;
    const Index slots = bags.reward().empty() ? pooling.reward.slots() : bags.reward().rows();
    const auto shape = {bags.size(), slots, bags.features()};
    if (!wants_plan) return array_of(batch.pooled_by(std::move(pooling)), shape);
    pooling.execution = {};  // bags run side by side
    Matrix<Scalar> plan = Matrix<Scalar>::Zero(slots, bags.total_size());
    Matrix<Scalar> pooled = without_gil([&] {
        return otpool::detail::pool_batch<Scalar>(
            slots * bags.features(), bags, batch.empty_bag, batch.execution, [&](const auto& task) {
                const auto solution = pooling.solve(task.bag);
                const Matrix<Scalar> of_bag = pooling.read(solution, task.bag);
                otpool::PooledVector<Scalar>(task.pooled) = of_bag.reshaped();
                plan.middleCols(bags.first_instance(task.number), task.bag.instances.cols()) =
                    solution.plan().topRows(slots);
            });
    });
    return nb::make_tuple(array_of(std::move(pooled), shape), array_of(std::move(plan)));
}

/// The systems of the literature, by name; `number` is what each takes besides prototypes.
template <BagScalar Scalar>
nb::object slots_by_name(const std::string& name, const std::string& cost, double number, double alpha0, int iterations,
                         const std::optional<Rows<Scalar>>& prototypes, const Rows<Scalar>& x, const Pointers& ptr,
                         const std::optional<Rows<Scalar>>& reward, nb::handle options, bool plan) {
    const Batch<Scalar> batch(x, ptr, reward, options);
    const MatrixView<Scalar> view = view_of(prototypes);
    const Matrix<Scalar> W = view.matrix();
    const auto of = scalar_of<Scalar>(alpha0, "alpha0");
    const auto by = [&](const auto& pooling) { return pooled_slots(any_slots(pooling), batch, plan); };
    if (name == "otke") return by(otpool::otke_pooling<Scalar>(W, of, iterations));
    if (name == "salad") {
        return by(otpool::salad_pooling(scalar_of<Scalar>(number, "dustbin"), reward_of(cost, view), iterations));
    }
    if (name == "otsurv") return by(otpool::otsurv_pooling<Scalar>(W, scalar_of<Scalar>(number, "rho"), AnySolver()));
    if (name == "motcat") return by(otpool::motcat_pooling<Scalar>(W, AnySolver()));
    if (name == "netvlad") return by(otpool::netvlad_pooling<Scalar>(reward_of(cost, view), W, of));
    if (name == "lot") return by(otpool::lot_embedding<Scalar>(W));
    return by(otpool::slot_attention_pooling<Scalar>(reward_of(cost, view), of));
}

/// The readout that has this name; the joint one is K sum_n P_kn x_n.
template <BagScalar Scalar>
pool::AnyReadout readout_of(const std::string& name, const MatrixView<Scalar>& prototypes, Index slots) {
    const otpool::JointSlots joint{.scale = static_cast<double>(slots)};
    if (name == "joint") return {joint};
    const otpool::RealMatrix centres = prototypes.matrix().template cast<double>();
    if (name == "residual") return {otpool::ResidualSlots<otpool::ConditionalSlots>{centres}};
    if (name == "joint_residual") return {otpool::ResidualSlots<otpool::JointSlots>{centres, joint}};
    return {otpool::ConditionalSlots{}};
}

pool::AnyDummy dummy_of(std::optional<double> partial, std::optional<double> dustbin) {
    if (partial) return {otpool::PartialSlots{.m = *partial}};
    if (dustbin) return {otpool::Dustbin{.reward = *dustbin}};
    return {};
}

/// Any UOT pooling to slots. float is for entropic regularisers only, as in AnySolver.
template <BagScalar Scalar>
nb::object slots_by_transport(nb::handle parameters, nb::handle regularizer, nb::handle solver, const std::string& cost,
                              const std::string& readout, std::optional<double> partial, std::optional<double> dustbin,
                              const std::optional<Rows<Scalar>>& prototypes, const Rows<Scalar>& x, const Pointers& ptr,
                              const std::optional<Rows<Scalar>>& reward, nb::handle options, bool plan) {
    const auto of = parameters_of<Scalar>(parameters);
    const AnySolver chosen = solver_of(solver);
    const Batch<Scalar> batch(x, ptr, reward, options, !of.instances.has_masses);
    const MatrixView<Scalar> W = view_of(prototypes);
    const Index slots = reward ? batch.bags.reward().rows() : W.cols();
    return with_regularizer(regularizer, [&]<class R>(const R& given) -> nb::object {
        if constexpr (otpool::EntropicRegularizer<R> || std::same_as<Scalar, double>) {
            return pooled_slots(AnySlots<Scalar, R>{.reward = reward_of(cost, W),
                                                    .parameters = of,
                                                    .solver = chosen,
                                                    .readout = readout_of(readout, W, slots),
                                                    .dummy = dummy_of(partial, dustbin),
                                                    .regularizer = given},
                                batch, plan);
        } else {
            throw otpool::UnsupportedProblem("slot_pooling()", "float32 and this regularizer", "float64");
        }
    });
}

// Functions of one bag, in double. Scores are (N, K).

nb::object top_k(Index most, double alpha0, const Rows<double>& x, const Pointers& ptr, const Rows<double>& reward,
                 nb::handle options, bool plan) {
    const Batch<double> batch(x, ptr, reward, options);
    return pooled_slots(any_slots(otpool::top_k_pooling<double>(most, otpool::GivenReward(), alpha0)), batch, plan);
}

nb::object moe(const Rows<double>& scores) {
    otpool::SoftMoe<double> found = without_gil([&] { return soft_moe(view_of(scores)); });
    return nb::make_tuple(array_of(std::move(found.dispatch)), array_of(std::move(found.combine)));
}

nb::object swav(const Rows<double>& scores, double alpha0, int iterations) {
    return array_of(without_gil([&] { return sinkhorn_assignment(view_of(scores), alpha0, iterations); }));
}

nb::object plasma(const Rows<double>& query, const Rows<double>& candidate, double alpha0, int iterations,
                  double threshold, Index diagonal) {
    const otpool::PlasmaOptions<double> options{alpha0, iterations, threshold, diagonal};
    auto found = without_gil([&] { return plasma_alignment(view_of(query), view_of(candidate), options); });
    return nb::make_tuple(array_of(std::move(found.plan)), found.score);
}

nb::object ppot(const Rows<double>& log_probabilities, double rho, double alpha0) {
    return array_of(without_gil([&] { return ppot_assignment(view_of(log_probabilities), rho, alpha0); }));
}

nb::object sliced_embedding(const Rows<double>& x, const Rows<double>& directions, const Rows<double>& reference) {
    return array_of(without_gil([&] {
        return otpool::sliced_embedding<double>(view_of(x), view_of(directions).matrix(), view_of(reference).matrix());
    }));
}

template <BagScalar Scalar>
void bind(nb::module_& module) {
    const auto prototypes = nb::arg("prototypes").noconvert().none();
    const auto x = nb::arg("x").noconvert();
    const auto reward = nb::arg("reward").noconvert().none();
    module.def("slots_by_name", slots_by_name<Scalar>, nb::arg("name"), nb::arg("cost"), nb::arg("number"),
               nb::arg("alpha0"), nb::arg("iterations"), prototypes, x, nb::arg("ptr"), reward, nb::arg("options"),
               nb::arg("plan"));
    module.def("slots_by_transport", slots_by_transport<Scalar>, nb::arg("parameters"), nb::arg("regularizer"),
               nb::arg("solver"), nb::arg("cost"), nb::arg("readout"), nb::arg("partial").none(),
               nb::arg("dustbin").none(), prototypes, x, nb::arg("ptr"), reward, nb::arg("options"), nb::arg("plan"));
}

}  // namespace

void bind_slots(nb::module_& module) {
    bind<float>(module);
    bind<double>(module);
    module.def("top_k", top_k, nb::arg("most"), nb::arg("alpha0"), nb::arg("x").noconvert(), nb::arg("ptr"),
               nb::arg("reward").noconvert(), nb::arg("options"), nb::arg("plan"));
    module.def("soft_moe", moe, nb::arg("scores").noconvert());
    module.def("sinkhorn_assignment", swav, nb::arg("scores").noconvert(), nb::arg("alpha0"), nb::arg("iterations"));
    module.def("plasma_alignment", plasma, nb::arg("query").noconvert(), nb::arg("candidate").noconvert(),
               nb::arg("alpha0"), nb::arg("iterations"), nb::arg("threshold"), nb::arg("diagonal"));
    module.def("ppot_assignment", ppot, nb::arg("log_probabilities").noconvert(), nb::arg("rho"), nb::arg("alpha0"));
    module.def("sliced_embedding", sliced_embedding, nb::arg("x").noconvert(), nb::arg("directions").noconvert(),
               nb::arg("reference").noconvert());
}

}  // namespace otpool_python
