// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <array>

#include "otpool/core/buffer.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/exponential.hpp"
#include "otpool/core/logarithm.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/core/packet.hpp"
#include "otpool/core/workspace.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/solver/exponential_range.hpp"
#include "otpool/solver/first_pass.hpp"
#include "otpool/solver/kernel_pass.hpp"
#include "otpool/solver/scaled_problem.hpp"

namespace otpool::detail {

/// A half step in scalings, exp(half step of potentials):  u_i = a_i s_i^-damping, given the sums s over the other side, where
/// log a_i = damping log_prior_i + (1 - damping) (anchor_i - F_i), F the potentials that the kernel has absorbed.
template <BagScalar Scalar>
class ScalingHalfStep {
public:
    /// Views both; the potentials are in units of log 2.
    void set(const ScaledMarginal& side, const Buffer<Scalar>& absorbed) {
        side_ = &side;
        absorbed_ = &absorbed;
        for (Buffer<Scalar>* one_each : {&log_factor_, &log_sum_, &log_scaling_}) one_each->resize(absorbed.size());
        follow_absorbed(0, side.log_prior.size());
    }

    /// After potentials of i in [first, first + count) have been absorbed.
    void follow_absorbed(Index first, Index count) {
        const Real* log_prior = side_->log_prior.data() + first;
        const Real* anchor = side_->anchor.data() + first;
        const Scalar* F = absorbed_->data() + first;
        Scalar* log_factor = log_factor_.data() + first;
        for (Index i = 0; i < count; ++i) {
            const Real log_a = side_->damping * log_prior[i] + side_->relaxation * anchor[i];
            log_factor[i] = static_cast<Scalar>(log_a * log2_e - side_->relaxation * static_cast<Real>(F[i]));
        }
    }

    /// scaling_i <- a_i s_i^-damping of i in [first, first + count), of which both arrays have `count` entries. Whether it is in
    /// range.
    bool operator()(Index first, Index count, const Scalar* sum, Scalar* scaling) {
        const auto damping = static_cast<Scalar>(side_->damping * log2_e);
        Lanes lowest = Lanes::Zero();
        Lanes highest = Lanes::Zero();
        const auto scale_lanes = [&](const Scalar* sums, const Scalar* factors, Scalar* log_sums, Scalar* log_scalings,
                                     Scalar* scalings) {
            const Lanes log_sum = log_of_normal(LanesAt(sums));
            const Lanes log_scaling = LanesAt(factors) - damping * log_sum;
            lowest = lowest.min(log_scaling);
            highest = highest.max(log_scaling);
            Eigen::Map<Lanes>(log_sums, register_lanes) = log_sum;
            Eigen::Map<Lanes>(log_scalings, register_lanes) = log_scaling;
            Eigen::Map<Lanes>(scalings, register_lanes) = bounded_exp2(log_scaling);
        };
        const Scalar* factors = log_factor_.data() + first;
        Scalar* log_sums = log_sum_.data() + first;
        Scalar* log_scalings = log_scaling_.data() + first;
        Index i = 0;
        for (; i + register_lanes <= count; i += register_lanes) {
            scale_lanes(sum + i, factors + i, log_sums + i, log_scalings + i, scaling + i);
        }
        if (const Index rest = count - i; rest > 0) {
            std::array<Lanes, 5> lanes = {Lanes::Ones(), Lanes::Zero()};
            std::copy_n(sum + i, rest, lanes[0].data());
            std::copy_n(factors + i, rest, lanes[1].data());
            scale_lanes(lanes[0].data(), lanes[1].data(), lanes[2].data(), lanes[3].data(), lanes[4].data());
            std::copy_n(lanes[2].data(), rest, log_sums + i);
            std::copy_n(lanes[3].data(), rest, log_scalings + i);
            std::copy_n(lanes[4].data(), rest, scaling + i);
        }
        return lowest.minCoeff() >= smallest_log_scaling && highest.maxCoeff() <= largest_log_scaling;
    }

    /// to_i <- log s_i - F_i, of the last sums.
    void log_sums(Index first, Index count, Real* to) const {
        for (Index i = first; i < first + count; ++i) {
            to[i] = static_cast<Real>(log_sum_[i]) - static_cast<Real>((*absorbed_)[i]) * log_2;
        }
    }

    /// In units of log 2.
    const Buffer<Scalar>& log_scaling() const { return log_scaling_; }

private:
    using Range = ExponentialRange<Scalar>;
    using Lanes = Eigen::Array<Scalar, register_lanes, 1>;
    using LanesAt = Eigen::Map<const Lanes>;

    static constexpr auto largest_log_scaling = static_cast<Scalar>(Range::largest_log_scaling * log2_e);
    /// Of what is scaled down further than ExponentialRange has it nothing is lost: the sums of it have been in range.
    static constexpr auto smallest_log_scaling = static_cast<Scalar>(3 * Range::smallest_log_scaling * log2_e);

    const ScaledMarginal* side_ = nullptr;
    const Buffer<Scalar>* absorbed_ = nullptr;
    Buffer<Scalar> log_factor_, log_sum_, log_scaling_;  ///< All but the sums in units of log 2.
};

/// The log sums of every step of scaling, a column each.
struct LogSums {
    /// LSE_k(z_dk + col_potential_k), which the step starts from; and of what the last one ends with.
    RealMatrix of_rows;
    RealMatrix of_cols;  ///< LSE_d(z_dk + row_potential_d)

    void resize(Index rows, Index cols, Index steps) {
        of_rows.resize(rows, steps + 1);
        of_cols.resize(cols, steps);
    }
};

/// Steps of scaling from the priors, of which nothing is wanted but what the last one pools, without potentials:
///
///     u <- a (M v)^-k1,   v <- b (M^T u)^-k2,     M_dk = exp(z_dk + G_k)
///
/// as in Chizat, Peyre, Schmitzer & Vialard, "Scaling Algorithms for Unbalanced Optimal Transport Problems" (arXiv 1607.05816),
/// Algorithm 1; a and b are ScalingHalfStep's, and G, which the kernel absorbs, makes up for instances whose rewards are all
/// low. Where the scalar's range is not enough for M, its sums and scalings nothing is returned, and Scaling must do.
template <BagScalar Scalar>
class ScalingSteps {
public:
    /// mean <- the conditional mean of the values after so many steps. Whether the range sufficed: otherwise mean is as it was.
    /// Rewards that have not been looked at may be any numbers, and have been after it. Keeps log sums, if it is given memory of
    /// their size. Cost: one exp an element and steps + 1 passes, over kept exponentials or with as many exps (KernelBlocks).
    bool pool(ScaledProblem<Scalar>& problem, int steps, const MatrixView<Scalar>& values, const Execution& execution,
              RealVector& mean, LogSums* kept = nullptr) {
        ScaledReward<Scalar>& kernel = problem.kernel;
        pass_.set(kernel, execution, ExponentialRange<Scalar>::largest_potential);
        KernelBlocks<Scalar>& blocks = pass_.blocks;
        features_.set(problem.features, blocks.row_potential());
        instances_.set(problem.instances, blocks.col_potential());
        const Index rows = kernel.rows();
        row_sums_.resize(rows);
        const Real* anchor = problem.instances.anchor.data();
        if (!set_scaling(anchor, blocks.col_potential().data(), kernel.cols(), pass_.v.data())) return false;
        if (!pass_([](const Block&) { return true; }, nullptr)) return false;
        if (!kernel.looked_at()) kernel.highest = pass_.highest();
        for (int step = 0; step < steps; ++step) {
            std::copy_n(pass_.row_mass().data(), rows, row_sums_.data());
            if (!features_(0, rows, row_sums_.data(), pass_.u.data())) return false;
            if (kept != nullptr) features_.log_sums(0, rows, kept->of_rows.col(step).data());
            const auto update = [&](Block& block) { return update_instances(block); };
            if (!pass_(update, step + 1 == steps ? &values : nullptr)) return false;
            if (kept != nullptr) instances_.log_sums(0, kernel.cols(), kept->of_cols.col(step).data());
        }
        if (!pass_.pooled_finite()) return false;
        if (kept != nullptr) kept->of_rows.col(steps) = pass_.row_mass().array().log();
        pass_.conditional_mean(mean);
        return true;
    }

private:
    using Block = typename KernelPass<Scalar>::Block;

    /// v of a block. Whether it is in range.
    bool update_instances(Block& block) {
        const auto in_range = [&] {
            Scalar* sums = nullptr;
            return pass_.sum_over_rows(block, sums) &&
                   instances_(block.first, block.count, sums, pass_.v.data() + block.first);
        };
        if (in_range()) return true;
        pass_.blocks.absorb_highest(block, features_.log_scaling());
        instances_.follow_absorbed(block.first, block.count);
        return in_range();
    }

    KernelPass<Scalar> pass_;
    ScalingHalfStep<Scalar> features_, instances_;
    Buffer<Scalar> row_sums_;
};

/// mean <- the conditional mean of the values after so many of Sinkhorn's steps from the priors, and `scaled` is the problem as
/// they saw it; whether scalings resolve them. Keeps log sums, if it is given them. Throws InvalidArgument as validate() does,
/// but of rewards that are not finite may say instead that they are not resolved.
template <BagScalar Scalar, EntropicRegularizer R>
bool pool_by_scalings(const UotProblem<Scalar, R>& problem, int steps, const Execution& execution, Workspace& workspace,
                      ScaledProblem<Scalar>& scaled, RealVector& mean, LogSums* kept = nullptr) {
    auto& pass = workspace.get<FirstPass<Scalar>>();
    pass.glance(problem, execution);
    scaled.set(problem, pass);
    if (kept != nullptr) kept->resize(scaled.kernel.rows(), scaled.kernel.cols(), steps);
    return workspace.get<ScalingSteps<Scalar>>().pool(scaled, steps, problem.pooled_values(), execution, mean, kept);
}

}  // namespace otpool::detail
