#pragma once

#include <string>

namespace tests {

/// The message of the Exception that `action` throws, or "no error". Exceptions of other types pass.
template <class Exception, class Action>
std::string message_of(const Action& action) {
    try {
        action();
    } catch (const Exception& error) {
        return error.what();
    }
    return "no error";
}

}  // namespace tests
