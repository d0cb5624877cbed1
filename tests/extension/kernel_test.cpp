#include <cmath>
#include <vector>

#include "otpool/otpool.hpp"
#include "support/catch.hpp"
#include "support/random_problem.hpp"

// A kernel that the library does not have, in one class.

namespace kernel_test {

using namespace otpool;
using namespace tests;

int sweeps = 0;

/// exp(z) as a table of doubles, without any care for their range but to say so.
class TableKernel {
public:
    void set(const ScaledReward& reward, const Execution& /*sequential*/) {
        table_.resize(reward.rows(), reward.cols());
        for (Index k = 0; k < reward.cols(); ++k) reward.column(k, table_.col(k).data());
        table_ = table_.array().exp();
    }

    bool log_row_sums(const double* col_potential, double* log_row_sum) {
        const Vector<double> v = exp_of(col_potential, table_.cols());
        return put_log(table_ * v, log_row_sum);
    }

    bool sweep(const double* row_potential, const Side& columns, PassResult& result) {
        ++sweeps;
        const Vector<double> u = exp_of(row_potential, table_.rows());
        if (!put_log(table_.transpose() * u, result.log_col_sum.data())) return false;
        columns.half_steps(0, table_.cols(), result.log_col_sum.data(), result.col_potential.data(),
                           result.col_penalty.data());
        const Vector<double> v = exp_of(result.col_potential.data(), table_.cols());
        return put_log(u.cwiseProduct(table_ * v), result.log_row_mass.data());
    }

private:
    static Vector<double> exp_of(const double* potential, Index size) {
        return Eigen::Map<const Vector<double>>(potential, size).array().exp();
    }
    static bool put_log(const Vector<double>& sums, double* to) {
        for (Index i = 0; i < sums.size(); ++i) to[i] = std::log(sums[i]);
        return sums.minCoeff() > 1e-200 && sums.maxCoeff() < 1e200;
    }

    Matrix<double> table_;
};

TEMPLATE_TEST_CASE("Sinkhorn over a kernel from outside finds Sinkhorn's plan", "", double, float) {
    for (std::uint64_t seed = 0; seed < 60; ++seed) {
        // Where alpha0 is small the table is out of range, and the log domain takes over.
        const RandomProblem<TestType> random(seed, {.least_alpha0 = seed % 2 == 0 ? 1e-3 : 0.1, .most_alpha0 = 10});
        INFO(random.drawn);
        const Options options{.max_iterations = 300, .closed_forms = false};
        const auto expected = Sinkhorn{options}.solve(random.problem);
        const int sweeps_before = sweeps;
        const auto found = SinkhornOver<TableKernel>{{options}}.solve(random.problem);
        CHECK(sweeps >= sweeps_before + found.iterations);
        if (!expected.converged() || !found.converged()) continue;
        const Vector<double> difference =
            (ConditionalReadout{}(found)-ConditionalReadout{}(expected)).template cast<double>();
        CHECK(difference.cwiseAbs().maxCoeff() <= 1e-5 * spread(random.bag));
    }
}

TEST_CASE("A pooling takes Sinkhorn over a kernel from outside") {
    const Matrix<double> bag = Matrix<double>::Random(5, 9);
    const PoolingParameters<double> parameters{.alpha0 = 0.3, .instances = {.alpha = 0.5}};
    const auto pooled = Pooling{parameters, SinkhornOver<TableKernel>{{{.iterations = 4}}}}(bag);
    const auto expected = Pooling{parameters, Sinkhorn{{.iterations = 4}}}(bag);
    CHECK((pooled - expected).norm() < 1e-12);
    const auto in_log_domain =
        Pooling{parameters, SinkhornOver<LogDomainKernel<ScaledReward>>{{{.iterations = 4}}}}(bag);
    CHECK((in_log_domain - expected).norm() < 1e-12);
}

}  // namespace kernel_test
