#include "otpool/kernel/dense_kernel.hpp"

#include <algorithm>
#include <cmath>

#include "otpool/kernel/scaled_problem.hpp"
#include "support/catch.hpp"
#include "support/random_problem.hpp"

// The passes over a kernel that is kept as a matrix, against those that compute it a column at a time.

namespace dense_kernel_test {

using namespace otpool;
using namespace tests;
using DenseKernel = detail::DenseKernel<>;
using detail::PassResult;

/// A kernel by its transpose, for LogDomainKernel.
struct Transposed {
    RealMatrix exponents;

    explicit Transposed(const detail::ScaledReward& kernel) : exponents(kernel.cols(), kernel.rows()) {
        RealVector column(kernel.rows());
        for (Index k = 0; k < kernel.cols(); ++k) {
            kernel.column(k, column.data());
            exponents.row(k) = column;
        }
    }
    Index rows() const { return exponents.rows(); }
    Index cols() const { return exponents.cols(); }
    void column(Index k, double* out) const { std::copy_n(exponents.col(k).data(), rows(), out); }
};

template <class Kernel>
void check_sweep(const Kernel& kernel, DenseKernel& dense, const RealVector& potential, const detail::Side& columns) {
    PassResult expected;
    PassResult found;
    detail::LogDomainKernel<Kernel>(kernel).sweep(potential.data(), columns, expected);
    dense.sweep(potential.data(), columns, found);
    const auto close = [](const detail::Buffer<Real>& a, const detail::Buffer<Real>& b) {
        return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                          [](Real x, Real y) { return std::abs(x - y) <= 1e-12 * (1 + std::abs(y)); });
    };
    CHECK(close(found.log_col_sum, expected.log_col_sum));
    CHECK(close(found.col_potential, expected.col_potential));
    CHECK(close(found.col_penalty, expected.col_penalty));
    CHECK(close(found.log_row_mass, expected.log_row_mass));
}

TEST_CASE("a sweep over a dense kernel is a sweep, whatever the range") {
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        const RandomProblem<double> random(seed, {.least_alpha0 = 1e-4, .most_alpha0 = 10});
        INFO(random.drawn);
        const detail::ScaledProblem scaled{detail::Inspection(random.problem)};
        DenseKernel dense(scaled.kernel, true);
        DenseKernel transposed(scaled.kernel, false);
        Random numbers(seed);
        // 1000: rows whose mass no double can hold beside that of the others
        for (const double deviation : {0.0, 1.0, 1000.0}) {
            const auto potential = [&](Index size) {
                RealVector vector(size);
                for (double& entry : vector) entry = deviation * numbers.normal();
                return vector;
            };
            check_sweep(scaled.kernel, dense, potential(dense.rows()), scaled.instances);
            check_sweep(Transposed(scaled.kernel), transposed, potential(transposed.rows()), scaled.features);
        }
    }
}

TEST_CASE("a dense kernel's alpha0 can be multiplied") {
    RandomProblem<double> random(61, {.least_alpha0 = 0.1, .most_alpha0 = 0.1});
    const detail::ScaledProblem scaled{detail::Inspection(random.problem)};
    DenseKernel dense(scaled.kernel, true);
    dense.multiply_alpha0(8);
    random.problem.alpha0 *= 8;
    const detail::ScaledProblem easier{detail::Inspection(random.problem)};
    check_sweep(easier.kernel, dense, RealVector::LinSpaced(dense.rows(), -1, 1), easier.instances);
}

TEST_CASE("exponentials of a dense kernel leave out what is negligible") {
    for (std::uint64_t seed = 70; seed < 80; ++seed) {
        const RandomProblem<double> random(seed, {.least_alpha0 = 0.01, .most_alpha0 = 1});
        const detail::ScaledProblem scaled{detail::Inspection(random.problem)};
        DenseKernel dense(scaled.kernel, true);
        const RealVector row = RealVector::LinSpaced(dense.rows(), -3, -1);
        const RealVector col = RealVector::LinSpaced(dense.cols(), -2, 0);
        RealMatrix found(dense.lanes(), dense.cols());
        const double pairs = dense.exponentials(row.data(), col.data(), 1e-6, found.data());
        double expected_pairs = 0;
        RealVector column(dense.rows());
        for (Index k = 0; k < dense.cols(); ++k) {
            scaled.kernel.column(k, column.data());
            RealVector entries = (column + row).array() + col[k];
            entries = entries.array().exp();
            entries = (entries.array() > 1e-6).select(entries, 0);
            CHECK((found.col(k).head(dense.rows()) - entries).cwiseAbs().maxCoeff() <= 1e-15);
            CHECK(found.col(k).tail(found.rows() - dense.rows()).isZero(0));
            const auto count = static_cast<double>((entries.array() > 0).count());
            expected_pairs += count * count;
        }
        CHECK(pairs == expected_pairs);
    }
}

}  // namespace dense_kernel_test
