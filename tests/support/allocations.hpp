#pragma once

#include <cstddef>

namespace tests {

/// Counts what is allocated through malloc, as Eigen does, and in total() through operator new, while it lives: by one
/// thread, one counter at a time.
///
/// Works where the linker wraps malloc (OTPOOL_WRAP_MALLOC); elsewhere nothing is counted.
class Allocations {
public:
#ifdef OTPOOL_WRAP_MALLOC
    static constexpr bool counted = true;
#else
    static constexpr bool counted = false;
#endif

    /// Blocks of at least `large_size` bytes count as large.
    explicit Allocations(std::size_t large_size);
    ~Allocations();
    Allocations(const Allocations&) = delete;
    Allocations& operator=(const Allocations&) = delete;

    std::size_t large() const;       ///< number of large blocks
    std::size_t total() const;       ///< number of blocks, those of operator new among them
    std::size_t bytes_held() const;  ///< allocated and not freed
};

/// Makes one allocation fail while it lives, as if there were no memory: the first one, the second one, ... as `number`
/// says. By one thread, and not beside Allocations. Works where that counts.
class FailingAllocation {
public:
    explicit FailingAllocation(std::size_t number);
    ~FailingAllocation();
    FailingAllocation(const FailingAllocation&) = delete;
    FailingAllocation& operator=(const FailingAllocation&) = delete;

    bool failed() const;                 ///< whether there were so many
    std::ptrdiff_t blocks_held() const;  ///< allocated and not freed
};

}  // namespace tests
