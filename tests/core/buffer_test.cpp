#include "otpool/core/buffer.hpp"

#include <utility>

#include "support/catch.hpp"

// A vector whose memory outlives its size, on its way from place to place.

namespace buffer_test {

using namespace otpool;
using detail::Buffer;

TEST_CASE("A buffer keeps its memory: smaller, larger again, and moved") {
    Buffer<double> buffer = Vector<double>::LinSpaced(9, 1, 9);
    const double* const memory = buffer.data();
    buffer.resize(3);
    buffer.resize(9);
    CHECK(buffer.data() == memory);
    CHECK(buffer[8] == 9);

    Buffer<double> moved = std::move(buffer);
    CHECK(moved.data() == memory);
    CHECK(moved.size() == 9);
    CHECK(moved.sum() == 45);
    CHECK(buffer.size() == 0);  // NOLINT(bugprone-use-after-move): it is as new

    Buffer<double> other = Vector<double>::Constant(2, 7);
    other = std::move(moved);
    CHECK(other.data() == memory);
    CHECK(other.sum() == 45);

    // NOLINTNEXTLINE(performance-unnecessary-copy-initialization): the copy is what is tested
    const Buffer<double> copied = other;
    CHECK(copied.data() != memory);
    CHECK(copied == other);
    other.resize(20);
    other.setOnes();
    CHECK(other.sum() == 20);
    CHECK(copied.sum() == 45);
}

}  // namespace buffer_test
