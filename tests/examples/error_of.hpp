#pragma once

#include <string>

#include "support/file_error.hpp"
#include "support/message_of.hpp"

namespace tests {

/// The message of the FileError that `action` throws.
template <class Action>
std::string error_of(const Action& action) {
    return message_of<support::FileError>(action);
}

}  // namespace tests
