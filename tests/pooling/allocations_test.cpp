#include "support/allocations.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

// A batch's memory is that of its largest bag: another bag takes none. Nor does another batch, where it is given that
// memory.

namespace allocations_test {

using namespace otpool;
using tests::Random;

/// Allocations of pooling 32 bags of 20 to 109 instances, so many times in one batch.
template <class Scalar, class Pooling>
std::size_t allocations(const Pooling& pooling, Index times) {
    std::vector<std::int64_t> offsets = {0};
    for (Index b = 0; b < 32; ++b) offsets.push_back(offsets.back() + 20 + (b * 37) % 90);
    const Index size = offsets.back();
    for (Index b = 0; b < 32 * (times - 1); ++b) {
        offsets.push_back(size + offsets[static_cast<std::size_t>(b) + 1]);
    }
    Matrix<Scalar> once(24, size);
    Random random(3);
    for (Scalar& entry : once.reshaped()) entry = static_cast<Scalar>(random.normal());
    const Matrix<Scalar> instances = once.replicate(1, times);
    const Bags<Scalar> bags(instances, offsets);
    Workspaces workspaces;
    const auto count = [&] {
        const tests::Allocations counter(1);
        const Matrix<Scalar> pooled = pooling(bags, workspaces);
        REQUIRE(pooled.allFinite());
        return counter.total();
    };
    const std::size_t first = count();
    CHECK(count() == 1);  // what is returned
    return first;
}

template <class Scalar>
void check(const auto& pooling) {
    if (!tests::Allocations::counted) return;
    const std::size_t once = allocations<Scalar>(pooling, 1);
    CHECK(once > 0);
    CHECK(allocations<Scalar>(pooling, 3) == once);
}

TEMPLATE_TEST_CASE("Another bag in a batch allocates nothing", "", float, double) {
    using Scalar = TestType;
    PoolingParameters<Scalar> parameters{.alpha0 = 1, .features = {.alpha = 1}, .instances = {.alpha = 1}};
    check<Scalar>(Pooling<Scalar>{.parameters = parameters, .solver = {{.iterations = 4}}});
    check<Scalar>(Pooling<Scalar>{.parameters = parameters});
    check<Scalar>(Pooling<Scalar, BregmanAdmm>{.parameters = parameters, .solver = {{.iterations = 4}}});
    parameters.features.prior = Vector<Scalar>::LinSpaced(24, 1, 2) / 36;
    check<Scalar>(Pooling<Scalar>{.parameters = parameters, .solver = {{.iterations = 4}}});
    check<Scalar>(mean_pooling<Scalar>());
    check<Scalar>(max_pooling<Scalar>());
    check<Scalar>(softmax_pooling<Scalar>(Scalar(0.5)));
}

}  // namespace allocations_test
