#include "otpool/slots/slot_rewards.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "support/backwards.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"

namespace slot_rewards_test {

using namespace otpool;
using namespace tests;

using Wide = long double;

/// Prototypes, and instances of which some are close to a prototype and some are one.
template <class Scalar>
struct Case {
    Matrix<Scalar> prototypes, instances;

    Case(Random& random, Index rows, Index slots, Index size, double offset)
        : prototypes(rows, slots), instances(rows, size) {
        for (Scalar& w : prototypes.reshaped()) w = static_cast<Scalar>(offset + random.normal());
        for (Index n = 0; n < size; ++n) {
            const Index k = random.integer(0, slots - 1);
            const double closeness = n % 4 == 0 ? random.log_uniform(1e-4, 1) : 0;
            for (Index d = 0; d < rows; ++d) {
                const double near = static_cast<double>(prototypes(d, k)) + closeness * random.normal();
                instances(d, n) = static_cast<Scalar>(n % 4 < 2 ? near : offset + random.normal());
            }
        }
    }
};

template <class Scalar, class Check>
void for_cases(const Check& check) {
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        if (!in_sample(seed / 3)) continue;  // three kinds of offset
        INFO("seed " << seed);
        Random random(seed);
        const bool large = seed % 8 == 0;
        const Index rows = large ? random.integer(200, 1000) : random.integer(1, 60);
        const double offset = seed % 3 == 0 ? 0 : seed % 3 == 1 ? 1e6 : -100;
        check(Case<Scalar>(random, rows, random.integer(1, 20), large ? 500 : random.integer(1, 3000), offset));
    }
}

/// The reward, after checking that it has the same bits in any order and for an array of rows.
template <class Scalar>
Matrix<Scalar> reward_of(const auto& reward, const Case<Scalar>& of) {
    const Matrix<Scalar> S = reward(MatrixView<Scalar>(of.instances), {});
    CHECK(reward(MatrixView<Scalar>(of.instances), {}, Backwards{}) == S);
    const Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> by_row = of.instances;
    CHECK(reward(MatrixView<Scalar>(by_row), {}) == S);
    return S;
}

TEMPLATE_TEST_CASE("squared distances keep their digits, far from the origin and close to a prototype", "", double,
                   float) {
    double worst = 0;
    for_cases<TestType>([&](const Case<TestType>& of) {
        const Matrix<TestType> S = reward_of<TestType>(SquaredDistance<TestType>{of.prototypes}, of);
        for (Index n = 0; n < S.cols(); ++n) {
            for (Index k = 0; k < S.rows(); ++k) {
                const Wide exact =
                    (of.prototypes.col(k).template cast<Wide>() - of.instances.col(n).template cast<Wide>())
                        .squaredNorm();
                const auto off = static_cast<double>(std::abs(static_cast<Wide>(-S(k, n)) - exact));
                if (exact == 0) {
                    REQUIRE(off == 0);
                } else {
                    worst = std::max(worst, off / static_cast<double>(exact));
                }
            }
        }
    });
    CAPTURE(worst);
    CHECK(worst < (std::same_as<TestType, double> ? 1e-13 : 1e-5));
}

TEMPLATE_TEST_CASE("relative distances are their formula", "", double, float) {
    for (const int power : {1, 2}) {
        double worst = 0;
        for_cases<TestType>([&](const Case<TestType>& of) {
            const Matrix<TestType> S = reward_of<TestType>(RelativeDistance<TestType>{of.prototypes, power}, of);
            Matrix<Wide> distance(S.rows(), S.cols());
            const auto less = [](const auto& v) { return (v.array() - v.minCoeff()).matrix().eval(); };
            for (Index n = 0; n < S.cols(); ++n) {
                for (Index k = 0; k < S.rows(); ++k) {
                    const Matrix<TestType> difference = less(of.prototypes.col(k)) - less(of.instances.col(n));
                    const Wide norm = difference.template cast<Wide>().norm();
                    distance(k, n) = power == 1 ? norm : norm * norm;
                }
            }
            const Wide largest = distance.maxCoeff();
            const Matrix<Wide> off = (S.template cast<Wide>() * largest + distance).cwiseAbs();
            if (largest > 0) worst = std::max(worst, static_cast<double>(off.maxCoeff() / largest));
        });
        CAPTURE(power, worst);
        CHECK(worst < (std::same_as<TestType, double> ? 1e-13 : 1e-5));
    }
}

TEMPLATE_TEST_CASE("dot products are their formula", "", double, float) {
    double worst = 0;
    for_cases<TestType>([&](const Case<TestType>& of) {
        const Vector<TestType> bias = of.instances.col(0).sum() * Vector<TestType>::Ones(of.prototypes.cols());
        const Matrix<TestType> S = reward_of<TestType>(DotProduct<TestType>{of.prototypes, bias}, of);
        for (Index n = 0; n < S.cols(); ++n) {
            for (Index k = 0; k < S.rows(); ++k) {
                const auto products = (of.prototypes.col(k).template cast<Wide>().array() *
                                       of.instances.col(n).template cast<Wide>().array())
                                          .eval();
                const Wide exact = products.sum() + static_cast<Wide>(bias[k]);
                const Wide size = products.abs().sum() + std::abs(static_cast<Wide>(bias[k]));
                worst = std::max(worst, static_cast<double>(std::abs(static_cast<Wide>(S(k, n)) - exact) / size));
            }
        }
    });
    CAPTURE(worst);
    CHECK(worst < (std::same_as<TestType, double> ? 1e-14 : 1e-5));
}

}  // namespace slot_rewards_test
