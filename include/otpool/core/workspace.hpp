// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <memory>
#include <utility>
#include <vector>

namespace otpool {

/// The memory of one solve that the next one uses again: an object of each type that a solver asks for. Not to be used by
/// two solves at the same time.
class Workspace {
public:
    /// As the last solve left it; where there was none, State().
    template <class State>
    State& get() {
        const void* const type = &type_of<State>;
        for (const auto& [known, state] : states_) {
            if (known == type) return *static_cast<State*>(state.get());
        }
        const auto state = std::make_shared<State>();
        states_.emplace_back(type, state);
        return *state;
    }

private:
    template <class State>
    static constexpr char type_of = 0;  ///< Its address names the type.

    std::vector<std::pair<const void*, std::shared_ptr<void>>> states_;
};

}  // namespace otpool
