// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/simd/exponential.hpp"
#include "otpool/solver/steps/admm_marginal.hpp"

namespace otpool {

/// How BregmanAdmm updates the dual Z from the two copies T, S of the plan.
enum class DualStep {
    scaled,    ///< Z += rho (T - S) / max(T, S): bounded by rho, sees small entries; converges linearly.
    textbook,  ///< Z += rho (T - S): proportional to entries of size 1/(N D); for comparison.
};

namespace detail {

/// The state of BregmanAdmm: two copies T = S of the plan as logarithms and the dual Z. All in units of rho; with
/// alpha0 = inf in the limit rho = alpha0 -> inf.
template <BagScalar Scalar, Regularizer R>
class AdmmState {
    using RealVector = Vector<typename RealOf<Scalar>::type>;
    using RealMatrix = Matrix<typename RealOf<Scalar>::type>;

public:
    AdmmState(const UotProblem<Scalar, R>& problem, Real rho) : reward_(problem.reward), scratch_(rows()) {
        Priors priors(problem);
        active_ = std::move(priors.active);
        features_.log_prior = std::move(priors.log_p);
        instances_.log_prior = priors.log_q;
        log_smooth_ = features_.log_prior.replicate(1, cols()).rowwise() + instances_.log_prior.transpose();
        log_transport_ = log_smooth_;
        dual_ = RealMatrix::Zero(rows(), cols());
        set_parameters(problem, rho);
    }

    /// Goes on with the alphas of `problem`, whose bag and priors are the same, and another rho.
    void set_parameters(const UotProblem<Scalar, R>& problem, Real rho) {
        dual_ *= rho_ / rho;
        rho_ = rho;
        const Real alpha0 = problem.alpha0;
        inverse_rho_ = std::isinf(alpha0) ? 0 : 1 / rho;
        strength_ = !std::isinf(alpha0) ? alpha0 / rho : quadratic ? 0.5 : 1;
        const auto in_rho = [&](Real alpha) { return std::isinf(alpha) ? alpha : alpha * inverse_rho_; };
        features_.alpha = in_rho(problem.features.alpha);
        instances_.alpha = in_rho(problem.instances.alpha);
        features_.weight = quadratic ? 1 : 1 + strength_;
        // Elsewhere the free plan is the plan of mass 1 up to a factor; a bounded plan keeps the iteration stable.
        unit_mass_ = !quadratic || alpha0 == 0 || features_.is_hard() || instances_.is_hard();
        offset_ = unit_mass_ ? std::numeric_limits<Real>::lowest() : 0;
        if (!unit_mass_) return;
        for (const Index n : active_) offset_ = std::max(offset_, reward_.col(n).maxCoeff());
    }

    /// Starts from another solution: T = S = its plan, Z from S's optimality condition.
    void start(const Solution<Scalar, R>& from) {
        auto k = active_.begin();
        from.log_plan.for_each_column([&](Index, Index n, const RealVector& score) {
            k = std::lower_bound(k, active_.end(), n);
            if (k == active_.end() || *k != n) return;
            log_smooth_.col(k - active_.begin()) = (score + from.log_plan.log_scale()).cwiseMax(-600.0).cwiseMin(600.0);
        });
        if (unit_mass_) log_smooth_.array() -= log_sum_exp(log_row_sums(log_smooth_));
        log_transport_ = log_smooth_;
        dual_ = quadratic ? RealMatrix::Zero(rows(), cols()) : RealMatrix(strength_ * log_smooth_);
        dual_.colwise() -= from.feature_potential.template cast<Real>() * inverse_rho_;
    }

    /// log T <- (X - Z)/rho + log S,  log T += k2 (log q0 - LSE_d(log T)),  normalised
    void update_transport() {
        RealVector shift(cols());
        RealVector column(rows());
        for (Index k = 0; k < cols(); ++k) {
            reward_column(k, column);
            column += log_smooth_.col(k) - dual_.col(k);
            if constexpr (quadratic) column -= 2 * strength_ * plan_of(log_smooth_.col(k));
            log_transport_.col(k) = column.cwiseMax(lowest_exponent);
            shift[k] = log_sum_exp(log_transport_.col(k));
        }
        instances_.update(shift);
        if (unit_mass_) shift.array() -= log_sum_exp(instances_.log_marginal);
        log_transport_.rowwise() += shift.transpose();
    }

    /// log S <- (Z + rho log T)/(rho + a0),  log S += k1 (log p0 - LSE_n(log S)),  normalised
    void update_smooth() {
        log_smooth_ = (dual_ + log_transport_) / features_.weight;
        RealVector shift = log_row_sums(log_smooth_);
        features_.update(shift);
        if (unit_mass_) {
            const Real log_mass = log_sum_exp(features_.log_marginal);
            features_.log_marginal.array() -= log_mass;
            shift.array() -= log_mass;
        }
        log_smooth_.colwise() += shift;
    }

    /// Z <- Z + rho (T - S) / max(T, S) = Z + rho sign(d) (1 - exp(-|d|)),  d = log T - log S
    void update_dual(DualStep step) {
        if (step == DualStep::scaled) {
            // sign() and expm1() are not vectorised; what 1 - exp() rounds off is far below what Z holds.
            RealVector d(rows());
            RealVector change(rows());
            for (Index k = 0; k < cols(); ++k) {
                d = log_transport_.col(k) - log_smooth_.col(k);
                change = 1 - bounded_exp(-d.array().abs());
                for (Index i = 0; i < d.size(); ++i) dual_(i, k) += std::copysign(change[i], d[i]);
            }
        } else {
            dual_ += plan_of(log_transport_) - plan_of(log_smooth_);
        }
    }

    /// Reads potentials and free mass off the plan S and returns its residual, as Solution::residual defines it.
    Real residual() {
        read_potentials();
        RealVector row_gap = RealVector::Zero(rows());
        Real col_gap = 0;
        RealVector slack(rows());
        ColumnGap gap{.inverse_row_mass = plan_of(-f_.log_marginal)};
        for (Index k = 0; k < cols(); ++k) {
            reward_column(k, slack);
            slack += f_.potential;
            slack.array() += g_.potential[k];
            plan_gap(k, slack, gap);
            row_gap += gap.of_rows.matrix();
            col_gap = std::max(col_gap, gap.of_col.sum());
        }
        const RealVector log_r = f_.log_marginal.array() + log_scale_;
        const RealVector log_c = log_instance_mass_.array() + log_scale_;
        // A free side adds nothing; but the rows' weights are what is pooled, and with a regulariser every row has
        // some.
        const bool rows_count = f_.alpha > 0 || strength_ > 0;
        return std::max(
            {f_.residual(log_r), g_.residual(log_c), rows_count ? row_gap.maxCoeff() : 0, g_.alpha > 0 ? col_gap : 0});
    }

    /// The residual that rounding of the potentials alone can leave.
    Real attainable() const { return quadratic || strength_ == 0 ? 0 : rounding() / strength_; }

    /// log T, log S and Z / rho.
    const RealMatrix& log_transport() const { return log_transport_; }
    const RealMatrix& log_smooth() const { return log_smooth_; }
    const RealMatrix& dual() const { return dual_; }
    /// Whether T and S are kept at mass 1.
    bool unit_mass() const { return unit_mass_; }

    /// After residual().
    Solution<Scalar, R> solution(const UotProblem<Scalar, R>& problem) const {
        Solution<Scalar, R> solution{.problem = problem};
        const Real stiffness = static_cast<Real>(problem.alpha0) + problem.features.alpha + problem.instances.alpha;
        const Real shift = stiffness > 0 ? offset_ / stiffness : 0;
        // Where alpha0 = inf keeps a side from meeting its prior, the marginal says what the potential is.
        const auto in_reward_units = [&](Real potential, Real alpha, Real log_excess, bool takes_offset) {
            if (inverse_rho_ == 0 && std::isfinite(alpha)) return saturated<Scalar>(-alpha * log_excess);
            const Real scaled = potential == 0 ? 0 : potential * rho_;
            return saturated<Scalar>(scaled - (shift == 0 ? 0 : alpha * shift) - (takes_offset ? offset_ : 0));
        };
        solution.feature_potential.resize(rows());
        for (Index d = 0; d < rows(); ++d) {
            solution.feature_potential[d] =
                in_reward_units(f_.potential[d], problem.features.alpha,
                                log_scale_ + f_.log_marginal[d] - f_.log_prior[d], f_.is_hard());
        }
        solution.instance_potential = on_all_instances<Scalar>(reward_.cols(), active_, [&](Index k) {
            return in_reward_units(g_.potential[k], problem.instances.alpha,
                                   log_scale_ + log_instance_mass_[k] - g_.log_prior[k], g_.is_hard() && !f_.is_hard());
        });
        solution.log_mass = log_sum_exp(f_.log_marginal) + log_scale_ + shift;
        solution.log_plan =
            LogPlan<Scalar>(DensePlan{log_smooth_}, RealVector::Constant(rows(), log_scale_ + shift), active_);
        return solution;
    }

private:
    /// What rounding leaves of sums of potentials.
    Real rounding() const {
        const Real largest = std::max(f_.potential.cwiseAbs().maxCoeff(), g_.potential.cwiseAbs().maxCoeff());
        return 4 * std::numeric_limits<Real>::epsilon() * largest;
    }

    static constexpr bool quadratic = std::same_as<R, Quadratic>;

    Index rows() const { return reward_.rows(); }
    Index cols() const { return static_cast<Index>(active_.size()); }
    Index instance(Index k) const { return active_[static_cast<std::size_t>(k)]; }

    /// X / rho; of a RelativeEntropy problem the reward X + alpha0 log(p0 q0^T) of the Entropy problem that it is.
    void reward_column(Index k, RealVector& out) const {
        out = reward_.contiguous_col(instance(k), scratch_.data()).template cast<Real>();
        out = ((out.array() - offset_) * inverse_rho_).max(lowest_exponent).min(-lowest_exponent);
        if constexpr (std::same_as<R, RelativeEntropy>) {
            out += strength_ * features_.log_prior;
            out.array() += strength_ * instances_.log_prior[k];
        }
    }

    /// exp(log_plan), but no more than exp(600).
    template <class Derived>
    static auto plan_of(const Eigen::DenseBase<Derived>& log_plan) {
        return bounded_exp(log_plan.derived().array().min(600.0)).matrix();
    }

    void read_potentials() {
        f_ = features_;
        g_ = instances_;
        log_scale_ = 0;
        log_instance_mass_.resize(cols());
        for (Index k = 0; k < cols(); ++k) log_instance_mass_[k] = log_sum_exp(log_smooth_.col(k));
        if (!unit_mass_) return;
        f_.center(f_.log_marginal);
        g_.center(log_instance_mass_);
        const Real lambda = mass_multiplier();
        const Real stiffness = strength_ + f_.alpha + g_.alpha;
        if (f_.is_hard()) {
            f_.potential.array() += lambda;
        } else if (g_.is_hard()) {
            g_.potential.array() += lambda;
        } else if (stiffness > 0) {
            log_scale_ = -lambda / stiffness;
            f_.potential.array() -= f_.alpha * log_scale_;
            g_.potential.array() -= g_.alpha * log_scale_;
        }
    }

    /// The multiplier of sum S = 1: the mean of  alpha0 R'(S) - X - f - g  under S.
    Real mass_multiplier() const {
        Real mean = 0;
        RealVector excess(rows());
        for (Index k = 0; k < cols(); ++k) {
            const auto S = log_smooth_.col(k);
            reward_column(k, excess);
            excess = -(excess + f_.potential).array() - g_.potential[k];
            if constexpr (quadratic) {
                excess += 2 * strength_ * plan_of(S);
            } else {
                excess += strength_ * S;
            }
            mean += plan_of(S).dot(excess);
        }
        return mean;
    }

    /// How far the entries of a column of S are from others, relative to their rows' and to the column's mass.
    struct ColumnGap {
        Eigen::ArrayXd inverse_row_mass;
        Eigen::ArrayXd of_rows = {};
        Eigen::ArrayXd of_col = {};
        Eigen::ArrayXd apart = {};     ///< How far they are, by themselves.
        Eigen::ArrayXd compared = {};  ///< Quadratic: the entries; else what potentials make of them, as logarithms.
    };

    /// How far column k of S is from what the potentials make of it, slack = X + f + g; and from T.
    void plan_gap(Index k, const RealVector& slack, ColumnGap& gap) const {
        const auto S = log_smooth_.col(k).array();
        const auto T = log_transport_.col(k).array();
        const auto log_r = f_.log_marginal.array();
        const Real log_c = log_instance_mass_[k];
        if (quadratic && strength_ > 0) {
            // P = max(0, X + f + g) / (2 alpha0)
            // Of an entry far below the potentials that it is the difference of, rounding leaves nothing to compare.
            gap.compared = plan_of(S);
            gap.apart = (slack.array().max(0) / (2 * strength_) - gap.compared).abs() - rounding() / (2 * strength_);
            gap.apart = gap.apart.max(0) + (plan_of(T).array() - gap.compared).abs();
            gap.of_rows = gap.apart * gap.inverse_row_mass;
            gap.of_col = gap.apart * std::exp(std::min(-log_c, 600.0));
        } else if (strength_ > 0) {
            // log P = (X + f + g) / alpha0; the larger of two entries times 1 - their ratio is their difference
            gap.compared = slack.array() / strength_ - log_scale_;
            gap.apart = 1 - bounded_exp(-(gap.compared - S).abs().max((T - S).abs()));
            gap.of_rows = gap.apart * plan_of(gap.compared.max(S) - log_r).array();
            gap.of_col = gap.apart * plan_of(gap.compared.max(S) - log_c).array();
        } else {
            // X + f + g = 0 where the plan has mass, and nowhere more
            gap.apart = slack.array().abs() + 1 - bounded_exp(-(T - S).abs());
            gap.of_rows = slack.array().max(0) + gap.apart * bounded_exp(S - log_r);
            gap.of_col = slack.array().max(0) + gap.apart * bounded_exp(S - log_c);
        }
    }

    MatrixView<Scalar> reward_;
    mutable Vector<Scalar> scratch_;  ///< A column of the reward.
    std::vector<Index> active_;
    Real rho_ = 1;
    Real inverse_rho_;
    Real strength_;  ///< alpha0 / rho
    bool unit_mass_;
    Real offset_;
    AdmmMarginal features_, instances_;
    RealMatrix log_transport_, log_smooth_, dual_;  ///< log T, log S, Z / rho

    AdmmMarginal f_, g_;  ///< The marginals with the potentials of the free plan exp(log_scale) S.
    RealVector log_instance_mass_;
    Real log_scale_ = 0;
};

}  // namespace detail
}  // namespace otpool
