#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "otpool/slots/named_slot_poolings.hpp"
#include "support/catch.hpp"
#include "support/message_of.hpp"
#include "support/optimality.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"

// Top-k pooling against every choice of m instances, each solved by bisection of the potential.

namespace top_k_pooling_test {

using namespace otpool;
using namespace tests;

/// The best weights on the instances of `chosen` alone, and the objective -<x, P> + alpha0 |P|^2 + alpha KL(sum P | p).
struct Row {
    std::vector<double> weights;
    double objective = 0;
};

Row best_row(const std::vector<double>& x, const std::vector<bool>& chosen, double alpha0, double alpha, double p) {
    const auto weights_at = [&](double f) {
        std::vector<double> weights(x.size(), 0);
        for (std::size_t n = 0; n < x.size(); ++n) {
            if (chosen[n]) weights[n] = std::max(0.0, (x[n] + f) / (2 * alpha0));
        }
        return weights;
    };
    const auto sum = [](const std::vector<double>& w) { return std::accumulate(w.begin(), w.end(), 0.0); };
    double low = -1e4;
    double high = 1e4;
    for (int i = 0; i < 200; ++i) {
        const double f = (low + high) / 2;
        const double wanted = std::isinf(alpha) ? p : p * std::exp(-f / alpha);
        (sum(weights_at(f)) < wanted ? low : high) = f;
    }
    Row row{weights_at(high)};
    const double mass = sum(row.weights);
    for (std::size_t n = 0; n < x.size(); ++n) {
        row.objective += row.weights[n] * (alpha0 * row.weights[n] - x[n]);
    }
    if (!std::isinf(alpha)) row.objective += alpha * (mass * std::log(mass / p) - mass + p);
    return row;
}

TEST_CASE("Top-k pooling is the best choice of m instances for each slot") {
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        if (!in_sample(seed)) continue;
        Random random(seed);
        const Index K = random.integer(1, 4);
        const Index N = random.integer(1, 9);
        const Index m = random.integer(1, 5);
        const Matrix<double> scores = random_bag<double>(random, K, N, BagKind::normal);
        const Matrix<double> bag = random_bag<double>(random, 3, N, BagKind::normal);
        auto pool = top_k_pooling<double>(m, GivenReward(), random.log_uniform(0.01, 10));
        if (random.chance(0.5)) pool.parameters.features.alpha = random.log_uniform(0.1, 10);
        INFO("seed " << seed << ", at most " << m);
        const Bag<double> given{.instances = bag, .reward = scores};
        const auto solution = pool.solve(given);
        CHECK(solution.converged());
        const Matrix<double> plan = solution.plan();
        const Matrix<double> pooled = pool(given);
        double objective = 0;
        for (Index k = 0; k < K; ++k) {
            std::vector<double> x(static_cast<std::size_t>(N));
            for (Index n = 0; n < N; ++n) x[static_cast<std::size_t>(n)] = scores(k, n);
            Row best{{}, std::numeric_limits<double>::infinity()};
            for (int bits = 1; bits < (1 << N); ++bits) {
                std::vector<bool> chosen(x.size());
                Index count = 0;
                for (std::size_t n = 0; n < x.size(); ++n) {
                    chosen[n] = (bits >> n & 1) != 0;
                    count += chosen[n] ? 1 : 0;
                }
                if (count != std::min(m, N)) continue;
                const Row row = best_row(x, chosen, pool.parameters.alpha0, pool.parameters.features.alpha,
                                         1.0 / static_cast<double>(K));
                if (row.objective < best.objective) best = row;
            }
            objective += best.objective;
            Vector<double> mean = Vector<double>::Zero(3);
            double mass = 0;
            for (Index n = 0; n < N; ++n) {
                const double weight = best.weights[static_cast<std::size_t>(n)];
                CHECK(std::abs(plan(k, n) - weight) <= 1e-9);
                mean += weight * bag.col(n);
                mass += weight;
            }
            CHECK((pooled.col(k) - mean / mass).cwiseAbs().maxCoeff() <= 1e-8);
        }
        CHECK(std::abs(solution.objective() - objective) <= 1e-9 * (1 + std::abs(objective)));
    }
}

TEST_CASE("Top-k pooling of one instance is the best one, and of all of them sparsemax, also in float") {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        Random random(seed);
        const Matrix<float> scores = random_bag<float>(random, 3, 20, BagKind::normal);
        const Matrix<float> bag = random_bag<float>(random, 4, 20, BagKind::normal);
        const Bag<float> given{.instances = bag, .reward = scores};
        const Matrix<float> one = top_k_pooling<float>(1)(given);
        const Matrix<float> some = top_k_pooling<float>(5, GivenReward(), 1e6F)(given);
        for (Index k = 0; k < 3; ++k) {
            Index best = 0;
            scores.row(k).maxCoeff(&best);
            // The readout takes a reference off and puts it back.
            CHECK((one.col(k) - bag.col(best)).cwiseAbs().maxCoeff() <= 1e-6F * bag.cwiseAbs().maxCoeff());
            std::vector<Index> order(20);
            std::iota(order.begin(), order.end(), 0);
            std::sort(order.begin(), order.end(), [&](Index a, Index b) { return scores(k, a) > scores(k, b); });
            Vector<float> mean = Vector<float>::Zero(4);
            for (std::size_t i = 0; i < 5; ++i) mean += bag.col(order[i]) / 5;
            CHECK((some.col(k) - mean).cwiseAbs().maxCoeff() <= 1e-5);
        }
        UotProblem<float, Quadratic> sparsemax{.reward = scores};
        const Matrix<float> all = top_k_pooling<float>(20).plan(given);
        CHECK((ClosedForm{}.solve(sparsemax).plan() - all).cwiseAbs().maxCoeff() <= 1e-7);
    }
}

TEST_CASE("TopK refuses instances that want mass, in a sentence") {
    const Matrix<double> bag = Matrix<double>::Random(2, 5);
    auto pool = top_k_pooling<double>(2, DotProduct<double>{Matrix<double>::Random(2, 3)});
    CHECK(pool(bag).cols() == 3);
    pool.parameters.instances.alpha = 1;
    const std::string message = message_of<UnsupportedProblem>([&] { pool(bag); });
    CHECK(message.find("TopK with alpha2 = 0") != std::string::npos);
    pool.parameters.instances.alpha = 0;
    pool.regularizer.most = 0;
    CHECK(message_of<InvalidArgument>([&] { pool(bag); }) == "most is 0; allowed: at least 1");
}

}  // namespace top_k_pooling_test
