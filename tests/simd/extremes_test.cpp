#include "otpool/simd/extremes.hpp"

#include <Eigen/Core>
#include <algorithm>

#include "otpool/core/matrix.hpp"
#include "otpool/simd/packet.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

// Held to the standard library's search.

namespace extremes_test {

using namespace otpool;
using tests::Random;

template <class Numbers>
void check(const Numbers& numbers) {
    CHECK(detail::highest_of(numbers) == *std::max_element(numbers.data(), numbers.data() + numbers.size()));
    CHECK(detail::lowest_of(numbers) == *std::min_element(numbers.data(), numbers.data() + numbers.size()));
}

TEMPLATE_TEST_CASE("The highest and the lowest number, wherever they are", "", float, double) {
    using Scalar = TestType;
    using Lanes = Eigen::Array<Scalar, detail::register_lanes, 1>;
    Random random(1);
    for (Index size = 1; size <= 5 * detail::register_lanes; ++size) {
        for (Index at = 0; at < size; ++at) {
            for (const Scalar outlier : {Scalar(9), Scalar(-9)}) {
                for (const Scalar level : {Scalar(-20), Scalar(0), Scalar(20)}) {
                    Vector<Scalar> numbers(size);
                    for (Scalar& number : numbers) number = level + static_cast<Scalar>(random.normal());
                    numbers[at] += outlier;
                    check(numbers);
                    if (size == detail::register_lanes) check(Lanes(numbers.array()));
                }
            }
        }
    }
}

}  // namespace extremes_test
