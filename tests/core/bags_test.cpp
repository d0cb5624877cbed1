#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "otpool/core/bags.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"

using otpool::Bag;
using otpool::Bags;
using otpool::Index;
using otpool::InvalidArgument;
using otpool::Matrix;
using otpool::MatrixView;
using otpool::Vector;
using tests::message_of;

namespace bags_test {

using Offsets = std::vector<std::int64_t>;

/// 3 x 6, entry (d, n) is 10 d + n.
template <class Scalar>
Matrix<Scalar> six_instances() {
    return Matrix<Scalar>::NullaryExpr(3, 6, [](Index d, Index n) { return static_cast<Scalar>(10 * d + n); });
}

std::string refusal_of(const Offsets& offsets) {
    return message_of<InvalidArgument>([&] { Bags<double>(six_instances<double>(), offsets); });
}

TEMPLATE_TEST_CASE("Bag b is the columns from offset b to offset b + 1, where they are", "", float, double) {
    const Matrix<TestType> instances = six_instances<TestType>();
    const Bags<TestType> bags(instances, {0, 2, 2, 5, 6});
    REQUIRE(bags.size() == 4);
    CHECK(bags.features() == 3);
    const std::vector<Index> first = {0, 2, 2, 5};
    const std::vector<Index> size = {2, 0, 3, 1};
    for (Index b = 0; b < 4; ++b) {
        const auto at = static_cast<std::size_t>(b);
        CHECK(bags.bag_size(b) == size[at]);
        const Bag<TestType> bag = bags[b];
        REQUIRE(bag.instances.rows() == 3);
        REQUIRE(bag.instances.cols() == size[at]);
        CHECK(bag.reward.empty());
        CHECK(bag.prior.size() == 0);
        for (Index n = 0; n < size[at]; ++n) {
            for (Index d = 0; d < 3; ++d) {
                CHECK(&bag.instances.matrix().coeffRef(d, n) == &instances(d, first[at] + n));
            }
        }
    }
}

TEMPLATE_TEST_CASE("Offsets are integers of any type", "", int, short, unsigned, std::int64_t, std::uint64_t,
                   std::uint8_t) {
    const Matrix<float> instances = six_instances<float>();
    const std::vector<TestType> offsets = {0, 2, 2, 5, 6};
    const Bags bags(instances, offsets);
    const Bags with_all(MatrixView<float>(instances), offsets, MatrixView<float>(instances),
                        Vector<float>::Ones(6).eval());
    static_assert(std::is_same_v<decltype(bags), const Bags<float>>);
    static_assert(std::is_same_v<decltype(with_all), const Bags<float>>);
    REQUIRE(bags.size() == 4);
    for (Index b = 0; b < 4; ++b) {
        const auto at = static_cast<std::size_t>(b);
        CHECK(bags.first_instance(b) == Index(offsets[at]));
        CHECK(with_all.bag_size(b) == Index(offsets[at + 1]) - Index(offsets[at]));
    }
    const std::vector<TestType> too_few = {0, 5};
    CHECK(message_of<InvalidArgument>([&] { Bags(instances, too_few); }) ==
          "offsets[1] is 5; allowed: the number of instances, 6");
}

TEST_CASE("Offsets too large for signed integers are refused") {
    const std::vector<std::uint64_t> offsets = {0, ~std::uint64_t{0}, 6};
    CHECK(message_of<InvalidArgument>([&] { Bags(six_instances<float>(), offsets); }) ==
          "offsets[1] is -1; allowed: at least offsets[0] = 0");
}

TEMPLATE_TEST_CASE("Reward and prior are cut as the instances are", "", float, double) {
    const Matrix<TestType> instances = six_instances<TestType>();
    const Matrix<TestType> reward = -instances;
    const Vector<TestType> prior = Vector<TestType>::LinSpaced(6, 1, 6);
    const Bags<TestType> bags(instances, {0, 2, 2, 5, 6}, reward, prior);
    const Bag<TestType> bag = bags[2];
    CHECK(&bag.reward.matrix().coeffRef(1, 0) == &reward(1, 2));
    CHECK(bag.reward.matrix() == reward.middleCols(2, 3));
    CHECK(bag.prior == prior.segment(2, 3));
    CHECK(bags[0].prior == prior.head(2));
    CHECK(bags[3].reward.matrix() == reward.rightCols(1));
}

TEMPLATE_TEST_CASE("The scalar of a batch is that of its instances", "", float, double) {
    using Scalar = TestType;
    using RowMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const Matrix<Scalar> instances = six_instances<Scalar>();
    const Offsets offsets = {0, 6};
    const Eigen::Map<const RowMajor> numpy(instances.data(), 6, 3);
    const MatrixView<Scalar> view = instances;

    const Bags of_matrix{instances, offsets};
    const Bags of_temporary{six_instances<Scalar>(), {0, 2, 6}};
    const Bags of_map{numpy.transpose(), offsets};
    const Bags of_block{instances.leftCols(4), {0, 4}};
    const Bags of_expression{2 * instances, offsets, instances};
    const Bags of_view{view, offsets};
    const Bags with_all{instances, offsets, 2 * instances, Vector<Scalar>::Constant(6, Scalar(1) / 6)};
    static_assert(std::is_same_v<decltype(of_matrix), const Bags<Scalar>>);
    static_assert(std::is_same_v<decltype(of_temporary), const Bags<Scalar>>);
    static_assert(std::is_same_v<decltype(of_map), const Bags<Scalar>>);
    static_assert(std::is_same_v<decltype(of_block), const Bags<Scalar>>);
    static_assert(std::is_same_v<decltype(of_expression), const Bags<Scalar>>);
    static_assert(std::is_same_v<decltype(of_view), const Bags<Scalar>>);
    static_assert(std::is_same_v<decltype(with_all), const Bags<Scalar>>);

    CHECK(of_map[0].instances.matrix().data() == instances.data());
    CHECK(of_map[0].instances.matrix() == instances);
    CHECK(of_view[0].instances.matrix().data() == instances.data());
    CHECK(of_temporary[1].instances.matrix() == instances.rightCols(4));
    CHECK(of_expression[0].instances.matrix() == 2 * instances);
    CHECK(of_expression[0].reward.matrix().data() == instances.data());
    CHECK(with_all[0].reward.matrix() == 2 * instances);
    CHECK(with_all[0].prior.size() == 6);
}

TEST_CASE("A bag of temporary instances outlives its batch") {
    const Bag<double> bag = Bags<double>(six_instances<double>(), {0, 2, 6})[1];
    CHECK(bag.instances.matrix() == six_instances<double>().rightCols(4));
}

TEST_CASE("A batch may have no bags, or none but empty ones") {
    const Bags<double> none(Matrix<double>(3, 0), {0});
    CHECK(none.size() == 0);
    CHECK(none.features() == 3);
    const Bags<double> empty(Matrix<double>(3, 0), {0, 0, 0});
    CHECK(empty.size() == 2);
    CHECK(empty[1].instances.cols() == 0);
    CHECK(empty[1].instances.rows() == 3);
}

TEST_CASE("Offsets that do not cut the instances into bags are refused") {
    CHECK(refusal_of({0, 2, 6}) == "no error");
    CHECK(refusal_of({}) == "offsets is empty; allowed: B + 1 entries for B bags");
    CHECK(refusal_of({1, 6}) == "offsets[0] is 1; allowed: 0");
    CHECK(refusal_of({-1, 6}) == "offsets[0] is -1; allowed: 0");
    CHECK(refusal_of({0, 4, 3, 6}) == "offsets[2] is 3; allowed: at least offsets[1] = 4");
    CHECK(refusal_of({0, -2, 6}) == "offsets[1] is -2; allowed: at least offsets[0] = 0");
    CHECK(refusal_of({0, 9, 6}) == "offsets[2] is 6; allowed: at least offsets[1] = 9");
    CHECK(refusal_of({0, 4, 5}) == "offsets[2] is 5; allowed: the number of instances, 6");
    CHECK(refusal_of({0, 7}) == "offsets[1] is 7; allowed: the number of instances, 6");
    CHECK(refusal_of({0}) == "offsets[0] is 0; allowed: the number of instances, 6");
}

TEMPLATE_TEST_CASE("Reward and prior must fit the instances", "", float, double) {
    const Matrix<TestType> X = six_instances<TestType>();
    const auto refusal = [&](const MatrixView<TestType>& reward, const Vector<TestType>& prior) {
        return message_of<InvalidArgument>([&] { Bags<TestType>(X, {0, 6}, reward, prior); });
    };
    CHECK(refusal(X, {}) == "no error");
    CHECK(refusal(X.leftCols(5), {}) == "columns of the reward is 5; allowed: 6, those of the instances");
    CHECK(refusal(X.transpose(), {}) == "columns of the reward is 3; allowed: 6, those of the instances");
    CHECK(refusal({}, Vector<TestType>::Ones(5)) ==
          "length of the instance prior is 5; allowed: 6, the number of instances");
    CHECK(refusal({}, Vector<TestType>::Ones(7)) ==
          "length of the instance prior is 7; allowed: 6, the number of instances");
}

TEMPLATE_TEST_CASE("Bags of indices are the columns that are listed", "", float, double) {
    using RowMajor = Eigen::Matrix<TestType, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    const RowMajor instances = six_instances<TestType>();
    const Matrix<TestType> reward = -instances;
    const Vector<TestType> prior = Vector<TestType>::LinSpaced(4, 1, 4);
    const auto bags = Bags<TestType>::of_indices(instances, {5, 0, 3, 5}, {0, 2, 2, 4}, reward, prior);
    CHECK(bags.size() == 3);
    CHECK(bags.total_size() == 4);
    CHECK(bags.bag_size(1) == 0);
    CHECK(bags.first_instance(2) == 2);
    otpool::detail::BagMemory<TestType> memory;
    const auto check = [&](const Bag<TestType>& bag, Index first, Index second, Index b) {
        REQUIRE(bag.instances.cols() == 2);
        CHECK(bag.instances.matrix().col(0) == instances.col(first));
        CHECK(bag.instances.matrix().col(1) == instances.col(second));
        CHECK(bag.reward.matrix() == -bag.instances.matrix());
        CHECK(bag.prior == prior.segment(b, 2));
    };
    for (int again = 0; again < 2; ++again) {
        check(bags.in_memory(0, memory), 5, 0, 0);
        check(bags.in_memory(2, memory), 3, 5, 2);
        check(bags[0], 5, 0, 0);
        check(bags[2], 3, 5, 2);
        CHECK(bags[1].instances.cols() == 0);
        CHECK(bags.in_memory(1, memory).instances.rows() == 3);
    }
    CHECK(!Bags<TestType>(instances, {0, 6}).indices());
}

TEST_CASE("Indices that are no columns, or do not fit the offsets, are refused") {
    const auto refusal = [](const Offsets& indices, const Offsets& offsets, Index priors = 0) {
        return message_of<InvalidArgument>([&] {
            Bags<double>::of_indices(six_instances<double>(), indices, offsets, {}, Vector<double>::Ones(priors));
        });
    };
    CHECK(refusal({5, 0}, {0, 1, 2}, 2) == "no error");
    CHECK(refusal({}, {0, 0}) == "no error");
    CHECK(refusal({5, 6}, {0, 1, 2}) == "indices[1] is 6; allowed: 0 to 5, a column of the instances");
    CHECK(refusal({-1}, {0, 1}) == "indices[0] is -1; allowed: 0 to 5, a column of the instances");
    CHECK(refusal({5, 0}, {0, 6}) == "offsets[1] is 6; allowed: the number of indices, 2");
    CHECK(refusal({5, 0}, {0, 2}, 6) == "length of the instance prior is 6; allowed: 2, the number of indices");
}

}  // namespace bags_test
