#include <Eigen/Core>
#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

#include "otpool/simd/packet.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

// Held to Eigen's own products.

namespace packet_test {

using namespace otpool;
using tests::Random;

template <class Scalar>
Vector<Scalar> random_vector(Random& random, Index size) {
    Vector<Scalar> vector(size);
    for (Scalar& entry : vector) entry = static_cast<Scalar>(random.normal());
    return vector;
}

TEMPLATE_TEST_CASE("Products of lanes and items are Eigen's", "", float, double) {
    using Scalar = TestType;
    const Scalar tolerance = 100 * Eigen::NumTraits<Scalar>::epsilon();
    Random random(1);
    for (Index lanes = detail::register_lanes; lanes <= 9 * detail::register_lanes; lanes += detail::register_lanes) {
        for (Index items = 1; items <= 21; ++items) {
            const Matrix<Scalar> M = random_vector<Scalar>(random, lanes * items).reshaped(lanes, items);
            const Vector<Scalar> of_lanes = random_vector<Scalar>(random, lanes);
            const Vector<Scalar> of_items = random_vector<Scalar>(random, items);
            Vector<Scalar> by_item(items);
            detail::multiply_transposed<Scalar>(M.data(), lanes, items, of_lanes.data(), by_item.data());
            CHECK((by_item - M.transpose() * of_lanes).cwiseAbs().maxCoeff() <= tolerance);
            Vector<Scalar> by_lane(lanes);
            detail::multiply<Scalar>(M.data(), lanes, items, of_items.data(), by_lane.data());
            CHECK((by_lane - M * of_items).cwiseAbs().maxCoeff() <= tolerance);
            const Matrix<Scalar> weights = random_vector<Scalar>(random, lanes * items).reshaped(lanes, items);
            const auto weigh = [&](const auto& weight, Index lane, Index item) {
                using namespace Eigen::internal;
                return pmul(weight, ploadu<detail::Packet<Scalar>>(&weights(lane, item)));
            };
            const Matrix<Scalar> weighted = M.cwiseProduct(weights);
            detail::multiply_transposed<Scalar>(M.data(), lanes, items, of_lanes.data(), by_item.data(), weigh);
            CHECK((by_item - weighted.transpose() * of_lanes).cwiseAbs().maxCoeff() <= tolerance);
            detail::multiply<Scalar>(M.data(), lanes, items, of_items.data(), by_lane.data(), weigh);
            CHECK((by_lane - weighted * of_items).cwiseAbs().maxCoeff() <= tolerance);
            using detail::Assign;
            by_item = random_vector<Scalar>(random, items);
            const Vector<Scalar> items_with_product = by_item + M.transpose() * of_lanes;
            detail::multiply_transposed<Scalar, Assign::add>(M.data(), lanes, items, of_lanes.data(), by_item.data());
            CHECK((by_item - items_with_product).cwiseAbs().maxCoeff() <= tolerance);
            by_lane = random_vector<Scalar>(random, lanes);
            const Vector<Scalar> lanes_with_product = by_lane + M * of_items;
            detail::multiply<Scalar, Assign::add>(M.data(), lanes, items, of_items.data(), by_lane.data());
            CHECK((by_lane - lanes_with_product).cwiseAbs().maxCoeff() <= tolerance);
        }
    }
}

TEMPLATE_TEST_CASE("Numbers are finite or one of them is not", "", float, double) {
    using Scalar = TestType;
    constexpr Index size = detail::packet_size<Scalar>;
    const auto all_finite = [](const Vector<Scalar>& numbers) {
        detail::FiniteCheck<Scalar> check;
        check.add(Eigen::internal::ploadu<detail::Packet<Scalar>>(numbers.data()));
        for (Index i = size; i < numbers.size(); ++i) check.add(numbers[i]);
        return check.all_finite();
    };
    using Limits = std::numeric_limits<Scalar>;
    Vector<Scalar> numbers(size + 2);
    numbers.setConstant(Limits::max());
    numbers[0] = -Limits::max();
    numbers[1] = Limits::denorm_min();
    CHECK(all_finite(numbers));
    for (const Scalar wrong : {Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN()}) {
        for (Index i = 0; i < numbers.size(); ++i) {
            Vector<Scalar> with_wrong = numbers;
            with_wrong[i] = wrong;
            CHECK(!all_finite(with_wrong));
        }
    }
}

TEMPLATE_TEST_CASE("A row is copied from memory of any layout", "", float, double) {
    using Scalar = TestType;
    using RowMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    Random random(2);
    const Matrix<Scalar> by_column = random_vector<Scalar>(random, 7 * 60).reshaped(7, 60);
    const RowMajor by_row = by_column;
    const std::vector<std::vector<Index>> gaps = {{}, {20}, {0, 33, 59}};
    for (const MatrixView<Scalar>& matrix : {MatrixView<Scalar>(by_column), MatrixView<Scalar>(by_row)}) {
        for (const std::vector<Index>& left_out : gaps) {
            std::vector<Index> cols;
            for (Index col = 0; col < 60; ++col) {
                if (std::find(left_out.begin(), left_out.end(), col) == left_out.end()) cols.push_back(col);
            }
            for (std::size_t first : {0U, 1U, 15U}) {
                for (Index count = 0; count <= 40; ++count) {
                    std::vector<Scalar> row(static_cast<std::size_t>(count) + 1, Scalar(-100));
                    detail::copy_row(matrix, 3, cols.data() + first, count, row.data());
                    CHECK(row.back() == -100);  // no more is written
                    bool same = true;
                    for (std::size_t i = 0; i + 1 < row.size(); ++i) same &= row[i] == by_column(3, cols[first + i]);
                    CHECK(same);
                }
            }
        }
    }
}

}  // namespace packet_test
