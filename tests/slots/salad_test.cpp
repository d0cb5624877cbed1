#include "otpool/slots/salad.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/random_bags.hpp"
#include "support/random_salad.hpp"

namespace salad_test {

using namespace otpool;
using namespace tests;

/// The descriptor number by number, in long double: scores S with the dustbin's row, u and v of three Sinkhorn steps.
template <class Scalar>
std::vector<double> by_formula(const Salad<Scalar>& salad, const Matrix<Scalar>& patches, const Matrix<Scalar>& token) {
    using Long = long double;
    using Rows = std::vector<std::vector<Long>>;
    const auto network = [](const Network<Scalar>& of, const Matrix<Scalar>& x) {
        Rows h(static_cast<std::size_t>(x.cols()));
        for (Index n = 0; n < x.cols(); ++n) {
            for (Index d = 0; d < x.rows(); ++d) h[std::size_t(n)].push_back(Long(x(d, n)));
            for (std::size_t i = 0; i < of.layers.size(); ++i) {
                std::vector<Long> next;
                for (Index o = 0; o < of.layers[i].weight.rows(); ++o) {
                    Long sum = of.layers[i].bias.size() > 0 ? Long(of.layers[i].bias[o]) : 0;
                    for (Index j = 0; j < of.layers[i].weight.cols(); ++j) {
                        const Long before = h[std::size_t(n)][std::size_t(j)];
                        sum += Long(of.layers[i].weight(o, j)) * (i > 0 ? std::max(before, Long(0)) : before);
                    }
                    next.push_back(sum);
                }
                h[std::size_t(n)] = next;
            }
        }
        return h;
    };
    const auto normalise = [](std::vector<Long>& v) {
        Long sum = 0;
        for (Long x : v) sum += x * x;
        for (Long& x : v) x /= std::max(std::sqrt(sum), Long(1e-12));
    };
    const std::size_t N = std::size_t(patches.cols());
    Rows scores = network(salad.pooling.reward, patches);
    const Rows features = network(salad.pooling.values, patches);
    const std::size_t K = scores[0].size();
    for (auto& row : scores) row.push_back(Long(salad.pooling.dummy.reward));
    std::vector<Long> f(K + 1), g(N, 0);
    const auto log_sum = [](const std::vector<Long>& terms) {
        const Long top = *std::max_element(terms.begin(), terms.end());
        Long sum = 0;
        for (Long term : terms) sum += std::exp(term - top);
        return top + std::log(sum);
    };
    for (int step = 0; step < 3; ++step) {
        for (std::size_t k = 0; k <= K; ++k) {
            std::vector<Long> terms;
            for (std::size_t n = 0; n < N; ++n) terms.push_back(scores[n][k] + g[n]);
            f[k] = std::log(k < K ? 1 : Long(N - K)) - log_sum(terms);
        }
        for (std::size_t n = 0; n < N; ++n) {
            std::vector<Long> terms;
            for (std::size_t k = 0; k <= K; ++k) terms.push_back(scores[n][k] + f[k]);
            g[n] = -log_sum(terms);
        }
    }
    std::vector<Long> descriptor;
    if (token.size() > 0) {
        descriptor = network(salad.token_network, token)[0];
        normalise(descriptor);
    }
    Rows of_slots(K);
    for (std::size_t k = 0; k < K; ++k) {
        for (std::size_t d = 0; d < features[0].size(); ++d) {
            Long sum = 0;
            for (std::size_t n = 0; n < N; ++n) sum += std::exp(scores[n][k] + f[k] + g[n]) * features[n][d];
            of_slots[k].push_back(sum);
        }
        normalise(of_slots[k]);
    }
    for (std::size_t d = 0; d < features[0].size(); ++d) {
        for (std::size_t k = 0; k < K; ++k) descriptor.push_back(of_slots[k][d]);
    }
    normalise(descriptor);
    return {descriptor.begin(), descriptor.end()};
}

TEMPLATE_TEST_CASE("Salad is SALAD's module by formula, for one image and a batch", "", double, float) {
    const double near = std::same_as<TestType, double> ? 1e-12 : 1e-5;
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
        INFO("seed " << seed);
        Random random(seed);
        const Index K = random.integer(1, 6);
        const Index D = random.integer(1, 8);
        const auto salad = random_salad<TestType>(random, D, K, random.chance(0.3));
        const std::vector<std::int64_t> offsets{0, K + 1, K + 1 + random.integer(K + 1, 300)};
        const Matrix<TestType> x = random_matrix<TestType>(random, D, offsets.back());
        const bool with_token = !salad.token_network.layers.empty();
        const Matrix<TestType> tokens = with_token ? random_matrix<TestType>(random, 5, 2) : Matrix<TestType>();
        const Matrix<TestType> all = salad(Bags<TestType>(x, offsets), tokens);
        REQUIRE(all.cols() == 2);
        for (Index b = 0; b < 2; ++b) {
            const Index first = offsets[std::size_t(b)];
            const Matrix<TestType> patches = x.middleCols(first, offsets[std::size_t(b) + 1] - first);
            const Matrix<TestType> token = with_token ? Matrix<TestType>(tokens.col(b)) : tokens;
            const Vector<TestType> found = salad(MatrixView<TestType>(patches), token);
            const std::vector<double> expected = by_formula(salad, patches, token);
            REQUIRE(found.size() == Index(expected.size()));
            for (Index i = 0; i < found.size(); ++i) {
                CHECK(std::abs(double(found[i]) - expected[std::size_t(i)]) < near);
            }
            CHECK((all.col(b) - found).cwiseAbs().maxCoeff() < near);
        }
    }
}

TEST_CASE("Salad refuses what does not fit in a sentence") {
    Random random(1);
    const auto salad = random_salad<double>(random, 4, 3, false);
    const Matrix<double> x = random_matrix<double>(random, 4, 9);
    const auto refusal = [](const auto& work) { return message_of<InvalidArgument>(work); };
    CHECK(refusal([&] { salad(MatrixView<double>(x)); }) == "number of tokens is 0; allowed: 1, the number of images");
    CHECK(refusal([&] { salad(MatrixView<double>(x.leftCols(3)), Matrix<double>::Zero(5, 1)); }) ==
          "number of instances is 3; allowed: more than 3, the number of slots");
    Matrix<double> token = Matrix<double>::Zero(5, 1);
    token(3, 0) = std::numeric_limits<double>::infinity();
    CHECK(refusal([&] { salad(MatrixView<double>(x), token); }) == "a token is not finite; allowed: finite numbers");
    CHECK(refusal([&] { random_salad<double>(random, 4, 3, true)(MatrixView<double>(x), token); }) ==
          "number of tokens is 1; allowed: 0, because there is no token network");
}

}  // namespace salad_test
