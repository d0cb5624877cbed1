// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/plan/log_plan.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/regularizers.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// A structural term, -(alpha / 2) <C1 P C2, P>.
struct Structure {
    MatrixView<Real> features, instances;  ///< C1, C2
    Real alpha;

    /// alpha C1 P C2
    RealMatrix pull(const RealMatrix& P) const {
        const RealMatrix half = features.matrix() * P;
        return alpha * (half * instances.matrix());
    }
};

/// Throws InvalidArgument unless the matrix is size x size, finite and symmetric (up to rounding).
inline void require_structure(const MatrixView<Real>& matrix, Index size, const char* name) {
    require_that(matrix.rows() == size && matrix.cols() == size, text("shape of ", name),
                 shape_text(matrix.rows(), matrix.cols()), shape_text(size, size));
    require_finite(matrix, name);
    const Real largest = matrix.matrix().cwiseAbs().maxCoeff();
    for (Index j = 0; j < size; ++j) {
        for (Index i = 0; i < j; ++i) {
            const Real other = matrix(j, i);
            require_that(std::abs(matrix(i, j) - other) <= 1e-6 * largest, text(name, " at ", i, ", ", j), matrix(i, j),
                         text(other, ", its mirror image, as it must be symmetric"));
        }
    }
}

/// The plan of Structural and the majorant at it (Structural has the formulas). R is the regulariser.
template <class R>
class StructuralPlan {
public:
    /// Starts from p0 q0^T, with the mass that is fixed.
    StructuralPlan(const Inspection& problem, const Structure& structure)
        : problem_(problem), structure_(structure), reward_(rows(), cols()) {
        log_plan_.setConstant(rows(), cols(), nothing);
        const Priors& priors = problem.priors;
        const Real log_p = log_sum_exp(priors.log_p.data(), priors.log_p.size());
        const Real log_q = log_sum_exp(priors.log_q.data(), priors.log_q.size());
        const Real log_mass = problem.log_mass ? *problem.log_mass : problem.alpha1.all_hard() ? log_p : log_q;
        for (Index k = 0; k < problem.active_instances(); ++k) {
            log_plan_.col(instance(k)) = priors.log_p.array() + (priors.log_q[k] - log_p - log_q + log_mass);
        }
        for (Index n = 0; n < cols(); ++n) problem.reward.copy_column(n, reward_.col(n).data());
        for (Index i = 0; i < reward_.size(); ++i) {
            if (!(reward_.data()[i] > nothing)) log_plan_.data()[i] = nothing;
        }
        plan_ = log_plan_.array().exp();
        pull_ = structure.pull(plan_);
    }

    /// Starts from another solution's plan.
    template <BagScalar Scalar>
    void start_from(const Solution<Scalar, R>& solution) {
        read(solution.log_plan);
        plan_ = log_plan_.array().exp();
        pull_ = structure_.pull(plan_);
    }

    Real tau() const { return tau_; }
    /// -(alpha / 2) <C1 P C2, P>
    Real term() const { return -pull_.cwiseProduct(plan_).sum() / 2; }

    /// X + alpha C1 P C2 + tau R'(P), -inf where pairs are forbidden; 0 at excluded instances.
    RealMatrix reward() const {
        RealMatrix reward = RealMatrix::Zero(rows(), cols());
        for (Index k = 0; k < problem_.active_instances(); ++k) {
            const Index n = instance(k);
            for (Index d = 0; d < rows(); ++d) {
                reward(d, n) = reward_(d, n) + pull_(d, n) + (tau_ > 0 ? tau_ * derivative(d, k) : 0);
            }
        }
        return reward;
    }

    /// Takes the plan of the majorant's solution, if the objective cannot have risen. If not, doubles tau.
    bool accept(const Solution<Real, R>& found) {
        const RealMatrix log_before = log_plan_;
        read(found.log_plan);
        const RealMatrix plan = log_plan_.array().exp();
        const RealMatrix pull = structure_.pull(plan);
        const RealMatrix change = plan - plan_;
        const Real rise = -(pull - pull_).cwiseProduct(change).sum() / 2;
        const Real rounding = 1e-14 * (pull.cwiseProduct(plan).cwiseAbs().sum() + std::abs(term()));
        if (rise > tau_ * divergence(plan, log_before) * (1 + 1e-9) + rounding && tau_ < most_tau * problem_.alpha0) {
            log_plan_ = log_before;
            tau_ = (std::max)(2 * tau_, problem_.alpha0 / 100);
            return false;
        }
        plan_ = plan;
        pull_ = pull;
        return true;
    }

    /// Solution::residual, of the present plan with the potentials of the solution it was taken from.
    Real residual(const Solution<Real, R>& found) const {
        RealVector row_off = RealVector::Zero(rows());
        RealVector row_mass = row_off;
        Real largest = found.residual;
        for (Index k = 0; k < problem_.active_instances(); ++k) {
            const Index n = instance(k);
            const Real g = found.instance_potential[n] + found.mass_potential;
            Real off = 0;
            for (Index d = 0; d < rows(); ++d) {
                if (!(reward_(d, n) > nothing)) continue;
                const Real slack = reward_(d, n) + pull_(d, n) + found.feature_potential[d] + g;
                const Real distance = std::abs(plan_(d, n) - entry_at(slack / problem_.alpha0, d, k));
                off += distance;
                row_off[d] += distance;
                row_mass[d] += plan_(d, n);
            }
            const Real mass = plan_.col(n).sum();
            if (mass > 0) largest = (std::max)(largest, off / mass);
        }
        for (Index d = 0; d < rows(); ++d) {
            if (row_mass[d] > 0) largest = (std::max)(largest, row_off[d] / row_mass[d]);
        }
        return largest;
    }

    /// The residual that rounding can leave.
    Real attainable(const Solution<Real, R>& found) const {
        const bool is_inner = found.status == Status::precision_limit;
        Real size = pull_.cwiseAbs().maxCoeff() + found.feature_potential.cwiseAbs().maxCoeff();
        size += (std::max)(std::abs(problem_.lowest), std::abs(problem_.highest_of_all()));
        const Real rounding = 16 * std::numeric_limits<Real>::epsilon() * size / problem_.alpha0;
        return (std::max)(is_inner ? 2 * found.residual : 0, std::isfinite(rounding) ? rounding : 0);
    }

private:
    static constexpr Real nothing = -std::numeric_limits<Real>::infinity();
    static constexpr Real most_tau = 1e12;  ///< In units of alpha0.

    Index rows() const { return problem_.reward.rows(); }
    Index cols() const { return problem_.reward.cols(); }
    Index instance(Index k) const { return problem_.priors.active[static_cast<std::size_t>(k)]; }

    /// w log p0 q0^T, w the regulariser's prior_weight.
    Real log_prior(Index d, Index k) const {
        const Real weight = problem_.regularizer.prior_weight;
        return weight == 0 ? 0 : weight * (problem_.priors.log_p[d] + problem_.priors.log_q[k]);
    }
    /// R'(P_dk)
    Real derivative(Index d, Index k) const {
        if constexpr (EntropicRegularizer<R>)
            return log_plan_(d, instance(k)) - log_prior(d, k);
        else
            return R::derivative(plan_(d, instance(k)));
    }
    /// The entry where alpha0 R' is the slack.
    Real entry_at(Real slack, Index d, Index k) const {
        if constexpr (EntropicRegularizer<R>)
            return std::exp(slack + log_prior(d, k));
        else
            return R::entry_at(slack);
    }
    /// sum R(plan) - R(P) - R'(P) (plan - P), given the present log_plan_ of `plan` and that of P.
    Real divergence(const RealMatrix& plan, const RealMatrix& log_before) const {
        Real sum = 0;
        for (Index i = 0; i < plan.size(); ++i) {
            const Real now = plan.data()[i];
            const Real before = plan_.data()[i];
            if constexpr (EntropicRegularizer<R>) {
                if (now > 0) sum += now * (log_plan_.data()[i] - log_before.data()[i]);
                sum += before - now;
            } else {
                sum += R::value(now) - R::value(before) - R::derivative(before) * (now - before);
            }
        }
        return sum;
    }

    void read(const LogPlan& from) {
        log_plan_.setConstant(nothing);
        from.for_each_log_column([&](Index, Index n, const RealVector& column) { log_plan_.col(n) = column; });
    }

    const Inspection& problem_;
    const Structure& structure_;
    RealMatrix reward_;           ///< X
    RealMatrix log_plan_, plan_;  ///< P
    RealMatrix pull_;             ///< alpha C1 P C2
    Real tau_ = 0;
};

}  // namespace otpool::detail
