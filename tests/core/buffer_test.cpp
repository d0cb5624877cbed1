#include "otpool/core/buffer.hpp"

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "support/catch.hpp"

// An array whose memory outlives its size, on its way from place to place.

namespace buffer_test {

using namespace otpool;
using detail::Buffer;

double sum(const Buffer<double>& buffer) { return std::accumulate(buffer.begin(), buffer.end(), 0.0); }

TEST_CASE("A buffer keeps its memory: smaller, larger again, and moved") {
    Buffer<double> buffer;
    CHECK(buffer.size() == 0);
    buffer.resize(9);
    std::iota(buffer.begin(), buffer.end(), 1);
    const double* const memory = buffer.data();
    buffer.resize(3);
    buffer.resize(9);
    CHECK(buffer.data() == memory);
    CHECK(buffer[8] == 9);

    Buffer<double> moved = std::move(buffer);
    CHECK(moved.data() == memory);
    CHECK(moved.size() == 9);
    CHECK(sum(moved) == 45);
    CHECK(buffer.size() == 0);  // NOLINT(bugprone-use-after-move): it is as new

    Buffer<double> other;
    other.assign(2, 7);
    CHECK(sum(other) == 14);
    other = std::move(moved);
    CHECK(other.data() == memory);
    CHECK(sum(other) == 45);

    // NOLINTNEXTLINE(performance-unnecessary-copy-initialization): the copy is what is tested
    const Buffer<double> copied = other;
    CHECK(copied.data() != memory);
    CHECK(std::vector(copied.begin(), copied.end()) == std::vector(other.begin(), other.end()));
    other.assign(20, 1);
    CHECK(sum(other) == 20);
    CHECK(sum(copied) == 45);
    const double* const larger = other.data();
    other = copied;
    CHECK(other.data() == larger);
    CHECK(sum(other) == 45);
    other = *&other;
    CHECK(sum(other) == 45);
}

TEMPLATE_TEST_CASE("A buffer's memory is aligned to registers", "", float, double) {
    for (Index size = 1; size < 20; ++size) {
        Buffer<TestType> buffer;
        buffer.resize(size);
        CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % EIGEN_DEFAULT_ALIGN_BYTES == 0);
    }
}

}  // namespace buffer_test
