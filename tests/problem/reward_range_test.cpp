#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "otpool/problem/inspection.hpp"
#include "otpool/solver/sinkhorn.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"

// What solvers learn of a reward in one pass, whatever its size and layout.

namespace reward_range_test {

using namespace otpool;
using detail::RewardRange;

std::vector<Index> every_other(Index cols, bool all) {
    std::vector<Index> active;
    for (Index n = 0; n < cols; n += all ? 1 : 2) active.push_back(n);
    return active;
}

TEMPLATE_TEST_CASE("The range of a reward is that of its entries, one by one", "", float, double) {
    using Scalar = TestType;
    using RowMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    tests::Random random(1);
    for (const Index D : {1, 2, 3, 8, 15, 16, 17, 40, 63, 64, 100, 500, 1030}) {
        for (const Index N : {1, 2, 5, 64, 129, 700}) {
            Matrix<Scalar> bag(D, N);
            for (Scalar& entry : bag.reshaped()) entry = static_cast<Scalar>(random.normal());
            const RowMajor by_rows = bag;
            for (const bool all : {true, false}) {
                INFO(D << " x " << N << (all ? "" : ", every other instance"));
                const std::vector<Index> active = every_other(N, all);
                const Matrix<Scalar> seen = bag(Eigen::all, active);
                for (const MatrixView<Scalar>& view : {MatrixView<Scalar>(bag), MatrixView<Scalar>(by_rows)}) {
                    const RewardRange<Scalar> range(view, active, {});
                    const Vector<Scalar> highest = seen.rowwise().maxCoeff();
                    CHECK(std::equal(highest.begin(), highest.end(), range.highest.begin(), range.highest.end()));
                    CHECK(range.lowest == seen.minCoeff());
                    CHECK(range.all_finite);
                }
            }
        }
    }
}

TEMPLATE_TEST_CASE("One entry that is not finite is found wherever it is", "", float, double) {
    using Scalar = TestType;
    constexpr Scalar inf = std::numeric_limits<Scalar>::infinity();
    for (const Index D : {1, 3, 16, 21, 64}) {
        for (const Index N : {1, 4, 70}) {
            Matrix<Scalar> bag = Matrix<Scalar>::Constant(D, N, Scalar(0.5));
            const std::vector<Index> active = every_other(N, true);
            for (Index i = 0; i < bag.size(); ++i) {
                for (const Scalar bad : {inf, -inf, std::numeric_limits<Scalar>::quiet_NaN()}) {
                    bag.data()[i] = bad;
                    const RewardRange<Scalar> range(bag, active, {});
                    if (range.all_finite)
                        FAIL_CHECK(bad << " at " << i << " of " << D << " x " << N << " was not found");
                }
                bag.data()[i] = Scalar(0.5);
            }
        }
    }
    SUCCEED();
}

TEST_CASE("A reward is finite for excluded instances, too") {
    Matrix<double> bag = Matrix<double>::Zero(2, 3);
    bag(1, 2) = std::numeric_limits<double>::quiet_NaN();
    UotProblem<double> problem{.reward = bag, .instances = {.alpha = 1, .prior = Vector<double>{{0.5, 0.5, 0}}}};
    const auto message = tests::message_of<InvalidArgument>([&] { static_cast<void>(Sinkhorn{}.solve(problem)); });
    CHECK(message ==
          "reward at feature 1, instance 2 is nan; allowed: finite numbers, or -inf for a pair that is forbidden");
}

}  // namespace reward_range_test
