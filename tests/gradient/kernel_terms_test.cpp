#include "otpool/gradient/kernel_terms.hpp"

#include "otpool/solver/scaled_problem.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

// Sums of rank-one terms of a kernel against the same sums written out, in and out of the scalar's range.

namespace kernel_terms_test {

using namespace otpool;
using detail::KernelTerm;
using detail::KernelTerms;
using detail::ScaledProblem;
using tests::Random;

RealVector random_vector(Random& random, Index size, double mean, double deviation) {
    RealVector vector(size);
    for (double& entry : vector) entry = mean + deviation * random.normal();
    return vector;
}

TEMPLATE_TEST_CASE("Terms of a kernel add up", "", float, double) {
    using Scalar = TestType;
    const double tolerance = std::is_same_v<Scalar, double> ? 1e-12 : 3e-6;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        Random random(seed);
        const Index D = random.integer(1, 20);
        const Index N = random.integer(1, 40);
        const Matrix<Scalar> bag = tests::random_bag<Scalar>(random, D, N, tests::BagKind::normal);
        const UotProblem<Scalar> problem{.reward = bag, .alpha0 = Scalar(0.5)};
        const ScaledProblem<Scalar> scaled(problem);
        RealMatrix z(D, N);
        RealVector column(D);
        for (Index n = 0; n < N; ++n) {
            scaled.kernel.column(n, column);
            z.col(n) = column;
        }
        const RealVector at_rows = random_vector(random, D, -2, 1);
        const RealVector at_cols = random_vector(random, N, 1, 1);
        KernelTerms<Scalar> terms(scaled.kernel, at_rows, at_cols);
        RealMatrix expected = RealMatrix::Zero(D, N);
        const auto close = [&](const RealVector& found, const RealVector& wanted, double scale) {
            CHECK((found - wanted).cwiseAbs().maxCoeff() <= tolerance * scale);
        };
        for (int t = 0; t < 6; ++t) {
            // Every third is far from what the kernel has absorbed: exp(1000) times exp(-1000), beyond double, too.
            const double away = t % 3 == 2 ? 1000 : 0;
            const KernelTerm term{random_vector(random, D, -2 + away, 1), random_vector(random, D, 0, 3),
                                  random_vector(random, N, 1 - away, 1), random_vector(random, N, 0, 3)};
            const RealMatrix dense =
                term.row_factor.asDiagonal() *
                (((z.colwise() + term.row_exponent).rowwise() + term.col_exponent.transpose()).array().exp().matrix()) *
                term.col_factor.asDiagonal();
            expected += dense;
            const double scale = dense.cwiseAbs().sum();
            if (t % 2 == 0) {
                close(terms.add_for_row_sums(term), dense.rowwise().sum(), scale);
            } else {
                close(terms.add_for_col_sums(term), dense.colwise().sum().transpose(), scale);
            }
        }
        const double scale = expected.cwiseAbs().sum();
        const auto check_sum = [&](const RealMatrix& whole, const RealMatrix& weights) {
            terms.for_each_block([&](Index first, Index count, const auto& Y, const auto& W) {
                const RealMatrix found = Y.leftCols(count).template cast<double>();
                CHECK((found - whole.middleCols(first, count)).cwiseAbs().maxCoeff() <= tolerance * scale);
                REQUIRE(W.cols() == (weights.size() == 0 ? 0 : count));
                if (weights.size() == 0) return;
                const RealMatrix found_weights = W.template cast<double>();
                CHECK((found_weights - weights.middleCols(first, count)).cwiseAbs().maxCoeff() <= tolerance * scale);
            });
        };
        check_sum(expected, {});
        for (const double away : {0., 1000.}) {
            const KernelTerm weight{at_rows.array() + away, RealVector::Constant(D, 2), at_cols.array() - away,
                                    RealVector::Ones(N)};
            const RealMatrix W = 2 * ((z.colwise() + at_rows).rowwise() + at_cols.transpose()).array().exp();
            const RealMatrix of_values = W.cwiseProduct(bag.template cast<double>());
            close(terms.set_weights(weight, bag), of_values.colwise().sum().transpose(), scale);
            check_sum(expected + of_values, W);
        }
    }
}

}  // namespace kernel_terms_test
