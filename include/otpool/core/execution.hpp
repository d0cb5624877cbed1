// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <utility>
#include <vector>

#include "otpool/core/matrix.hpp"

namespace otpool {

/// Runs task number `task` on worker number `worker`. Tasks that run at the same time have different workers.
using Task = std::function<void(Index task, Index worker)>;

/// How independent tasks are run:
///
///     workers()               the largest number of tasks at the same time, at least 1
///     for_each(count, task)   calls task(i, worker) for every i in [0, count), in any order, with worker in
///                             [0, workers()); returns when all have ended; tasks do not throw
///
/// Policies: Sequential here; OpenMp in adapter/openmp.hpp and OneTbb in adapter/onetbb.hpp.
template <class P>
concept ExecutionPolicy = requires(const P& policy, Index count, const Task& task) {
    { policy.workers() } -> std::convertible_to<Index>;
    policy.for_each(count, task);
};

/// One task after the other, on the calling thread.
struct Sequential {
    Index workers() const { return 1; }  ///< 1
    /// Calls task(i, 0) for i = 0, ..., count - 1.
    void for_each(Index count, const Task& task) const {
        for (Index i = 0; i < count; ++i) task(i, 0);
    }
};

namespace detail {

/// The exceptions that tasks threw. Every task has its own slot, so tasks do not wait for each other.
class TaskErrors {
public:
    explicit TaskErrors(Index tasks) : first_(tasks), errors_(static_cast<std::size_t>(tasks)) {}

    /// Runs the task, unless an earlier one has already thrown.
    void keep(Index task, const auto& run) {
        if (task > first_) return;
        try {
            run();
        } catch (...) {
            errors_[static_cast<std::size_t>(task)] = std::current_exception();
            Index first = first_;
            while (task < first && !first_.compare_exchange_weak(first, task)) {
            }
        }
    }
    void rethrow_first() const {
        for (const std::exception_ptr& error : errors_) {
            if (error) std::rethrow_exception(error);
        }
    }

private:
    std::atomic<Index> first_;
    std::vector<std::exception_ptr> errors_;
};

}  // namespace detail

/// Any execution policy; Sequential by default. Every policy gives the same bits: how a bag or batch is split depends
/// on its size alone, and partial sums are added in a fixed order.
class Execution {
public:
    Execution() = default;
    /// Runs tasks by `policy`.
    template <ExecutionPolicy P>
    Execution(P policy)  // NOLINT(google-explicit-constructor)
        : workers_(std::max<Index>(policy.workers(), 1)) {
        if constexpr (!std::same_as<P, Sequential>) {
            for_each_ = [policy = std::move(policy)](Index count, const Task& task) { policy.for_each(count, task); };
        }
    }

    /// The largest number of tasks at the same time, at least 1.
    Index workers() const { return workers_; }

    /// Calls task(i, worker) for every i in [0, count). If tasks throw, rethrows the exception of the smallest i.
    template <class AnyTask>
    void for_each(Index count, const AnyTask& task) const {
        run(count, std::cref(task));  // by reference, which allocates nothing
    }

private:
    void run(Index count, const Task& task) const {
        if (!for_each_ || count <= 1) return Sequential().for_each(count, task);
        detail::TaskErrors errors(count);
        for_each_(count, [&](Index i, Index worker) { errors.keep(i, [&] { task(i, worker); }); });
        errors.rethrow_first();
    }

    Index workers_ = 1;
    std::function<void(Index, const Task&)> for_each_ = {};
};

namespace detail {

/// A bag's instances split into at most 128 parts, one task each; a part has at least about 2^17 entries.
class InstanceParts {
public:
    /// The size of a part is a multiple of `multiple`.
    InstanceParts(Index rows, Index cols, Index multiple = 1) : cols_(cols) {
        constexpr Index entries = Index{1} << 17;
        constexpr Index most = 128;
        size_ = (std::max)({entries / std::max<Index>(rows, 1), (cols + most - 1) / most, Index{1}});
        size_ = (size_ + multiple - 1) / multiple * multiple;
    }

    Index count() const { return (cols_ + size_ - 1) / size_; }
    Index first(Index part) const { return part * size_; }
    Index end(Index part) const { return (std::min)(first(part) + size_, cols_); }
    Index size(Index part) const { return end(part) - first(part); }

private:
    Index cols_;
    Index size_;
};

}  // namespace detail
}  // namespace otpool
