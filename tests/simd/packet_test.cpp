#include <Eigen/Core>
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
            const Matrix<Scalar> weights =
                Scalar(0.5) * random_vector<Scalar>(random, lanes * items).reshaped(lanes, items);
            const Vector<Scalar> half_of_items = Scalar(0.5) * of_items;
            const Vector<Scalar> half_of_lanes = Scalar(0.5) * of_lanes;
            std::vector<const Scalar*> values;
            for (Index i = 0; i < items; ++i) values.push_back(weights.col(i).data());
            const detail::TimesExcess<Scalar, true> above_items = {values.data(), half_of_items.data()};
            const detail::TimesExcess<Scalar, false> above_lanes = {values.data(), half_of_lanes.data()};
            Matrix<Scalar> weighted = M.cwiseProduct(weights.rowwise() - half_of_items.transpose());
            detail::multiply_transposed<Scalar>(M.data(), lanes, items, of_lanes.data(), by_item.data(), above_items);
            CHECK((by_item - weighted.transpose() * of_lanes).cwiseAbs().maxCoeff() <= tolerance);
            weighted = M.cwiseProduct(weights.colwise() - half_of_lanes);
            detail::multiply<Scalar>(M.data(), lanes, items, of_items.data(), by_lane.data(), above_lanes);
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

}  // namespace packet_test
