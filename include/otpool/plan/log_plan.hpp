// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>
#include <variant>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/simd/exponential.hpp"

namespace otpool::detail {

/// P_dk = exp(z_dk + potential_k + log_scale_d): every plan of an entropic problem.
template <BagScalar Scalar>
struct ExponentialPlan {
    ScaledReward<Scalar> kernel;
    RealVector instance_potential;

    void score(Index k, RealVector& out) const {
        kernel.column(k, out);
        out.array() += instance_potential[k];
    }
};

/// The limit of ExponentialPlan at alpha0 -> 0: feature d draws only on the instances where x_dk + g_k is largest.
template <BagScalar Scalar>
struct WinnersPlan {
    MatrixView<Scalar> reward;
    std::vector<Index> active;
    RealVector instance_potential;  ///< g_k
    RealVector log_weight;          ///< how winners of one feature share
    RealVector best;                ///< max_k x_dk + g_k

    void score(Index k, RealVector& out) const {
        const auto x = reward.col(active[static_cast<std::size_t>(k)]);
        out = ((x.array() + instance_potential[k]) >= best.array())
                  .select(RealVector::Constant(best.size(), log_weight[k]), -std::numeric_limits<Real>::infinity());
    }
};

/// A plan that only its own entries describe.
struct DensePlan {
    RealMatrix log_plan;  ///< D x active instances

    void score(Index k, RealVector& out) const { out = log_plan.col(k); }
};

/// log P_dn = score_dn + log_scale_d on the active instances, zero elsewhere; computed a column at a time.
///
/// The scores alone say how each feature weighs its instances, in a feature without mass (log_scale = -inf), too.
template <BagScalar Scalar>
class LogPlan {
public:
    using Form = std::variant<ExponentialPlan<Scalar>, WinnersPlan<Scalar>, DensePlan>;

    LogPlan() = default;
    LogPlan(Form form, RealVector log_scale, std::vector<Index> active)
        : form_(std::move(form)), log_scale_(std::move(log_scale)), active_(std::move(active)) {}

    const std::vector<Index>& active() const { return active_; }
    const RealVector& log_scale() const { return log_scale_; }
    Index features() const { return log_scale_.size(); }

    /// Calls visit(k, n, score of column k) for every active instance n in order; the score is a scratch vector.
    void for_each_column(const std::function<void(Index k, Index n, const RealVector& score)>& visit) const {
        RealVector score(features());
        std::visit(
            [&](const auto& form) {
                for (std::size_t k = 0; k < active_.size(); ++k) {
                    form.score(static_cast<Index>(k), score);
                    visit(static_cast<Index>(k), active_[k], score);
                }
            },
            form_);
    }

    /// max_k score_dk
    RealVector top() const {
        RealVector top = RealVector::Constant(features(), -std::numeric_limits<Real>::infinity());
        for_each_column([&](Index, Index, const RealVector& score) { top = top.cwiseMax(score); });
        return top;
    }

    /// LSE_k(score_dk)
    RealVector log_row_sums() const {
        const RealVector top = this->top();
        RealVector sum = RealVector::Zero(features());
        for_each_column(
            [&](Index, Index, const RealVector& score) { sum.array() += bounded_exp((score - top).array()); });
        return sum.array().log() + top.array();
    }

private:
    Form form_;
    RealVector log_scale_;
    std::vector<Index> active_;
};

}  // namespace otpool::detail
