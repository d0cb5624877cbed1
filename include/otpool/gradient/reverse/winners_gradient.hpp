// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "otpool/core/error.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/bag_gradient.hpp"
#include "otpool/gradient/reverse/optimum.hpp"
#include "otpool/gradient/reverse/plan_cotangent.hpp"
#include "otpool/simd/arrays.hpp"

namespace otpool::detail {

/// alpha0 = 0 with a free side, where every line of the plan is shared by its winners: log P_dn = log share_dn + log m,
/// m = prior exp(x_max / alpha) the mass of the line on the other side (design: WinnersLimit). The winners stay the
/// winners, and a tie's shares do not move; alpha0's own derivative is 0.
class WinnersGradient {
public:
    WinnersGradient(const Optimum& optimum, const PlanCotangent& cotangent)
        : optimum_(optimum), cotangent_(cotangent), by_feature_(optimum.alpha2 == 0) {
        if (optimum.alpha1 > 0 && optimum.alpha2 > 0) {
            throw UnsupportedProblem("Implicit", "alpha0 = 0 and no closed form",
                                     "alpha0 > 0, or a free side; Unrolled differentiates BregmanAdmm's steps");
        }
    }

    template <BagScalar Scalar>
    void add_to(BagGradient<Scalar>& gradient) const {
        const Priors& priors = optimum_.priors;
        const Real alpha = by_feature_ ? optimum_.alpha1 : optimum_.alpha2;
        RealVector log_p = zeros(priors.log_p.size());
        RealVector log_q = zeros(priors.log_q.size());
        RealVector of_line = zeros(priors.log_p.size());  // dL/dlog m of the features
        if (by_feature_) {
            for_each_column([&](Index, Index, const RealVector&, const RealVector& G) {
                for (Index d = 0; d < G.size(); ++d) of_line[d] += G[d];
            });
        }
        for_each_column([&](Index k, Index n, const RealVector& log_plan, const RealVector& G) {
            Real of_instance = 0;
            for (Index d = 0; d < (by_feature_ ? 0 : G.size()); ++d) of_instance += G[d];
            const Real log_c = log_sum_exp(log_plan.data(), log_plan.size());
            Scalar* reward = gradient.reward.sum_of(n);
            for (Index d = 0; d < G.size(); ++d) {
                if (log_plan[d] == nothing) continue;
                const Real share = std::exp(log_plan[d] - (by_feature_ ? log_row_mass(d) : log_c));
                const Real line = by_feature_ ? of_line[d] : of_instance;
                if (alpha > 0) reward[d] += static_cast<Scalar>(share * line / alpha);
                // ties share by the other side's prior
                if (optimum_.relative) (by_feature_ ? log_q[k] : log_p[d]) += G[d] - share * line;
            }
            if (!by_feature_) add_line(of_instance, log_c, alpha, priors.log_q[k], log_q[k], gradient.alpha2);
        });
        for (Index d = 0; d < (by_feature_ ? of_line.size() : 0); ++d) {
            add_line(of_line[d], log_row_mass(d), alpha, priors.log_p[d], log_p[d], gradient.alpha1);
        }
        add_prior_gradients(priors, log_p, log_q, gradient);
    }

private:
    static constexpr Real nothing = -std::numeric_limits<Real>::infinity();

    static RealVector zeros(Index size) {
        RealVector numbers(size);
        std::fill(numbers.begin(), numbers.end(), 0);
        return numbers;
    }

    Real log_row_mass(Index d) const { return cotangent_.log_row_sum[d] + optimum_.log_plan.log_scale()[d]; }

    /// log m = log prior + x_max / alpha
    static void add_line(Real cotangent, Real log_mass, Real alpha, Real log_prior, Real& of_log_prior,
                         auto& of_alpha) {
        if (alpha == 0) return;  // nothing holds the mass, and it stays
        of_log_prior += cotangent;
        if (cotangent != 0) of_alpha[of_alpha.size() - 1] -= cotangent * (log_mass - log_prior) / alpha;
    }

    /// Visits log P and G = P dL/dP of every active instance.
    template <class Visit>
    void for_each_column(const Visit& visit) const {
        RealVector G(cotangent_.features());
        RealVector value(cotangent_.features());
        RealVector log_plan(cotangent_.features());
        optimum_.log_plan.for_each_column([&](Index k, Index n, const RealVector& score) {
            for (Index d = 0; d < G.size(); ++d) log_plan[d] = score[d] + optimum_.log_plan.log_scale()[d];
            optimum_.values.copy_column(n, value.data());
            cotangent_.log_weight(score.data(), G.data());
            cotangent_.column(value.data(), G.data(), G.data());
            visit(k, n, log_plan, G);
        });
    }

    const Optimum& optimum_;
    const PlanCotangent& cotangent_;
    bool by_feature_;  ///< Whether the lines are the features'.
};

}  // namespace otpool::detail
