// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cmath>
#include <limits>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/plan_cotangent.hpp"
#include "otpool/plan/solution.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/problem/uot_problem.hpp"

namespace otpool::detail {

/// alpha0 = 0 with a free side, where every line of the plan is shared by its winners: log P_dn = log share_dn + log m,
/// m = prior exp(x_max / alpha) the mass of the line on the other side (design: WinnersLimit). The winners stay the
/// winners, and a tie's shares do not move; alpha0's own derivative is 0.
template <class Scalar, class R>
class WinnersGradient {
public:
    WinnersGradient(const Solution<Scalar, R>& solution, const PlanCotangent& cotangent)
        : solution_(solution), cotangent_(cotangent), priors_(solution.problem) {
        const auto& problem = solution.problem;
        if (problem.features.alpha > 0 && problem.instances.alpha > 0) {
            throw UnsupportedProblem("Implicit", "alpha0 = 0 and no closed form",
                                     "alpha0 > 0, or a free side; Unrolled differentiates BregmanAdmm's steps");
        }
    }

    void add_to(BagGradient<Scalar>& gradient) const {
        const auto& problem = solution_.problem;
        const bool by_feature = problem.instances.alpha == 0;  // the lines are the features'
        const Real alpha = by_feature ? problem.features.alpha : problem.instances.alpha;
        const RealVector log_r = cotangent_.log_row_sum + solution_.log_plan.log_scale();
        RealVector log_p = RealVector::Zero(priors_.log_p.size());
        RealVector log_q = RealVector::Zero(priors_.log_q.size());
        const RealVector row_cotangent = by_feature ? row_sums() : log_p;  // dL/dlog m of the features
        for_each_column([&](Index k, Index n, const RealVector& log_plan, const RealVector& G) {
            const Real col_cotangent = by_feature ? 0 : G.sum();
            const Real log_c = log_plan.maxCoeff() == nothing ? nothing : log_sum_exp(log_plan);
            for (Index d = 0; d < G.size(); ++d) {
                if (log_plan[d] == nothing) continue;
                const Real share = std::exp(log_plan[d] - (by_feature ? log_r[d] : log_c));
                const Real line = by_feature ? row_cotangent[d] : col_cotangent;
                if (alpha > 0) gradient.reward.sum()(d, n) += static_cast<Scalar>(share * line / alpha);
                if constexpr (std::same_as<R, RelativeEntropy>) {  // ties share by the other side's prior
                    (by_feature ? log_q[k] : log_p[d]) += G[d] - share * line;
                }
            }
            if (!by_feature) add_line(col_cotangent, log_c, alpha, priors_.log_q[k], log_q[k], gradient.alpha2);
        });
        if (by_feature) {
            for (Index d = 0; d < log_r.size(); ++d) {
                add_line(row_cotangent[d], log_r[d], alpha, priors_.log_p[d], log_p[d], gradient.alpha1);
            }
        }
        add_prior_gradients(priors_, log_p, log_q, gradient);
    }

private:
    static constexpr Real nothing = -std::numeric_limits<Real>::infinity();

    /// log m = log prior + x_max / alpha
    static void add_line(Real cotangent, Real log_mass, Real alpha, Real log_prior, Real& log_prior_gradient,
                         auto& alpha_gradient) {
        if (alpha == 0) return;  // nothing holds the mass, and it stays
        log_prior_gradient += cotangent;
        if (cotangent != 0) alpha_gradient[alpha_gradient.size() - 1] -= cotangent * (log_mass - log_prior) / alpha;
    }

    /// Visits log P and G = P dL/dP of every active instance.
    template <class Visit>
    void for_each_column(const Visit& visit) const {
        RealVector log_plan;
        RealVector G;
        solution_.log_plan.for_each_column([&](Index k, Index n, const RealVector& score) {
            log_plan = score + solution_.log_plan.log_scale();
            G = cotangent_.column(solution_.problem.pooled_values().col(n), cotangent_.log_weight(score));
            visit(k, n, log_plan, G);
        });
    }

    RealVector row_sums() const {
        RealVector sum = RealVector::Zero(priors_.log_p.size());
        for_each_column([&](Index, Index, const RealVector&, const RealVector& G) { sum += G; });
        return sum;
    }

    const Solution<Scalar, R>& solution_;
    const PlanCotangent& cotangent_;
    Priors priors_;
};

}  // namespace otpool::detail
