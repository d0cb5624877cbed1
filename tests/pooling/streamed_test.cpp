#include "otpool/pooling/streamed.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"

using otpool::Bag;
using otpool::Index;
using otpool::Matrix;
using otpool::MatrixColumns;
using otpool::MatrixView;
using otpool::Streamed;
using otpool::StreamOptions;
using otpool::Vector;
using tests::BagKind;
using tests::Random;

namespace streamed_test {

constexpr double inf = std::numeric_limits<double>::infinity();

using tests::spread;

template <class Scalar>
Streamed<MatrixColumns<Scalar>> streamed(const Matrix<Scalar>& bag, const Vector<Scalar>& prior = {},
                                         Index memory = Index{16} << 20) {
    return {MatrixColumns<Scalar>{bag}, {.memory = memory}, prior};
}

/// Soft, hard and free sides.
constexpr std::array<std::array<double, 2>, 7> alphas = {
    {{inf, 0}, {1, 2}, {inf, 2}, {0.7, inf}, {inf, inf}, {0, 1}, {2, 0}}};

/// The difference, relative to the bag's spread, of what is streamed and what the same pooling of doubles
/// gives in memory, beyond what rounding to Scalar makes of it.
template <class Scalar, class Pooling>
double difference(const Pooling& pool, const Matrix<Scalar>& bag, const Vector<Scalar>& prior, const auto& in_double) {
    const Vector<double> y = pool(streamed(bag, prior)).template cast<double>();
    const Matrix<double> same = bag.template cast<double>();
    const Vector<double> expected = in_double(Bag<double>{same, {}, prior.template cast<double>()});
    const double size = expected.cwiseAbs().maxCoeff();
    if (sizeof(Scalar) == 4 && size > 1e30)
        return y.allFinite() && y.cwiseAbs().maxCoeff() > 1e30 ? 0 : inf;  // saturated
    const double rounding = sizeof(Scalar) == 4 ? 1.2e-7 * size : 0;
    return std::max(0.0, (y - expected).cwiseAbs().maxCoeff() - rounding) / std::max(spread(bag), size);
}

template <class Scalar, class R, class Readout>
void compare(Random& random, const Matrix<Scalar>& bag, const Vector<Scalar>& prior) {
    for (const auto& [alpha1, alpha2] : alphas) {
        const auto strength = [&](double alpha) { return static_cast<Scalar>(alpha * spread(bag)); };
        otpool::Pooling<Scalar, otpool::Sinkhorn, R, Readout> pool;
        pool.parameters = {.alpha0 = strength(random.log_uniform(0.03, 3)),
                           .features = {.alpha = strength(alpha1)},
                           .instances = {.alpha = strength(alpha2)}};
        otpool::Pooling<double, otpool::Sinkhorn, R, Readout> in_double;
        in_double.parameters = {.alpha0 = pool.parameters.alpha0,
                                .features = {.alpha = pool.parameters.features.alpha},
                                .instances = {.alpha = pool.parameters.instances.alpha}};
        CAPTURE(alpha1, alpha2, pool.parameters.alpha0, bag.rows(), bag.cols());
        pool.solver.options = in_double.solver.options = {.tolerance = 1e-11};
        CHECK(difference(pool, bag, prior, in_double) <= 1e-10);
        pool.solver.options = in_double.solver.options = {.iterations = 4};
        CHECK(difference(pool, bag, prior, in_double) <= 1e-12);
        pool.solver.translation = in_double.solver.translation = false;
        pool.solver.options = in_double.solver.options = {.iterations = 1, .closed_forms = false};
        CHECK(difference(pool, bag, prior, in_double) <= 1e-12);
    }
}

TEMPLATE_TEST_CASE("A streamed bag is pooled as the same bag in memory", "", float, double) {
    using Scalar = TestType;
    std::uint64_t seed = 0;
    for (const BagKind kind : tests::all_bag_kinds) {
        for (const std::array<Index, 2>& size : {std::array<Index, 2>{5, 40}, {1, 30}, {17, 1}, {33, 7}}) {
            Random random(++seed);
            CAPTURE(name(kind), seed);
            const Matrix<Scalar> bag = tests::random_bag<Scalar>(random, size[0], size[1], kind);
            const Vector<Scalar> prior = tests::uneven_prior<Scalar>(random, size[1], true);
            compare<Scalar, otpool::Entropy, otpool::ConditionalReadout>(random, bag, {});
            compare<Scalar, otpool::Entropy, otpool::ConditionalReadout>(random, bag, prior);
            compare<Scalar, otpool::RelativeEntropy, otpool::ConditionalReadout>(random, bag, prior);
            compare<Scalar, otpool::Entropy, otpool::JointReadout>(random, bag, prior);
            compare<Scalar, otpool::RelativeEntropy, otpool::JointReadout>(random, bag, {});
            compare<Scalar, otpool::Entropy, otpool::SumReadout>(random, bag, prior);
        }
    }
}

TEMPLATE_TEST_CASE("A streamed bag of several blocks and parts is pooled as in memory", "", float, double) {
    using Scalar = TestType;
    Random random(1);
    const Matrix<Scalar> bag = tests::random_bag<Scalar>(random, 1500, 700, BagKind::uneven);
    compare<Scalar, otpool::Entropy, otpool::ConditionalReadout>(random, bag,
                                                                 tests::uneven_prior<Scalar>(random, 700, true));
}

}  // namespace streamed_test
