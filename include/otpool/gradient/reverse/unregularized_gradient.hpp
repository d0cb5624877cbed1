// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <limits>

#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/optimum.hpp"
#include "otpool/gradient/reverse/plan_gradient.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// The gradient of an optimum at alpha0 = 0 with a free side, whose plan is WinnersLimit: the winners of every line
/// share its mass m = prior exp(x_max / alpha), alpha the line's, log P_dn = log share_dn + log m. Winners stay
/// winners, the shares of a tie stay the same, and the derivative with respect to alpha0 is 0.
template <std::same_as<Real> Work = Real>
class UnregularizedGradient {
public:
    /// Views both.
    UnregularizedGradient(const Optimum& optimum, const PlanGradient& of_plan) : optimum_(optimum), of_plan_(of_plan) {}

    template <BagScalar Scalar>
    void add_to(BagGradient<Scalar>& gradient) {
        const bool by_feature = optimum_.alpha2.all_free();  // the lines are the features'
        const Index last = gradient.alpha0.size() - 1;
        const Index rows = optimum_.rows();
        RealVector log_p = RealVector::Zero(rows);
        RealVector log_q = RealVector::Zero(optimum_.cols());
        RealVector of_row_mass = RealVector::Zero(rows);  // dL/dlog m of the features
        const RealVector& log_scale = optimum_.log_plan.log_scale();
        RealVector log_r(rows);
        RealVector log_P(rows);
        for (Index d = 0; d < rows; ++d) log_r[d] = of_plan_.log_row_sum[d] + log_scale[d];
        if (by_feature) {
            for_each_column([&](Index, Index, const RealVector&, const RealVector& of_P) { of_row_mass += of_P; });
        }
        // of_P: P dL/dP
        for_each_column([&](Index k, Index n, const RealVector& score, const RealVector& of_P) {
            for (Index d = 0; d < rows; ++d) log_P[d] = score[d] + log_scale[d];
            const Real of_col_mass = by_feature ? 0 : of_P.sum();
            const Real log_c = log_sum_exp(log_P.data(), rows);
            Scalar* const of_reward = gradient.reward.sum(n);
            for (Index d = 0; d < rows; ++d) {
                if (log_P[d] == nothing) continue;
                const Real share = std::exp(log_P[d] - (by_feature ? log_r[d] : log_c));
                const Real of_mass = share * (by_feature ? of_row_mass[d] : of_col_mass);
                const Real alpha = by_feature ? optimum_.alpha1[d] : optimum_.alpha2[k];
                if (alpha > 0) of_reward[d] += static_cast<Scalar>(of_mass / alpha);
                // The shares of a tie.
                (by_feature ? log_q[k] : log_p[d]) += optimum_.regularizer.prior_weight * (of_P[d] - of_mass);
            }
            if (by_feature) return;
            add_line(of_col_mass, log_c - optimum_.priors.log_q[k], optimum_.alpha2[k], log_q[k],
                     of_line(gradient.alphas2, gradient.alpha2[last], n));
        });
        for (Index d = 0; d < rows && by_feature; ++d) {
            add_line(of_row_mass[d], log_r[d] - optimum_.priors.log_p[d], optimum_.alpha1[d], log_p[d],
                     of_line(gradient.alphas1, gradient.alpha1[last], d));
        }
        add_prior_gradients(optimum_.priors, log_p, log_q, gradient);
    }

private:
    static constexpr Real nothing = -std::numeric_limits<Real>::infinity();

    void for_each_column(const auto& visit) const { of_plan_.for_each_column(optimum_.log_plan, visit); }

    /// log m = log prior + x_max / alpha
    static void add_line(Real of_mass, Real log_excess, Real alpha, Real& of_log_prior, Real& of_alpha) {
        if (alpha == 0) return;  // nothing holds the mass, and it stays
        of_log_prior += of_mass;
        if (of_mass != 0) of_alpha -= of_mass * log_excess / alpha;
    }

    const Optimum& optimum_;
    const PlanGradient& of_plan_;
};

}  // namespace otpool::detail
