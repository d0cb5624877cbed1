// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <limits>
#include <vector>

#include "otpool/solver/options.hpp"
#include "otpool/solver/solution.hpp"

namespace otpool {
namespace detail {

/// Counts iterations, keeps what is asked for of their residuals and decides when to end.
class Iterations {
public:
    Iterations(const Options& options, double tolerance, int default_limit, const Observer& observer)
        : fixed_(options.iterations.has_value()),
          keep_history_(options.history),
          limit_(options.iterations.value_or(options.max_iterations.value_or(default_limit))),
          tolerance_(tolerance),
          observer_(observer) {}

    bool again() const { return running_ && count_ < limit_; }
    /// Whether the coming iteration's residual will be used.
    bool wants_residual() const { return !fixed_ || keep_history_ || observer_ || count_ + 1 == limit_; }
    double tolerance() const { return tolerance_; }
    int remaining() const { return limit_ - count_; }

    /// Closes an iteration. `attainable`: what rounding leaves of the residual at best.
    void record(double residual, double attainable) {
        ++count_;
        residual_ = finite(residual);
        if (keep_history_) history_.push_back(residual_);
        if (residual_ <= tolerance_) {
            end(Status::converged);
        } else if (residual_ <= attainable) {
            end(Status::precision_limit);
        } else {
            status_ = Status::iteration_limit;
        }
        if (observer_ && observer_(count_, residual_)) {
            running_ = false;
            if (status_ == Status::iteration_limit) status_ = Status::stopped;
        }
    }
    void skip() { ++count_; }

    template <class Scalar, class R>
    void report(Solution<Scalar, R>& solution) const {
        solution.status = status_;
        solution.iterations = count_;
        solution.residual = residual_;
        solution.history = history_;
    }

private:
    static double finite(double residual) {
        return residual < std::numeric_limits<double>::max() ? residual : std::numeric_limits<double>::max();
    }
    void end(Status status) {
        status_ = status;
        running_ = running_ && fixed_;
    }

    bool fixed_;
    bool keep_history_;
    int limit_;
    double tolerance_;
    const Observer& observer_;
    int count_ = 0;
    double residual_ = std::numeric_limits<double>::max();
    std::vector<double> history_;
    Status status_ = Status::iteration_limit;
    bool running_ = true;
};

}  // namespace detail
}  // namespace otpool
