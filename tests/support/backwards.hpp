#pragma once

#include "otpool/core/execution.hpp"
#include "otpool/core/matrix.hpp"

namespace tests {

/// An execution policy of three workers that runs the last task first.
struct Backwards {
    otpool::Index workers() const { return 3; }
    void for_each(otpool::Index count, const otpool::Task& task) const {
        for (otpool::Index i = count; i-- > 0;) task(i, i % 3);
    }
};

}  // namespace tests
