// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "otpool/core/execution.hpp"

namespace otpool {

/// The memory of one solve that the next one uses again: an object of each type that a solver asks for. Not to be used
/// by two solves at the same time.
class Workspace {
public:
    /// As the last solve left it; where there was none, State().
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
    /// Its address names the type. A variable, as linkers that fold identical data may give constants one address.
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

/// A workspace for each worker of an execution: the memory of a batch that the next one uses again. Batches that are
/// given none take it from the system and return it, which costs large bags up to a third of the time. Not to be used
/// by two batches at the same time.
class Workspaces {
public:
    /// For the workers that there will be.
    void prepare(const Execution& execution) {
        const auto workers = static_cast<std::size_t>(execution.workers());
        if (of_workers_.size() < workers) of_workers_.resize(workers);
    }
    Workspace& of(Index worker) { return of_workers_[static_cast<std::size_t>(worker)]; }

private:
    std::vector<Workspace> of_workers_;
};

}  // namespace otpool
