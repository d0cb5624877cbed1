#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "otpool/kernel/kernel_blocks.hpp"
#include "otpool/kernel/scaled_problem.hpp"
#include "otpool/problem/uot_problem.hpp"
#include "support/catch.hpp"
#include "support/random_bags.hpp"
#include "support/sample.hpp"

// The exponentials of a kernel and their products, held to sums of exponentials in long double.

namespace kernel_blocks_test {

using namespace otpool;
using Exact = Eigen::Matrix<long double, Eigen::Dynamic, Eigen::Dynamic>;

/// What rounding may add to an exponential, relative to it: half a last digit, times log 2, of what its exponent of two
/// is made of. With floats that is a difference up to 300, twice, as 1 / alpha0 is rounded, too; the sum of two
/// potentials up to 184; and what is in range. Larger potentials are summed in double.
template <class Scalar>
long double tolerance(Real largest_potential) {
    return std::is_same_v<Scalar, float> ? 3.2e-5L : 4e-16L * (300 + static_cast<long double>(largest_potential));
}

template <class Scalar>
struct Setting {
    MatrixView<Scalar> reward;
    Vector<Scalar> prior;
    Scalar alpha0;
    Real potential;  ///< Potentials are up to some three times that.
    Scalar features_alpha;
    bool only_features;
};

template <class Scalar, class Work>
void check(const Setting<Scalar>& setting, tests::Random& random) {
    const UotProblem<Scalar> problem{.reward = setting.reward,
                                     .alpha0 = setting.alpha0,
                                     .features = {.alpha = setting.features_alpha},
                                     .instances = {.alpha = 1, .prior = setting.prior}};
    const detail::ScaledProblem scaled{detail::Inspection(problem)};
    const detail::ScaledReward& kernel = scaled.kernel;
    const Index D = kernel.rows();
    const Index N = kernel.cols();
    detail::KernelBlocks<Work> blocks;
    blocks.set(kernel, {}, setting.only_features);
    RealVector f(D);
    RealVector g(N);
    for (RealVector* potential : {&f, &g}) {
        for (Real& entry : *potential) entry = setting.potential * random.normal();
    }
    REQUIRE(blocks.absorb(f.data(), g.data()));

    Exact exponents(D, N);  // to the base of two
    const long double inverse_alpha0 = kernel.inverse_alpha0 * 1.442695040888963407359924681L;
    for (Index k = 0; k < N; ++k) {
        for (Index d = 0; d < D; ++d) {
            const long double x = setting.reward(d, kernel.instance(k));
            exponents(d, k) = (x - kernel.row_shift[d] - kernel.col_shift[k]) * inverse_alpha0 +
                              blocks.row_potential()[d] + blocks.col_potential()[k];
        }
    }
    using Range = detail::ExponentialRange<Work>;
    const auto counts = [](long double exponent) { return exponent > Range::smallest_exponent + 1; };  // else as zero
    const Exact M = exponents.unaryExpr([](long double exponent) { return std::exp2(exponent); });
    if (M.sum() > Range::largest_sum) return;  // these potentials are to be absorbed otherwise

    Vector<Work> u = Vector<Work>::Zero(blocks.padded_rows());
    Vector<Work> v = Vector<Work>::Zero(blocks.padded_cols());
    for (Work& entry : u.head(D)) entry = static_cast<Work>(random.normal());
    for (Work& entry : v.head(N)) entry = static_cast<Work>(random.normal());
    Vector<Work> reference = Vector<Work>::Zero(blocks.padded_rows());
    for (Index d = 0; d < D; ++d) reference[d] = setting.reward(d, kernel.instance(0));
    const long double tolerance =
        kernel_blocks_test::tolerance<Work>(f.cwiseAbs().maxCoeff() + g.cwiseAbs().maxCoeff());
    Index seen = 0;
    bool near = true;
    bool sums_near = true;
    for (int visit = 0; visit < 2; ++visit) {
        blocks.for_each_block([&](const auto& block) {
            seen += block.count;
            for (Index k = 0; k < block.count; ++k) {
                for (Index d = 0; d < D; ++d) {
                    const Work entry = block.by_instance ? block.M[d * block.lanes + k] : block.M[k * block.lanes + d];
                    const long double expected = M(d, block.first + k);
                    near &= counts(exponents(d, block.first + k))
                                ? std::abs(entry - expected) <= tolerance * expected
                                : entry <= 2 * std::exp2(static_cast<long double>(Range::smallest_exponent) + 1);
                }
            }
            const auto columns = M.middleCols(block.first, block.count);
            const auto is_near = [&](const Vector<Work>& sums, const Exact& expected, const Exact& magnitude) {
                for (Index i = 0; i < expected.size(); ++i) {
                    const long double allowed = 4 * tolerance * magnitude(i) + std::exp2(-100.L);
                    sums_near &= std::abs(sums[i] - expected(i)) <= allowed;
                }
            };
            Vector<Work> sums(std::max(blocks.padded_rows(), detail::padded(block.count)));
            blocks.sum_over_rows(block, u.data(), sums.data());
            const Exact of_rows = u.head(D).template cast<long double>();
            is_near(sums, columns.transpose() * of_rows, columns.transpose() * of_rows.cwiseAbs());
            const Work* v_of_block = v.data() + block.first;
            const Exact of_cols = v.segment(block.first, block.count).template cast<long double>();
            sums.setZero();
            blocks.add_sum_over_cols(block, v_of_block, sums.data());
            is_near(sums, columns * of_cols, columns * of_cols.cwiseAbs());
            sums.setZero();
            blocks.add_weighted_sum_over_cols(block, v_of_block, detail::AnyView(setting.reward), reference.data(),
                                              sums.data());
            Exact deviations(D, block.count);
            for (Index k = 0; k < block.count; ++k) {
                for (Index d = 0; d < D; ++d) {
                    deviations(d, k) =
                        static_cast<long double>(setting.reward(d, kernel.instance(block.first + k))) - reference[d];
                }
            }
            const Exact weighted = columns.cwiseProduct(deviations);
            is_near(sums, weighted * of_cols, weighted.cwiseAbs() * of_cols.cwiseAbs());
        });
    }
    CHECK(seen == 2 * N);
    CHECK(near);
    CHECK(sums_near);
}

TEMPLATE_TEST_CASE("Blocks hold a kernel's exponentials, and their sums are its sums", "", (std::pair<float, float>),
                   (std::pair<double, double>), (std::pair<float, double>)) {
    using Scalar = typename TestType::first_type;
    using Work = typename TestType::second_type;
    using RowMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    tests::Random random(1);
    std::uint64_t number = 0;
    for (const Index D : {1, 3, 16, 23, 31, 32, 33, 63, 64, 100, 600}) {
        for (const Index N : {1, 7, 16, 90, 400}) {
            const auto offset = static_cast<Scalar>(87 * random.integer(-1, 1));
            Matrix<Scalar> bag(D, N);
            for (Scalar& entry : bag.reshaped()) entry = static_cast<Scalar>(random.normal()) + offset;
            const RowMajor by_rows = bag;
            Matrix<Scalar> wide(D + 3, N);  // columns with gaps between them
            wide.setConstant(std::numeric_limits<Scalar>::quiet_NaN());
            wide.topRows(D) = bag;
            // What is left out may be any finite number, also where it is next to what is not.
            Matrix<Scalar> huge = bag;
            Vector<Scalar> prior = Vector<Scalar>::Ones(N);
            for (Index n = 1; n < N; n += 3) {
                huge.col(n).setConstant(n % 2 == 0 ? std::numeric_limits<Scalar>::max()
                                                   : std::numeric_limits<Scalar>::lowest());
                prior[n] = 0;
            }
            prior /= prior.sum();
            for (const Scalar alpha0 : {Scalar(10), Scalar(1), Scalar(0.1), Scalar(0.02)}) {
                for (const Real potential : {0., 2., 20., 1000.}) {
                    if (!tests::in_sample(number++)) continue;
                    INFO(D << " x " << N << " from " << offset << ", alpha0 = " << alpha0 << ", potentials of "
                           << potential);
                    const bool only_features = random.chance(0.5);
                    const Scalar of_features = random.chance(0.5) ? Scalar(0) : Scalar(1);
                    check<Scalar, Work>({bag, {}, alpha0, potential, of_features, only_features}, random);
                    check<Scalar, Work>({by_rows, {}, alpha0, potential, of_features, only_features}, random);
                    check<Scalar, Work>({wide.topRows(D), {}, alpha0, potential, of_features, only_features}, random);
                    check<Scalar, Work>({huge, prior, alpha0, potential, of_features, only_features}, random);
                }
            }
        }
    }
}

TEMPLATE_TEST_CASE("Columns of few features that are low as a whole are raised at the first visit", "", float, double) {
    using Scalar = TestType;
    tests::Random random(2);
    for (const Index D : {1, 7, 16, 23}) {
        Matrix<Scalar> bag(D, 1000);
        for (Scalar& entry : bag.reshaped()) entry = static_cast<Scalar>(random.normal());
        bag.rightCols(3).array() -= Scalar(30);
        const UotProblem<Scalar> problem{.reward = bag, .alpha0 = 1};
        const detail::ScaledProblem scaled{detail::Inspection(problem)};
        const detail::ScaledReward& kernel = scaled.kernel;
        detail::KernelBlocks<Scalar> blocks;
        blocks.set(kernel, {});
        INFO("D = " << D);
        for (int visit = 0; visit < 2; ++visit) {
            blocks.for_each_block([&](const auto& block) {
                REQUIRE(block.by_instance);
                for (Index k = block.first; k < block.first + block.count; ++k) {
                    RealVector z(D);
                    kernel.column(k, z.data());
                    const Real raised = std::max(0.0, -z.maxCoeff());
                    CHECK(std::abs(blocks.col_potential()[k] * detail::log_2 - raised) <= 1e-5);
                    for (Index d = 0; d < D; ++d) {
                        const auto entry = static_cast<Real>(block.M[d * block.lanes + k - block.first]);
                        CHECK(std::abs(entry - std::exp(z[d] + raised)) <= 1e-5 * std::exp(z[d] + raised));
                    }
                }
            });
        }
        const RealVector zeros = RealVector::Zero(1000);
        REQUIRE(blocks.absorb(zeros.data(), zeros.data()));
        blocks.for_each_block([](const auto&) {});
        CHECK(detail::largest_magnitude(blocks.col_potential().data(), 1000) == 0);
    }
}

}  // namespace kernel_blocks_test
