#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <string>

#include "otpool/otpool.hpp"
#include "otpool/streamed/streamed.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"

using otpool::Index;
using otpool::Matrix;
using otpool::MatrixColumns;
using otpool::RealVector;
using otpool::Streamed;
using otpool::StreamOptions;
using tests::Random;

namespace streamed_start_test {

constexpr double inf = std::numeric_limits<double>::infinity();

TEST_CASE("A streamed solve gives potentials as those in memory, and goes on from them") {
    Random random(1);
    for (const double offset : {0.0, 100.0}) {
        const Matrix<double> bag =
            (tests::random_bag<double>(random, 20, 60, tests::BagKind::normal).array() + offset).matrix();
        for (const auto& [alpha1, alpha2] : {std::array<double, 2>{1, 2}, {inf, 0.4}, {0.7, inf}, {inf, inf}}) {
            CAPTURE(offset, alpha1, alpha2);
            const otpool::Pooling<double> pool{
                .parameters = {.alpha0 = 0.05, .features = {.alpha = alpha1}, .instances = {.alpha = alpha2}},
                .solver = {{.tolerance = 1e-10}}};
            const auto solution = pool.solve(otpool::Bag<double>{bag});
            RealVector f;
            Index calls = 0;
            StreamOptions options;
            options.potential = [&](std::span<const double> of_step) {
                f = Eigen::Map<const RealVector>(of_step.data(), std::ssize(of_step));
                ++calls;
            };
            const auto streamed = pool_streamed(pool, Streamed{MatrixColumns<double>{bag}, options});
            REQUIRE(streamed.outcome.converged());
            CHECK(calls == streamed.outcome.iterations);
            REQUIRE(calls > 5);
            // Two hard sides leave a constant open.
            RealVector difference = f - solution.feature_potential;
            if (std::isinf(alpha1) && std::isinf(alpha2)) difference.array() -= difference.mean();
            CHECK(difference.cwiseAbs().maxCoeff() < 1e-7 * (1 + offset));

            options.start = f;
            const auto again = pool_streamed(pool, Streamed{MatrixColumns<double>{bag}, options});
            CHECK(again.outcome.converged());
            CHECK(again.outcome.iterations <= 2);
            CHECK((again.pooled - streamed.pooled).cwiseAbs().maxCoeff() < 1e-8 * (1 + offset));

            // A start far away leads to the same plan.
            options.start = RealVector::LinSpaced(20, -1, 1);
            const auto far_away = pool_streamed(pool, Streamed{MatrixColumns<double>{bag}, options});
            CHECK(far_away.outcome.converged());
            CHECK((far_away.pooled - streamed.pooled).cwiseAbs().maxCoeff() < 1e-8 * (1 + offset));
        }
    }
}

TEST_CASE("A start is refused unless it has a finite number for each feature") {
    const Matrix<double> bag = Matrix<double>::Random(3, 4);
    const otpool::Pooling<double> pool{.parameters = {.features = {.alpha = 1}, .instances = {.alpha = 1}}};
    const auto message = [&](const RealVector& start) {
        return tests::message_of<otpool::InvalidArgument>([&] {
            StreamOptions options;
            options.start = start;
            pool(Streamed{MatrixColumns<double>{bag}, options});
        });
    };
    CHECK(message(RealVector::Zero(3)) == "no error");
    CHECK(message(RealVector::Zero(4)) == "length of start is 4; allowed: 3, the number of features");
    CHECK(message(RealVector{{0, inf, 0}}) == "start[1] is inf; allowed: finite numbers");
}

}  // namespace streamed_start_test
