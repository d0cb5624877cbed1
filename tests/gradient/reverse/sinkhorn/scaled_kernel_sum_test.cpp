#include "otpool/gradient/reverse/sinkhorn/scaled_kernel_sum.hpp"

#include <optional>

#include "otpool/kernel/scaled_problem.hpp"
#include "support/buffers.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"

// Sums of rank-one terms of a kernel against the same sums written out, in and out of the scalar's range.

namespace scaled_kernel_sum_test {

using namespace otpool;
using detail::ScaledKernel;
using detail::ScaledKernelSum;
using detail::ScaledProblem;
using tests::buffer_of;
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
        const detail::Inspection inspection(problem);
        const ScaledProblem scaled(inspection);
        RealMatrix z(D, N);
        RealVector column(D);
        for (Index n = 0; n < N; ++n) {
            scaled.kernel.column(n, column.data());
            z.col(n) = column;
        }
        const RealVector at_rows = random_vector(random, D, -2, 1);
        const RealVector at_cols = random_vector(random, N, 1, 1);
        ScaledKernelSum<Scalar> terms;
        terms.start(scaled.kernel, MatrixView<Scalar>(bag), at_rows.data(), at_cols.data());
        const RealMatrix values = bag.template cast<double>();
        RealMatrix Y = RealMatrix::Zero(D, N);
        RealMatrix W = Y;
        // Some are far from what the kernel has absorbed: exp(1000) times exp(-1000), beyond double, too.
        const auto random_term = [&](double away) {
            return ScaledKernel{
                buffer_of(random_vector(random, D, -2 + away, 1)), buffer_of(random_vector(random, D, 0, 3)),
                buffer_of(random_vector(random, N, 1 - away, 1)), buffer_of(random_vector(random, N, 0, 3))};
        };
        const auto kernel = [&](const ScaledKernel& term) -> RealMatrix {
            const RealMatrix exponents =
                (z.colwise() + term.row_exponent.vector()).rowwise() + term.col_exponent.vector().transpose();
            return (exponents.array().exp().rowwise() * term.col_factor.vector().transpose().array()).matrix();
        };
        const auto dense = [&](const ScaledKernel& term) -> RealMatrix {
            const RealMatrix exponentials = kernel(term);
            RealMatrix whole = term.row_factor.vector().asDiagonal() * exponentials;
            if (term.has_slope()) whole += (term.slope.vector().asDiagonal() * exponentials).cwiseProduct(values);
            return whole;
        };
        const auto check = [&](const RealMatrix& found, const RealMatrix& wanted, const RealMatrix& of) {
            CHECK((found - wanted).cwiseAbs().maxCoeff() <= tolerance * of.cwiseAbs().sum());
        };
        const auto check_columns = [&](bool has_slope) {
            RealMatrix found_Y = RealMatrix::Zero(D, N);
            RealMatrix found_W = found_Y;
            const auto add = [&](RealMatrix& to, Index k, const auto* numbers) {
                for (Index d = 0; d < D; ++d) to(d, k) += static_cast<double>(numbers[d]);
            };
            Index visited = 0;
            terms.for_each_column([&](Index k, const Scalar* Y_k, const Scalar* W_k) {
                add(found_Y, k, Y_k);
                if (W_k != nullptr) add(found_W, k, W_k);
                ++visited;
            });
            CHECK(visited == N);
            const detail::LogDomainSum& out_of_range = terms.log_domain();
            for (Index k = 0; k < N; ++k) {
                if (out_of_range.has_terms()) add(found_Y, k, out_of_range.Y(k));
                if (out_of_range.has_slope()) add(found_W, k, out_of_range.W(k));
            }
            check(found_Y.reshaped(), Y.reshaped(), Y);
            if (has_slope) check(found_W.reshaped(), W.reshaped(), Y);
        };

        const ScaledKernel alone = random_term(0);
        terms.add(alone);
        Y += dense(alone);
        const ScaledKernel for_sums = random_term(seed % 3 == 0 ? 1000 : 0);
        check(terms.add_for_col_sums(for_sums).vector(), dense(for_sums).colwise().sum().transpose(), dense(for_sums));
        Y += dense(for_sums);
        check_columns(false);

        // The factors of a second term are made of the column sums of a first, whichever of them is out of range.
        std::optional<ScaledKernel> first = random_term(seed % 2 == 0 ? 1000 : 0);
        first->slope = buffer_of(random_vector(random, D, 0, 2));
        for (int pass = 0; pass < 2; ++pass) {
            ScaledKernel second = random_term(seed % 5 < 2 ? 1000 : 0);
            const RealVector addend = second.col_factor.vector();
            const auto sums = terms.add_for_sums(first ? &*first : nullptr, second,
                                                 [&](Index k, double sum) { return addend[k] - sum / 2; });
            if (first) {
                Y += dense(*first);
                W += first->slope.vector().asDiagonal() * kernel(*first);
                const RealVector of_cols = dense(*first).colwise().sum();
                check(sums.of_cols.vector(), of_cols, dense(*first));
                second.col_factor = buffer_of(addend - of_cols / 2);
            }
            check(sums.of_rows.vector(), dense(second).rowwise().sum(), dense(second));
            Y += dense(second);
            first.reset();
        }
        check_columns(true);
    }
}

TEST_CASE("In the log domain, weights have the sum 1 whatever the size of their exponents") {
    using Weights = ScaledKernel::Weights;
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        Random random(seed);
        const Index D = random.integer(1, 6);
        const Index N = random.integer(1, 8);
        Matrix<double> bag = tests::random_bag<double>(random, D, N, tests::BagKind::normal);
        const double alpha0 = random.log_uniform(1e-17, 1);
        const UotProblem<double> problem{.reward = bag, .alpha0 = alpha0};
        const ScaledProblem scaled{detail::Inspection(problem)};
        detail::LogDomainSum sum;
        sum.start(scaled.kernel, MatrixView<double>(bag));
        ScaledKernel term{buffer_of(random_vector(random, D, 0, 1 / alpha0)), buffer_of(random_vector(random, D, 0, 2)),
                          buffer_of(random_vector(random, N, 0, 1 / alpha0)),
                          buffer_of(random_vector(random, N, 0, 2))};
        const RealVector row_factor = term.row_factor.vector();
        const RealVector col_factor = term.col_factor.vector();
        INFO("seed " << seed);
        // Of columns: each is a convex combination of the row factors, times its own.
        term.row_factor = RealVector::Ones(D);
        term.weights = Weights::of_cols;
        detail::Buffer<double> of_cols, of_rows;
        sum.add(term, &of_cols, &of_rows);
        CHECK((of_cols.vector() - col_factor).cwiseAbs().maxCoeff() <= 1e-15 * col_factor.cwiseAbs().maxCoeff());
        CHECK(std::abs(of_rows.vector().sum() - col_factor.sum()) <= 1e-14);
        // Of rows, whose entries have the sums that are asked for.
        term.row_factor = row_factor;
        term.col_factor = RealVector::Ones(N);
        term.slope = buffer_of(random_vector(random, D, 0, 2));
        term.weights = Weights::of_rows;
        term.row_sum = buffer_of(random_vector(random, D, 0, 1));
        sum.start(scaled.kernel, MatrixView<double>(bag));
        sum.add(term, &of_cols, &of_rows);
        CHECK((of_rows.vector() - term.row_sum.vector()).cwiseAbs().maxCoeff() <= 1e-14);
        CHECK(std::abs(of_cols.vector().sum() - term.row_sum.vector().sum()) <= 1e-13);
        RealVector slope = RealVector::Zero(D);
        for (Index k = 0; k < N; ++k) slope += Eigen::Map<const RealVector>(sum.W(k), D);
        CHECK((slope - term.slope.vector()).cwiseAbs().maxCoeff() <= 1e-14);
    }
}

}  // namespace scaled_kernel_sum_test
