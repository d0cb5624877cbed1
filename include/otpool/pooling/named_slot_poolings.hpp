// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <utility>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/pooling/slot_pooling.hpp"
#include "otpool/simd/arrays.hpp"
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
/// this reward takes what no slot draws. 3 Sinkhorn steps that end on the instances; y_k = N sum_n P_kn x_n. (They then
/// normalise every y_k.)
template <BagScalar Scalar, class Reward = GivenReward>
auto salad_pooling(Scalar dustbin, Reward reward = {}, int iterations = 3) {
    return SlotPooling<Scalar, Reward, Sinkhorn, JointSlots, Dustbin>{
        .reward = std::move(reward),
        .parameters = {.alpha0 = 1, .features = {.alpha = hard}, .instances = {.alpha = hard}},
        .solver = {.options = {.iterations = iterations}, .translation = false},
        .readout = {.times_instances = true},
        .dummy = {static_cast<double>(dustbin)}};
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

/// Shares of N instances in K slots, K x N, from scores: columns sum to 1 and rows to N/K, up to the number of steps. SwAV
/// (Caron et al., NeurIPS 2020), and SIGMA, which uses the same function. Throws InvalidArgument.
template <BagScalar Scalar>
Matrix<Scalar> sinkhorn_assignment(const MatrixView<Scalar>& scores, Scalar alpha0 = Scalar(0.05), int iterations = 3) {
    const UotProblem<Scalar> problem{
        .reward = scores, .alpha0 = alpha0, .features = {.alpha = hard}, .instances = {.alpha = hard}};
    const Sinkhorn solver{.options = {.iterations = iterations}, .translation = false};
    const detail::LogPlan plan = solver.log_plan(problem);
    Matrix<Scalar> shares(scores.rows(), scores.cols());
    RealVector share(scores.rows());
    plan.for_each_log_column([&](Index, Index n, const RealVector& log_column) {
        share = log_column.array() + std::log(static_cast<Real>(scores.cols()));
        detail::exp_or_zero(share.data(), share.size(), share.data());
        shares.col(n) = share.template cast<Scalar>();
    });
    return shares;
}

}  // namespace otpool
