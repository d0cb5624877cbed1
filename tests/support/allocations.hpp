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

}  // namespace tests
