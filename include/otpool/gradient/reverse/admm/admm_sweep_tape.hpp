// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <vector>

#include "otpool/core/any_view.hpp"
#include "otpool/core/matrix.hpp"
#include "otpool/gradient/reverse/parameter_sets.hpp"
#include "otpool/problem/inspection.hpp"
#include "otpool/problem/priors.hpp"
#include "otpool/solver/admm/admm_duals.hpp"
#include "otpool/solver/admm/admm_step.hpp"
#include "otpool/solver/admm/admm_sweep.hpp"

namespace otpool::detail {

/// The tape of K steps of AdmmSweep, of which only what the last one pools is wanted.
///
/// Memory: 3 (D + N) doubles a step, and D N numbers of Work every eight steps. All else is computed again, which is
/// faster than to store and read it.
template <BagScalar Work>
struct AdmmSweepTape {
    AnyView reward, values;  ///< The values are empty where they are the reward.
    Priors priors;
    ParameterSets parameters;
    Real prior_weight = 0;  ///< The regulariser's.
    RealVector top = {};    ///< The highest reward of every feature.
    Real range = 0;         ///< The highest reward less the lowest.
    AdmmDuals<Work> duals = {};
    RealVector mean = {};  ///< What is pooled.

    AdmmSweepTape(const Inspection& problem, const ParameterSets& parameters_, int steps)
        : reward(problem.reward),
          values(problem.values),
          priors(problem.priors),
          parameters(parameters_),
          prior_weight(problem.regularizer.prior_weight),
          top(problem.highest),
          range(problem.range()) {
        slopes_.reserve(static_cast<std::size_t>(steps));
        of_rows_.resize(3 * rows(), steps);
        of_cols_.resize(3 * padded_cols(), steps);
    }

    Index rows() const { return priors.log_p.size(); }
    Index cols() const { return priors.log_q.size(); }
    Index padded_cols() const { return padded(cols()); }
    Index steps() const { return static_cast<Index>(slopes_.size()); }

    /// Keeps the sweep's last step.
    void keep(const AdmmSweep<Work>& sweep) {
        const AdmmStep step = sweep.last_step();
        Real* row = of_rows_.data() + steps() * of_rows_.rows();
        Real* col = of_cols_.data() + steps() * of_cols_.rows();
        slopes_.push_back({step.rho, step.transport.slope, step.smooth.slope});
        for (const Real* v : {step.transport.row, step.smooth.row, step.log_row_sum}) row = std::copy_n(v, rows(), row);
        for (const Real* v : {step.transport.col, step.smooth.col, step.log_col_sum}) {
            col = std::copy_n(v, padded_cols(), col);
        }
    }

    AdmmStep step(Index k) const {
        const auto& [rho, transport, smooth] = slopes_[static_cast<std::size_t>(k)];
        const Real* row = of_rows_.data() + k * of_rows_.rows();
        const Real* col = of_cols_.data() + k * of_cols_.rows();
        return {rho,
                {transport, row, col},
                {smooth, row + rows(), col + padded_cols()},
                row + 2 * rows(),
                col + 2 * padded_cols()};
    }

    /// Of all steps but the last, which moves no dual.
    void set_gaps(std::vector<typename AdmmDuals<Work>::Gap>& gaps) const {
        gaps.resize(slopes_.size() - 1);
        for (Index k = 0; k + 1 < steps(); ++k) {
            const AdmmStep step = this->step(k);
            gaps[static_cast<std::size_t>(k)].set(step.transport, step.smooth, rows(), padded_cols(), step.rho);
        }
    }

    /// The largest slope that x has in an exponent.
    Real steepest() const {
        Real largest = 0;
        for (const Slopes& of_step : slopes_) largest = (std::max)(largest, of_step.transport);
        return largest;
    }

private:
    struct Slopes {
        Real rho, transport, smooth;
    };

    std::vector<Slopes> slopes_;
    RealMatrix of_rows_, of_cols_;  ///< AdmmStep's three vectors, a column a step.
};

}  // namespace otpool::detail
