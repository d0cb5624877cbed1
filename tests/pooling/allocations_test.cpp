#include "support/allocations.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

// A batch's memory is that of its largest bag: another bag takes none.

namespace allocations_test {

using namespace otpool;
using tests::Random;

/// Allocations of pooling a batch of so many bags of 20 to 109 instances, the largest among the first 32.
template <class Scalar, class Pooling>
std::size_t allocations(const Pooling& pooling, Index size) {
    std::vector<std::int64_t> offsets = {0};
    for (Index b = 0; b < size; ++b) offsets.push_back(offsets.back() + 20 + (b * 37) % 90 - (b >= 32 ? 5 : 0));
    Matrix<Scalar> instances(24, offsets.back());
    Random random(3);
    for (Scalar& entry : instances.reshaped()) entry = static_cast<Scalar>(random.normal());
    const Bags<Scalar> bags(instances, offsets);
    const tests::Allocations counter(1);
    const Matrix<Scalar> pooled = pooling(bags);
    REQUIRE(pooled.allFinite());
    return counter.total();
}

template <class Scalar>
void check(const auto& pooling) {
    if (!tests::Allocations::counted) return;
    const std::size_t of_32 = allocations<Scalar>(pooling, 32);
    CHECK(of_32 > 0);
    CHECK(allocations<Scalar>(pooling, 96) == of_32);
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
