// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "otpool/core/execution.hpp"

namespace otpool {

/// Memory that one solve leaves for the next: one object of each type that a solver asks for. Two solves must not use
/// it at the same time.
class Workspace {
public:
    /// The object of type State, as the last solve left it; State() the first time.
    template <class State>
    State& get() {
        const void* const type = &type_of<State>;
        for (const auto& state : states_) {
            if (state->type == type) return static_cast<Of<State>&>(*state).state;
        }
        states_.push_back(std::make_unique<Of<State>>(type));
        return static_cast<Of<State>&>(*states_.back()).state;
    }

private:
    /// Its address identifies the type. Not a constant: linkers may give identical constants the same address.
    template <class State>
    inline static char type_of = 0;

    struct Any {
        const void* type;
        explicit Any(const void* type_) : type(type_) {}
        Any(const Any&) = delete;
        Any& operator=(const Any&) = delete;
        virtual ~Any() = default;
    };
    template <class State>
    struct Of : Any {
        using Any::Any;
        State state;
    };

    std::vector<std::unique_ptr<Any>> states_;
};

/// One workspace per worker of an execution: memory that one batch leaves for the next. A batch without it takes memory
/// from the system and returns it, which for large bags costs up to a third of the time. Two batches must not use it at
/// the same time.
class Workspaces {
public:
    /// Makes a workspace for every worker of `execution`.
    void prepare(const Execution& execution) {
        const auto workers = static_cast<std::size_t>(execution.workers());
        if (of_workers_.size() < workers) of_workers_.resize(workers);
    }
    /// The workspace of one worker.
    Workspace& of(Index worker) { return of_workers_[static_cast<std::size_t>(worker)]; }

private:
    std::vector<Workspace> of_workers_;
};

}  // namespace otpool
