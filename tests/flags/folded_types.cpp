// A program for the linker to fold: identical functions and data may get one address, and types must stay apart.
#include <cstdio>
#include <string>

#include "otpool/core/workspace.hpp"

namespace {

template <int number>
struct State {
    std::string name = "state " + std::to_string(number) + ", with a name too long to fit into the string itself";
};

template <int number>
bool is_apart(otpool::Workspace& workspace) {
    return workspace.get<State<number>>().name == State<number>().name;
}

}  // namespace

int main() {
    otpool::Workspace workspace;
    const bool apart =
        is_apart<1>(workspace) && is_apart<2>(workspace) && is_apart<3>(workspace) && is_apart<1>(workspace);
    std::puts(apart ? "types stay apart" : "types share memory");
    return apart ? 0 : 1;
}
