// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "otpool/closed_form/quadratic.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/slots/slot_pooling.hpp"
#include "otpool/solver/active_set.hpp"
#include "otpool/solver/closed_form.hpp"
#include "otpool/solver/sinkhorn.hpp"

// Poolings to slots of the literature: SlotPooling with particular parameters.

namespace otpool {

/// OTKE (Mialon et al., "A Trainable Optimal Transport Embedding for Feature Aggregation", ICLR 2021): rewards <w_k, x_n>,
/// both marginals hard and uniform, a fixed number of Sinkhorn steps that end on the slots, y_k = K sum_n P_kn x_n. Their
/// instances and prototypes are unit vectors; make them so before. Masked instances are those of prior 0.
template <BagScalar Scalar>
auto otke_pooling(Matrix<Scalar> prototypes, Scalar alpha0 = Scalar(0.1), int iterations = 10) {
    const auto slots = static_cast<double>(prototypes.cols());
    return SlotPooling<Scalar, DotProduct<Scalar>, Sinkhorn, JointSlots>{
        .reward = {std::move(prototypes)},
        .parameters = {.alpha0 = alpha0, .features = {.alpha = hard}, .instances = {.alpha = hard}},
        .solver = {.options = {.iterations = iterations}, .translation = false, .first = HalfStep::instances},
        .readout = {.scale = slots}};
}

/// The aggregation of SALAD (Izquierdo & Civera, CVPR 2024): the bag's reward are its scores (K x N), and a dustbin of
/// this reward takes what no slot draws. 3 Sinkhorn steps that end on the instances; y_k = N sum_n P_kn v_n. (They then
/// normalise every y_k: see Salad for the whole.)
///
/// The reward of the dustbin has no effect but for rounding, here as in their program: it is the same for all instances, and
/// the half step of the hard slots, which comes first, takes it away again.
template <BagScalar Scalar, class Reward = GivenReward, class Values = InstancesAsValues>
auto salad_pooling(Scalar dustbin, Reward reward = {}, int iterations = 3, Values values = {}) {
    return SlotPooling<Scalar, Reward, Sinkhorn, JointSlots, Dustbin, Entropy, Values>{
        .reward = std::move(reward),
        .parameters = {.alpha0 = 1, .features = {.alpha = hard}, .instances = {.alpha = hard}},
        .solver = {.options = {.iterations = iterations}, .translation = false},
        .readout = {.times_instances = true},
        .dummy = {static_cast<double>(dustbin)},
        .values = std::move(values)};
}

/// The pooling of OTSurv (Ren et al., MICCAI 2025): rewards -||w_k - x_n|| over the largest one, soft slots (alpha 1)
/// that get about the mass rho in all, a hard dummy slot, hard instances, alpha0 = 0.1; y_k = sum_n P_kn x_n / rho.
/// Solved to the solver's tolerance, where their Sinkhorn may stop before.
template <BagScalar Scalar, class Solver = Sinkhorn>
auto otsurv_pooling(Matrix<Scalar> prototypes, Scalar rho, Solver solver = {}) {
    return SlotPooling<Scalar, RelativeDistance<Scalar>, Solver, JointSlots, PartialSlots>{
        .reward = {std::move(prototypes), 1},
        .parameters = {.alpha0 = Scalar(0.1), .features = {.alpha = 1}, .instances = {.alpha = hard}},
        .solver = solver,
        .readout = {.scale = 1 / static_cast<double>(rho)},
        .dummy = {.m = static_cast<double>(rho)}};
}

/// The co-attention of MOTCat (Xu & Chen, arXiv 2306.08330): rewards -||w_k - x_n||^2 over the largest one, alpha0 = 0.1,
/// both marginals soft and uniform with alpha 0.5; y_k = sum_n P_kn x_n. Solved to the solver's tolerance.
template <BagScalar Scalar, class Solver = Sinkhorn>
auto motcat_pooling(Matrix<Scalar> prototypes, Solver solver = {}) {
    return SlotPooling<Scalar, RelativeDistance<Scalar>, Solver, JointSlots>{
        .reward = {std::move(prototypes), 2},
        .parameters = {.alpha0 = Scalar(0.1), .features = {.alpha = Scalar(0.5)}, .instances = {.alpha = Scalar(0.5)}},
        .solver = solver};
}

/// NetVLAD (Arandjelovic et al., CVPR 2016): an instance is shared by softmax_k(s_kn), and y_k = sum_n share_kn (x_n -
/// c_k). Free slots and hard instances at alpha0 = 1. Reward: DotProduct (their convolution), or SquaredDistance for
/// softmax(-a ||x - c||^2) with alpha0 = 1/a.
template <BagScalar Scalar, class Reward>
auto netvlad_pooling(Reward reward, const Matrix<Scalar>& centres, Scalar alpha0 = 1) {
    return SlotPooling<Scalar, Reward, ClosedForm, ResidualSlots<JointSlots>>{
        .reward = std::move(reward),
        .parameters = {.alpha0 = alpha0, .features = {.alpha = 0}, .instances = {.alpha = hard}},
        .readout = {.centres = centres.template cast<Real>(), .readout = {.times_instances = true}}};
}

/// The attention step of slot attention (Locatello et al., NeurIPS 2020): an instance is shared by softmax_k(s_kn), and
/// y_k is the mean of the instances with these weights. Free slots and hard instances at alpha0 = 1.
template <BagScalar Scalar, class Reward = GivenReward>
auto slot_attention_pooling(Reward reward = {}, Scalar alpha0 = 1) {
    return SlotPooling<Scalar, Reward, ClosedForm>{
        .reward = std::move(reward),
        .parameters = {.alpha0 = alpha0, .features = {.alpha = 0}, .instances = {.alpha = hard}}};
}

/// The linear optimal transport embedding (Wang et al., IJCV 2013; WEGL: Kolouri et al., ICLR 2021): where exact
/// transport, with rewards -||w_k - x_n||^2 and hard, uniform marginals, moves each point of the template, less that
/// point.
template <BagScalar Scalar>
auto lot_embedding(Matrix<Scalar> reference) {
    RealMatrix centres = reference.template cast<Real>();
    return SlotPooling<Scalar, SquaredDistance<Scalar>, ActiveSet, ResidualSlots<ConditionalSlots>>{
        .reward = {std::move(reference)},
        .parameters = {.alpha0 = 0, .features = {.alpha = hard}, .instances = {.alpha = hard}},
        .readout = {.centres = std::move(centres)}};
}

/// Top-k pooling: a slot draws on the m instances of the largest rewards, with weights that are the projection of their
/// rewards over 2 alpha0 onto the simplex; y_k is the mean of the instances with these weights. m = 1 is the instance of the
/// largest reward, a large alpha0 the plain mean of the m, m = N sparsemax (Martins & Astudillo, ICML 2016). TopK with
/// hard slots and free instances. Give it other parameters for soft slots; others than free instances are refused.
template <BagScalar Scalar, class Reward = GivenReward>
auto top_k_pooling(Index m, Reward reward = {}, Scalar alpha0 = 1) {
    return SlotPooling<Scalar, Reward, ClosedForm, ConditionalSlots, NoDummySlot, TopK>{
        .reward = std::move(reward),
        .parameters = {.alpha0 = alpha0, .features = {.alpha = hard}, .instances = {.alpha = 0}},
        .regularizer = {m}};
}

/// The embedding by sliced optimal transport (PSWE: Naderializadeh et al., NeurIPS 2021) of as many instances as the
/// reference has points. For the slices <w_l, x_n> of the instances (D x N; directions W, D x L) and a sorted reference
/// z_l1 <= ... <= z_lN (L x N), entry (l, k) of the result (L x N) is z_lk less where exact transport moves it: minus
/// lot_embedding() of every slice. In one dimension that is the k-th smallest <w_l, x_n>, so that it takes a sort.
///
/// Their program takes more: N other than the number of points, for which it interpolates the sorted slices, and references
/// that are not sorted, which it reorders by argsort where transport takes the inverse. Neither is transport (results differ
/// by 0.05 to 0.7 of slices of unit spread), and both are refused here. They weight every row afterwards. Throws
/// InvalidArgument. Cost: D L N multiplications and L sorts.
template <BagScalar Scalar>
Matrix<Scalar> sliced_embedding(const MatrixView<Scalar>& instances, const Matrix<Scalar>& directions,
                                const Matrix<Scalar>& reference) {
    using detail::require_that;
    using detail::text;
    detail::require_prototypes(directions, instances.rows());
    require_that(reference.rows() == directions.cols(), "rows of the reference", reference.rows(),
                 text(directions.cols(), ", the number of directions"));
    require_that(
        reference.cols() == instances.cols(), "number of reference points", reference.cols(),
        text(instances.cols(), ", the number of instances (PSWE interpolates others, which is not transport)"));
    require_that(instances.all_finite(), "an instance", "not finite", "finite numbers");
    Matrix<Scalar> slices = directions.transpose() * instances.matrix();
    for (Index l = 0; l < slices.rows(); ++l) {
        for (Index k = 0; k < slices.cols(); ++k) {
            const Scalar before = k > 0 ? reference(l, k - 1) : std::numeric_limits<Scalar>::lowest();
            require_that(reference(l, k) >= before, text("reference(", l, ", ", k, ")"), reference(l, k),
                         text("at least ", before, ", the point before it (of others PSWE is not transport)"));
        }
        std::sort(slices.row(l).begin(), slices.row(l).end());
    }
    return reference - slices;
}

/// The two weights of soft_moe(), K x N.
template <BagScalar Scalar>
struct SoftMoe {
    Matrix<Scalar> dispatch;  ///< softmax_n(s_kn): row k has the part of every instance in the input of slot k.
    Matrix<Scalar> combine;   ///< softmax_k(s_kn): column n has the part of every slot in the output of instance n.
};

/// Soft mixture of experts (Puigcerver et al., "From Sparse to Soft Mixtures of Experts", ICLR 2024, eq. 1 to 3): of
/// scores S, K x N, the plans with free instances and with free slots, both at alpha0 = 1. Slots get X dispatch^T (D x
/// K); with their experts' outputs E (D' x K), instances get E combine (D' x N). Their scores are <w_k, x_n> of
/// prototypes and instances that are normalised before. Throws InvalidArgument.
template <BagScalar Scalar>
SoftMoe<Scalar> soft_moe(const MatrixView<Scalar>& scores) {
    const auto plan = [&](Scalar slots, Scalar instances) -> Matrix<Scalar> {
        return ClosedForm()
            .solve(UotProblem<Scalar>{
                .reward = scores, .alpha0 = 1, .features = {.alpha = slots}, .instances = {.alpha = instances}})
            .plan();
    };
    return {static_cast<Scalar>(scores.rows()) * plan(hard, 0), static_cast<Scalar>(scores.cols()) * plan(0, hard)};
}

/// Shares of N instances in K slots, K x N, from scores: columns sum to 1 and rows to N/K, up to the number of steps. SwAV
/// (Caron et al., NeurIPS 2020), and SIGMA, which uses the same function. Throws InvalidArgument.
template <BagScalar Scalar>
Matrix<Scalar> sinkhorn_assignment(const MatrixView<Scalar>& scores, Scalar alpha0 = Scalar(0.05), int iterations = 3) {
    const UotProblem<Scalar> problem{
        .reward = scores, .alpha0 = alpha0, .features = {.alpha = hard}, .instances = {.alpha = hard}};
    const Sinkhorn solver{.options = {.iterations = iterations}, .translation = false};
    const detail::LogPlan plan = solver.log_plan(problem);
    Matrix<Scalar> shares(scores.rows(), scores.cols());
    const Real log_cols = std::log(static_cast<Real>(scores.cols()));
    plan.for_each_log_column([&](Index, Index n, const RealVector& log_column) {
        shares.col(n) = (log_column.array() + log_cols).template cast<Scalar>();
    });
    detail::exp_or_zero(shares.data(), shares.size(), shares.data());
    return shares;
}

}  // namespace otpool
