// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <functional>
#include <limits>
#include <span>
#include <utility>

#include "otpool/core/buffer.hpp"
#include "otpool/core/error.hpp"
#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_reward.hpp"
#include "otpool/plan/exponential_solution.hpp"
#include "otpool/problem/alphas.hpp"
#include "otpool/problem/balancing_shift.hpp"
#include "otpool/problem/line_masses.hpp"
#include "otpool/problem/side.hpp"
#include "otpool/simd/arrays.hpp"
#include "otpool/solver/steps/translation.hpp"
#include "otpool/streamed/any_columns.hpp"
#include "otpool/streamed/column_blocks.hpp"
#include "otpool/streamed/passes/rank_messages.hpp"
#include "otpool/streamed/passes/streamed_kernel.hpp"
#include "otpool/streamed/passes/streamed_passes.hpp"
#include "otpool/streamed/stream_options.hpp"

namespace otpool::detail {

/// A well-formed entropic problem of a streamed bag, with KullbackLeibler and one alpha for each side.
struct StreamedProblem {
    Real alpha0 = 0;
    Real alpha1 = 0, alpha2 = 0;
    Real prior_weight = 0;   ///< As in EntropicRegularizer.
    RealVector log_p;        ///< Logarithms of the features' prior.
    Buffer<Real> log_q;      ///< Of the instances' prior, -inf for excluded ones; empty if uniform.
    Real uniform_log_q = 0;  ///< Of every instance, if it is empty.
};

/// The state of scaling iterations over a streamed bag: the features' kernel potentials and the sums of the last pass. It
/// has the functions that sinkhorn_steps() calls. Instance potentials are computed from each column anew, in every pass.
/// The plan is that of ScaledProblem, whose comment says what is taken off the rewards.
template <std::same_as<Real> Work = Real>
class StreamedScaling {
public:
    /// Views all of them. `blocks` and `messages` as in StreamedPasses. `vectors`: of how many numbers per feature the
    /// caller takes memory.
    StreamedScaling(const AnyColumns& columns, const ColumnBlocks& blocks, RankMessages* messages,
                    StreamedProblem&& problem, const StreamOptions& options, const Execution& execution, Index vectors)
        : alpha0_(problem.alpha0),
          log_p_(std::move(problem.log_p)),
          passes_(columns, blocks, messages, options, execution, state_bytes(columns, problem, vectors)) {
        kernel_.source = &columns;
        kernel_.inverse_alpha0 = (std::min)(1 / alpha0_, (std::numeric_limits<Real>::max)());
        kernel_.prior_weight = problem.prior_weight;
        kernel_.shifts_rows = problem.alpha1 > 0 || problem.alpha2 == 0;
        kernel_.instances.set(Alphas(problem.alpha2), alpha0_);
        kernel_.log_prior = std::move(problem.log_q);
        kernel_.uniform_log_prior = problem.uniform_log_q;
        features_.set(Alphas(problem.alpha1), alpha0_);
    }
    StreamedScaling(const StreamedScaling&) = delete;
    StreamedScaling& operator=(const StreamedScaling&) = delete;

    /// Checks all entries, and starts from g = 0. Throws InvalidArgument. Cost: a pass.
    void start() {
        set_sums(passes_(kernel_.inverse_alpha0,
                         [&](const auto& block, auto& columns, auto& sums) { kernel_.look(block, columns, sums); }));
        kernel_.forbids_pairs = sums().forbids_pairs;
        for (Index d = 0; d < rows() && kernel_.forbids_pairs; ++d) {
            require_that(sums().highest[d] > Sums::no_reward, text("reward of feature ", d),
                         "-inf at all instances of prior > 0", "at least one finite reward");
        }
        kernel_.row_shift = sums().highest;
        kernel_.reference = sums().reference;
        kernel_.offset = highest(kernel_.row_shift.data(), rows());
        features_.log_prior = log_p_;
        features_.anchor.resize(rows());
        for (Index d = 0; d < rows(); ++d) {
            const Real shift = (kernel_.row_shift[d] - kernel_.offset) * kernel_.inverse_alpha0;
            features_.anchor[d] = kernel_.shifts_rows ? (std::max)(shift, lowest_exponent) : 0;
            if (kernel_.prior_weight != 0) features_.anchor[d] += kernel_.prior_weight * log_p_[d];
        }
        feature_potential_.assign(rows(), 0);
        feature_penalty_.assign(rows(), 0);
        log_row_sum_.resize(rows());
        for (Index d = 0; d < rows(); ++d) log_row_sum_[d] = log_row_mass_[d];
    }

    /// Goes on from these potentials f, D numbers, instead. Only after start(), and at alpha0 in (0, inf). Cost: a pass.
    void restart(std::span<const double> f) {
        const Stiffness& features = features_.common;
        const Real rise = features.is_soft() ? features.alpha * mass_shift() : offset_of_features();
        for (Index d = 0; d < rows(); ++d) {
            const Real potential = features.is_free() ? 0 : f[static_cast<std::size_t>(d)] + rise;
            feature_potential_[d] = potential / alpha0_ + features_.anchor[d];
            if (features.is_soft()) feature_penalty_[d] = potential / features.alpha;
        }
        update_instances();
    }

    /// The potential f_d of a feature, in the rewards' unit, as Solution has it.
    Real feature_potential(Index d) const {
        return unscaled(features_, features(), d, alpha0_, mass_shift(), offset_of_features());
    }

    /// f <- k1 a0 (log p0 - LSE_n((X + g)/a0)). At alpha0 = 0, the potentials for which the plan is the limit.
    void update_features() {
        if (alpha0_ == 0) return update_to_limit();
        features_.half_steps(0, rows(), log_row_sum_.data(), feature_potential_.data(), feature_penalty_.data());
        for (Index d = 0; d < rows(); ++d) log_row_mass_[d] = feature_potential_[d] + log_row_sum_[d];
    }

    /// As Scaling::translate(). The mass that the instances ask for is a sum of the last pass.
    Real translate() {
        const Side& instances = kernel_.instances;
        if (!has_translation(features_, instances)) return 0;
        asked_of_features_.set(features_, feature_penalty_, nullptr);
        asked_of_instances_.set_alike(sums().active, sums().log_asked, instances.common.ratio);
        const Real t = balancing_shift<Real>(asked_of_features_, asked_of_instances_);
        for (Index d = 0; d < rows(); ++d) {
            feature_potential_[d] += t;
            feature_penalty_[d] += features_.common.ratio * t;
        }
        return t;
    }

    /// f <- f + step alpha0
    void move_features(const Real* step) {
        for (Index d = 0; d < rows(); ++d) {
            feature_potential_[d] += step[d];
            if (features_.common.is_soft()) feature_penalty_[d] += features_.common.ratio * step[d];
        }
    }

    /// g <- k2 a0 (log q0 - LSE_d((X + f)/a0)). Cost: a pass, an exp per element.
    void update_instances() {
        pad_potential();
        set_sums(passes_(kernel_.inverse_alpha0, [&](const auto& block, auto& columns, auto& sums) {
            kernel_.sweep(block, padded_potential_.data(), columns, sums);
        }));
        for (Index d = 0; d < rows(); ++d) log_row_sum_[d] = log_row_mass_[d] - feature_potential_[d];
    }

    ScaledPotential features() const { return {feature_potential_, feature_penalty_}; }
    const Buffer<Real>& log_row_sum() const { return log_row_sum_; }
    /// Whether g stays where it is in every half step.
    bool has_free_instances() const { return kernel_.instances.is_free(); }
    Index active_instances() const { return sums().active; }

    /// As Scaling's.
    Real feature_residual() const { return features_.violation(log_row_mass_.data(), feature_penalty_.data()); }
    Real attainable() const {
        const Real of_rows = largest_with_mass(feature_potential_, [&](Index i, Index count) {
            return load_some(log_row_mass_.data() + i, count, std::numeric_limits<Real>::lowest());
        });
        return 4 * std::numeric_limits<Real>::epsilon() * (std::max)(of_rows, sums().largest_potential);
    }

    /// sum_n P_dn v_dn / sum_n P_dn
    Real conditional_mean(Index d) const { return sums().mean(d); }
    /// log sum_n P_dn
    Real log_row_mass(Index d) const { return log_row_mass_[d] + mass_shift(); }

    /// log sum P
    Real log_mass() const { return log_sum_exp(log_row_mass_.data(), rows()) + mass_shift(); }

    /// alpha0 log (1/N) sum_n exp(x_dn / alpha0). Cost: a pass, an expm1 per element.
    RealVector log_mean_exp() {
        const Real alpha0 = alpha0_;
        const Real count = static_cast<Real>(sums().active);
        RealVector y(rows());
        std::copy_n(kernel_.row_shift.begin(), rows(), y.begin());  // which is padded
        if (alpha0 == 0) return y;
        sums_ = &passes_(kernel_.inverse_alpha0,
                         [&](const auto& block, auto& columns, auto& sums) { kernel_.excess(block, columns, sums); });
        for (Index d = 0; d < rows(); ++d) {
            const Real mean = sums().mass[d] / count;
            y[d] += std::isinf(alpha0) ? mean / Sums::unit : alpha0 * std::log1p(mean);
        }
        return y;
    }

    /// Calls take(first, weights) with sum_d P_dn of every block. Cost: as update_instances(). Leaves other sums behind.
    void for_each_weight(const std::function<void(Index, std::span<const double>)>& take) {
        pad_potential();
        passes_.in_rising_order(
            kernel_.inverse_alpha0,
            [&](const auto& block, auto& columns, auto& sums) {
                kernel_.sweep_columns(block, padded_potential_.data(), columns, sums);
                for (Real& weight : sums.log_col_mass) weight = std::exp((std::min)(weight + mass_shift(), 709.0));
            },
            [&](const ColumnBlock& block, const Sums& sums) {
                take(kernel_.source->number(block.first),
                     {sums.log_col_mass.data(), static_cast<std::size_t>(block.count)});
            });
    }

private:
    using Sums = StreamedSums<Work>;

    static Index state_bytes(const AnyColumns& columns, const StreamedProblem& problem, Index vectors) {
        constexpr Index own_vectors = 12;
        return ((vectors + own_vectors) * columns.rows() + problem.log_q.size()) * static_cast<Index>(sizeof(Real));
    }

    Index rows() const { return log_p_.size(); }

    /// ScaledProblem::offset_of_features()
    Real offset_of_features() const { return features_.common.is_hard() ? kernel_.offset : 0; }

    /// ScaledProblem::mass_shift
    Real mass_shift() const {
        return log_growth(kernel_.offset, alpha0_, features_.common.alpha, kernel_.instances.common.alpha);
    }

    /// Feature d puts the mass p0_d exp(max_n x_dn / alpha1) where its reward is highest; if the features are free too,
    /// only those with the highest reward of all have mass.
    void update_to_limit() {
        const Real alpha1 = features_.common.alpha;
        for (Index d = 0; d < rows(); ++d) {
            const Real above = kernel_.row_shift[d] - kernel_.offset;
            log_row_mass_[d] =
                log_p_[d] + (std::isinf(alpha1) || above == 0 ? 0 : (std::max)(above / alpha1, lowest_exponent));
        }
        const Real log_sum = alpha1 == 0 ? log_sum_exp(log_row_mass_.data(), rows()) : 0;
        for (Index d = 0; d < rows(); ++d) {
            log_row_mass_[d] -= log_sum;
            feature_potential_[d] = log_row_mass_[d] - log_row_sum_[d];
        }
    }
    const Sums& sums() const { return *sums_; }

    void pad_potential() {
        padded_potential_.assign(padded(rows()), std::numeric_limits<Real>::lowest());
        std::copy(feature_potential_.begin(), feature_potential_.end(), padded_potential_.begin());
    }

    void set_sums(const Sums& sums) {
        sums_ = &sums;
        log_row_mass_.resize(rows());
        for (Index d = 0; d < rows(); ++d) log_row_mass_[d] = sums.log_mass(d);
    }

    Real alpha0_;
    RealVector log_p_;
    Side features_;
    StreamedKernel<Work> kernel_;
    StreamedPasses<Work> passes_;
    const Sums* sums_ = nullptr;  ///< Of the last pass.
    Buffer<Real> log_row_mass_, log_row_sum_, feature_potential_, feature_penalty_;
    Buffer<Real> padded_potential_;
    TranslatedMass<Work> asked_of_features_;
    LineMasses<Work> asked_of_instances_;
};

}  // namespace otpool::detail
