#ifdef POOL_PROGRAM

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "pool_program.hpp"
#include "support/catch.hpp"

// `pool` to slots, against direct formulas and the conditions of optimality, which are written out here.

using Eigen::ArrayXd;
using Eigen::ArrayXXd;
using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;
using tests::PoolProgram;
using tests::read_bytes;

namespace pool_slots_test {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr Index slots = 3;

/// X.npy and ptr.npy with bags of more instances than slots, and W.npy, three prototypes.
class SlotProgram : public PoolProgram {
public:
    SlotProgram() {
        offsets = Eigen::Matrix<std::int64_t, Eigen::Dynamic, 1>{{0, 6, 12, 20}};
        write("ptr.npy", offsets);
        std::mt19937 random(3);
        const auto uniform = [&] { return static_cast<double>(random()) / 4294967296.0; };
        prototypes = MatrixXd::NullaryExpr(features, slots, [&] { return 4 * uniform() - 1; });
        prototypes = prototypes.cast<float>().cast<double>();
        write("W.npy", prototypes);
    }

    /// The pooled vectors of bag b, D x K, from an array of shape (B, K, D).
    MatrixXd pooled(Index b, const std::string& name = "Y.npy") const {
        const std::vector<std::int64_t> shape = support::NpyFile(directory / name).shape();
        if (shape != std::vector<std::int64_t>{bags(), slots, features}) return {};
        const std::string bytes = read_bytes(directory / name);  // the data is at the end
        const auto size = static_cast<std::size_t>(bags() * slots * features);
        std::vector<double> all(size);
        std::copy_n(bytes.end() - static_cast<std::ptrdiff_t>(size * sizeof(double)), size * sizeof(double),
                    reinterpret_cast<char*>(all.data()));
        return Eigen::Map<const MatrixXd>(all.data() + b * slots * features, features, slots);
    }

    /// The plan of bag b, K x N, from P.npy.
    MatrixXd plan(Index b) const { return read<double>("P.npy").middleCols(offsets[b], size(b)); }

    MatrixXd prototypes;  ///< W.npy, D x K
};

double largest(const MatrixXd& values) { return values.size() == 0 ? infinity : values.cwiseAbs().maxCoeff(); }

MatrixXd negative_distances(const MatrixXd& prototypes, const MatrixXd& bag, int power) {
    return MatrixXd::NullaryExpr(prototypes.cols(), bag.cols(), [&](Index k, Index n) {
        return -std::pow((prototypes.col(k) - bag.col(n)).norm(), power);
    });
}

/// Relative to the largest, of vectors less their smallest entry.
MatrixXd relative_distances(MatrixXd prototypes, MatrixXd bag, int power) {
    prototypes.rowwise() -= prototypes.colwise().minCoeff().eval();
    bag.rowwise() -= bag.colwise().minCoeff().eval();
    const MatrixXd distances = negative_distances(prototypes, bag, power);
    return distances / distances.cwiseAbs().maxCoeff();
}

MatrixXd reward_of(const std::string& cost, const MatrixXd& prototypes, const MatrixXd& bag) {
    if (cost == "dot") return prototypes.transpose() * bag;
    if (cost == "reldist") return relative_distances(prototypes, bag, 1);
    if (cost == "relsqdist") return relative_distances(prototypes, bag, 2);
    return negative_distances(prototypes, bag, 2);
}

/// exp(S) with rows (or columns) of sum 1.
MatrixXd softmax_of_rows(const MatrixXd& reward) {
    ArrayXXd weights = (reward.colwise() - reward.rowwise().maxCoeff()).array().exp();
    weights.colwise() /= weights.rowwise().sum().eval();
    return weights;
}

MatrixXd means(const MatrixXd& plan, const MatrixXd& bag) {
    return bag * plan.transpose() * plan.rowwise().sum().cwiseInverse().asDiagonal();
}

/// How far a plan is from optimal for entropy with these alphas and uniform priors, in units of log P: the largest
/// |log P - (S + f + g)/a0| / |f|'s, where soft sides say what f and g are and hard ones what the marginal is.
double violation(const MatrixXd& plan, const MatrixXd& reward, double alpha0, const VectorXd& alphas,
                 const VectorXd& p0, double alpha2) {
    const VectorXd rows = plan.rowwise().sum();
    const VectorXd columns = plan.colwise().sum();
    const double q0 = 1.0 / static_cast<double>(plan.cols());
    ArrayXXd rest = alpha0 * plan.array().log() - reward.array();  // f + g
    double worst = 0;
    for (Index k = 0; k < plan.rows(); ++k) {
        if (std::isinf(alphas[k])) {
            worst = std::max(worst, std::abs(std::log(rows[k] / p0[k])));
        } else {
            rest.row(k) += alphas[k] * std::log(rows[k] / p0[k]);
        }
    }
    if (std::isinf(alpha2)) {
        worst = std::max(worst, (columns / q0).array().log().abs().maxCoeff());
    } else {
        rest.rowwise() += alpha2 * (columns / q0).array().log().transpose();
    }
    // What is left is constant along the rows that are hard, and along the columns if they are; and 0 in a soft row and a
    // soft column. Without a hard side there is nothing left.
    if (std::isinf(alpha2)) rest.rowwise() -= rest.row(0).eval();
    for (Index k = 0; k < plan.rows(); ++k) {
        if (std::isinf(alphas[k])) rest.row(k) -= rest(k, 0);
    }
    return std::max(worst, rest.abs().maxCoeff() / alpha0);
}

TEST_CASE("pool --slots: with free instances a slot pools by the softmax of its rewards") {
    const SlotProgram program;
    for (const std::string cost : {"", "sqdist", "dot", "reldist", "relsqdist"}) {
        for (const double alpha0 : {0.3, 2.0}) {
            for (const std::string readout : {"", "conditional", "joint", "residual", "joint-residual"}) {
                const std::string arguments = "--slots W.npy --plan P.npy --alpha0 " + std::to_string(alpha0) +
                                              (cost.empty() ? "" : " --cost " + cost) +
                                              (readout.empty() ? "" : " --readout " + readout);
                INFO(arguments);
                const auto run = program.pool(arguments);
                CHECK(run.status == 0);
                CHECK(run.out + run.err == "");
                for (Index b = 0; b < program.bags(); ++b) {
                    const MatrixXd bag = program.bag(b);
                    const MatrixXd plan =
                        softmax_of_rows(reward_of(cost, program.prototypes, bag) / alpha0) / static_cast<double>(slots);
                    CHECK(largest(program.plan(b) - plan) < 1e-13);
                    MatrixXd expected = means(plan, bag);  // K r_k = 1: the joint readout is the same
                    if (readout.ends_with("residual")) expected -= program.prototypes;
                    CHECK(largest(program.pooled(b) - expected) < 1e-12);
                }
            }
        }
    }
}

TEST_CASE("pool --slots: plans meet the conditions of optimality") {
    const SlotProgram program;
    const VectorXd p0 = VectorXd::Constant(slots, 1.0 / slots);
    for (const auto& [alpha1, alpha2] :
         {std::pair("inf", "inf"), std::pair("2", "inf"), std::pair("inf", "0.5"), std::pair("2", "0.5")}) {
        std::array<MatrixXd, 3> plans;
        for (const std::string solver : {"automatic", "sinkhorn", "newton", "badmm"}) {
            const std::string arguments =
                "--slots W.npy --alpha0 0.7 --plan P.npy --weights w.npy --report report.json "
                "--tolerance 1e-10 --alpha1 " +
                std::string(alpha1) + " --alpha2 " + alpha2 + " --solver " + solver;
            INFO(arguments);
            REQUIRE(program.pool(arguments).status == 0);
            const VectorXd weights = support::NpyFile(program.directory / "w.npy").vector<double>();
            const auto report = program.read_report();
            CHECK(report["slots"] == slots);
            CHECK(report["features"] == program.features);
            CHECK(report["solver"] == solver);
            for (Index b = 0; b < program.bags(); ++b) {
                const MatrixXd plan = program.plan(b);
                const VectorXd alphas = VectorXd::Constant(slots, std::stod(alpha1));
                const MatrixXd reward = reward_of("", program.prototypes, program.bag(b));
                // The residual of badmm bounds errors relative to the marginals, not to small entries.
                if (solver == "badmm") CHECK(largest(plan - plans[static_cast<std::size_t>(b)]) < 1e-9);
                if (solver != "badmm") CHECK(violation(plan, reward, 0.7, alphas, p0, std::stod(alpha2)) < 1e-7);
                plans[static_cast<std::size_t>(b)] = plan;
                CHECK(largest(program.pooled(b) - means(plan, program.bag(b))) < 1e-12);
                const VectorXd columns = plan.colwise().sum();
                CHECK(largest(weights.segment(program.offsets[b], program.size(b)) - columns) < 1e-14);
                const auto masses =
                    report["bags"][static_cast<std::size_t>(b)]["slot_masses"].get<std::vector<double>>();
                REQUIRE(masses.size() == slots);
                const VectorXd rows = plan.rowwise().sum();
                for (Index k = 0; k < slots; ++k) {
                    CHECK(masses[static_cast<std::size_t>(k)] == Catch::Approx(rows[k]).epsilon(1e-12));
                }
            }
        }
    }
}

TEST_CASE("pool --slots: the dummy slot takes its part and is dropped") {
    const SlotProgram program;
    for (const bool partial : {true, false}) {
        const std::string dummy = partial ? "--partial 0.4" : "--dustbin -1.5";
        REQUIRE(
            program.pool("--slots W.npy --alpha0 0.7 --alpha2 inf --plan P.npy --tolerance 1e-11 " + dummy).status ==
            0);
        for (Index b = 0; b < program.bags(); ++b) {
            const auto instances = static_cast<double>(program.size(b));
            const double mass = partial ? 0.4 : slots / instances;
            const MatrixXd plan = program.plan(b);
            REQUIRE(plan.rows() == slots);
            CHECK(largest(plan.rowwise().sum().array() - mass / slots) < 1e-9);
            CHECK(plan.colwise().sum().maxCoeff() < 1 / instances);
            // The dummy slot's row is what is left of every instance.
            MatrixXd whole(slots + 1, plan.cols());
            whole << plan, (1 / instances - plan.colwise().sum().array()).matrix();
            MatrixXd reward(slots + 1, plan.cols());
            reward << reward_of("", program.prototypes, program.bag(b)),
                MatrixXd::Constant(1, plan.cols(), partial ? 0 : -1.5);
            VectorXd p0 = VectorXd::Constant(slots + 1, mass / slots);
            p0[slots] = 1 - mass;
            CHECK(violation(whole, reward, 0.7, VectorXd::Constant(slots + 1, infinity), p0, infinity) < 1e-7);
            CHECK(largest(program.pooled(b) - means(plan, program.bag(b))) < 1e-12);
        }
    }
}

/// Sinkhorn's steps with hard marginals, from g = 0 or f = 0, without any of the library's.
MatrixXd plan_of_steps(const MatrixXd& reward, double alpha0, const VectorXd& p0, int steps, bool slots_first) {
    const ArrayXXd kernel = (reward / alpha0).array().exp();
    ArrayXd u = ArrayXd::Ones(reward.rows());
    ArrayXd v = ArrayXd::Ones(reward.cols());
    const double q0 = 1.0 / static_cast<double>(reward.cols());
    for (int step = 0; step < steps; ++step) {
        if (slots_first) u = p0.array() / (kernel.matrix() * v.matrix()).array();
        v = q0 / (kernel.matrix().transpose() * u.matrix()).array();
        if (!slots_first) u = p0.array() / (kernel.matrix() * v.matrix()).array();
    }
    return u.matrix().asDiagonal() * kernel.matrix() * v.matrix().asDiagonal();
}

TEST_CASE("pool --system otke: ten steps that end on the slots, K sum_n P_kn x_n") {
    const SlotProgram program;
    const VectorXd p0 = VectorXd::Constant(slots, 1.0 / slots);
    const MatrixXd unit = program.prototypes.colwise().normalized();
    for (const int steps : {10, 1}) {
        const std::string other = steps == 10 ? "" : " --iterations 1";
        REQUIRE(program.pool("--slots W.npy --unit --system otke --report report.json" + other).status == 0);
        CHECK(program.read_report()["system"] == "otke");
        CHECK(program.read_report()["bags"][0]["iterations"] == steps);
        for (Index b = 0; b < program.bags(); ++b) {
            const MatrixXd bag = program.bag(b).colwise().normalized();
            const MatrixXd plan = plan_of_steps(unit.transpose() * bag, 0.1, p0, steps, false);
            CHECK(largest(program.pooled(b) - slots * bag * plan.transpose()) < 1e-12);
        }
    }
}

TEST_CASE("pool --system salad: three steps that end on the instances, with a dustbin, from scores") {
    const SlotProgram program;
    const MatrixXd scores = program.prototypes.transpose() * program.instances;
    program.write("S.npy", scores);
    std::string results;
    for (const std::string from : {"--slots W.npy", "--reward S.npy", "--slots 3 --reward S.npy"}) {
        INFO(from);
        REQUIRE(program.pool(from + " --system salad --dustbin 0.8").status == 0);
        for (Index b = 0; b < program.bags(); ++b) {
            const MatrixXd bag = program.bag(b);
            const auto instances = static_cast<double>(program.size(b));
            MatrixXd reward(slots + 1, bag.cols());
            reward << scores.middleCols(program.offsets[b], program.size(b)), MatrixXd::Constant(1, bag.cols(), 0.8);
            VectorXd p0 = VectorXd::Constant(slots + 1, 1 / instances);
            p0[slots] = (instances - slots) / instances;
            const MatrixXd plan = plan_of_steps(reward, 1, p0, 3, true).topRows(slots);
            CHECK(largest(program.pooled(b) - instances * bag * plan.transpose()) < 1e-12);
        }
    }
}

TEST_CASE("pool --system otsurv and motcat: the optimum, by its conditions") {
    const SlotProgram program;
    REQUIRE(program.pool("--slots W.npy --system otsurv --partial 0.4 --plan P.npy --tolerance 1e-11").status == 0);
    for (Index b = 0; b < program.bags(); ++b) {
        const MatrixXd plan = program.plan(b);
        MatrixXd whole(slots + 1, plan.cols()), reward(slots + 1, plan.cols());
        whole << plan, (1.0 / static_cast<double>(plan.cols()) - plan.colwise().sum().array()).matrix();
        reward << relative_distances(program.prototypes, program.bag(b), 1), MatrixXd::Zero(1, plan.cols());
        VectorXd alphas = VectorXd::Ones(slots + 1), p0 = VectorXd::Constant(slots + 1, 0.4 / slots);
        alphas[slots] = infinity;
        p0[slots] = 0.6;
        CHECK(violation(whole, reward, 0.1, alphas, p0, infinity) < 1e-7);
        CHECK(largest(program.pooled(b) - program.bag(b) * plan.transpose() / 0.4) < 1e-12);
    }
    REQUIRE(program.pool("--slots W.npy --system motcat --plan P.npy --tolerance 1e-11").status == 0);
    for (Index b = 0; b < program.bags(); ++b) {
        const MatrixXd plan = program.plan(b);
        const MatrixXd reward = relative_distances(program.prototypes, program.bag(b), 2);
        const VectorXd half = VectorXd::Constant(slots, 0.5), p0 = VectorXd::Constant(slots, 1.0 / slots);
        CHECK(violation(plan, reward, 0.1, half, p0, 0.5) < 1e-7);
        CHECK(largest(program.pooled(b) - program.bag(b) * plan.transpose()) < 1e-12);
    }
}

TEST_CASE("pool --system netvlad and slot-attention: shares of every instance") {
    const SlotProgram program;
    const MatrixXd& w = program.prototypes;
    for (const std::string cost : {"", " --cost dot"}) {
        REQUIRE(program.pool("--slots W.npy --system netvlad --alpha0 0.5" + cost).status == 0);
        for (Index b = 0; b < program.bags(); ++b) {
            const MatrixXd bag = program.bag(b);
            const MatrixXd reward = reward_of(cost.empty() ? "sqdist" : "dot", w, bag);
            const MatrixXd shares = softmax_of_rows((reward / 0.5).transpose()).transpose();
            const VectorXd masses = shares.rowwise().sum();
            CHECK(largest(program.pooled(b) - (bag * shares.transpose() - w * masses.asDiagonal())) < 1e-12);
        }
    }
    REQUIRE(program.pool("--slots W.npy --system slot-attention").status == 0);
    for (Index b = 0; b < program.bags(); ++b) {
        const MatrixXd bag = program.bag(b);
        const MatrixXd shares = softmax_of_rows((w.transpose() * bag).transpose()).transpose();
        CHECK(largest(program.pooled(b) - means(shares, bag)) < 1e-12);
    }
}

TEST_CASE("pool --system lot: exact transport of as many points is the best permutation") {
    const SlotProgram program;
    program.write("X.npy", MatrixXd(program.instances.leftCols(slots)));
    REQUIRE(program.run("--input X.npy --slots W.npy --system lot --output Y.npy").status == 0);
    const MatrixXd bag = program.instances.leftCols(slots);
    const MatrixXd reward = reward_of("sqdist", program.prototypes, bag);
    std::array<Index, slots> order = {0, 1, 2}, best = order;
    double most = -infinity;
    do {
        double sum = 0;
        for (Index k = 0; k < slots; ++k) sum += reward(k, order[static_cast<std::size_t>(k)]);
        if (sum > most) best = order;
        most = std::max(most, sum);
    } while (std::next_permutation(order.begin(), order.end()));
    const std::string bytes = read_bytes(program.directory / "Y.npy");
    MatrixXd pooled(program.features, slots);
    const auto size = static_cast<std::size_t>(pooled.size()) * sizeof(double);
    std::copy_n(bytes.end() - static_cast<std::ptrdiff_t>(size), size, reinterpret_cast<char*>(pooled.data()));
    for (Index k = 0; k < slots; ++k) {
        const VectorXd moved = bag.col(best[static_cast<std::size_t>(k)]) - program.prototypes.col(k);
        CHECK(largest(pooled.col(k) - moved) < 1e-12);
    }
}

TEST_CASE("pool --system: given options replace the system's") {
    const SlotProgram program;
    // All of a system's parameters in words give what its name gives.
    const std::string rest = " --slots W.npy --tolerance 1e-10 ";
    REQUIRE(program.pool(rest + "--cost relsqdist --alpha0 0.1 --alpha1 0.5 --alpha2 0.5 --readout joint").status == 0);
    const SlotProgram other;
    REQUIRE(other.pool(rest + "--system motcat").status == 0);
    for (Index b = 0; b < program.bags(); ++b) {
        CHECK(largest(program.pooled(b) - slots * other.pooled(b)) < 1e-12);  // their factor is 1, not K
    }
    // A tolerance takes the place of the steps, and so does a solver that takes no such steps.
    for (const std::string until : {"--tolerance 1e-9", "--solver newton", "--max-iterations 500"}) {
        INFO(until);
        REQUIRE(program.pool("--slots W.npy --system otke --report report.json " + until).status == 0);
        const auto report = program.read_report();
        for (const auto& bag : report["bags"]) CHECK(bag["status"] == "converged");
    }
    // Where the system's solver does not solve the problem, another one does.
    for (const std::string changed : {"--system lot --alpha0 0.5", "--system otke --alpha0 0 --alpha2 1",
                                      "--system otke --regularizer quadratic"}) {
        INFO(changed);
        REQUIRE(program.pool("--slots W.npy --report report.json " + changed).status == 0);
        CHECK(program.read_report()["solver"] == "automatic");
        CHECK(program.read_report()["not_converged"] == 0);
    }
}

TEST_CASE("pool --slots: in float the same to its precision") {
    const SlotProgram program;
    for (const std::string arguments :
         {"--slots W.npy --alpha0 0.5 --alpha2 inf", "--slots W.npy --system otke --unit",
          "--slots W.npy --system salad --dustbin 0.3", "--slots W.npy --system otsurv --partial 0.5",
          "--slots W.npy --system netvlad", "--slots W.npy --alpha1 1 --alpha2 1 --regularizer quadratic"}) {
        INFO(arguments);
        REQUIRE(program.pool(arguments).status == 0);
        REQUIRE(program.run("--input X32.npy --ptr ptr.npy --output Y32.npy " + arguments).status == 0);
        const support::NpyFile file(program.directory / "Y32.npy");
        CHECK(file.shape() == std::vector<std::int64_t>{program.bags(), slots, program.features});
        const std::string bytes = read_bytes(program.directory / "Y32.npy");
        Eigen::VectorXf in_float(program.bags() * slots * program.features);
        const auto size = static_cast<std::size_t>(in_float.size()) * sizeof(float);
        std::copy_n(bytes.end() - static_cast<std::ptrdiff_t>(size), size, reinterpret_cast<char*>(in_float.data()));
        const Index each = slots * program.features;
        for (Index b = 0; b < program.bags(); ++b) {
            const VectorXd in_double = program.pooled(b).reshaped();
            CHECK(largest(in_float.segment(b * each, each).cast<double>() - in_double) < 1e-4);
        }
    }
}

TEST_CASE("pool --slots K: prototypes by k-means, which are saved, and a sample") {
    const SlotProgram program;
    const std::string rest = " --alpha0 0.5 --alpha2 inf ";
    REQUIRE(program.pool("--slots 3 --save-prototypes made.npy" + rest).status == 0);
    const std::string pooled = read_bytes(program.directory / "Y.npy");
    const MatrixXd made = program.read<double>("made.npy");
    REQUIRE(made.rows() == program.features);
    REQUIRE(made.cols() == slots);
    // Every centre is the mean of the instances that are nearest to it.
    MatrixXd sums = MatrixXd::Zero(program.features, slots);
    VectorXd sizes = VectorXd::Zero(slots);
    for (Index n = 0; n < program.instances.cols(); ++n) {
        Index nearest = 0;
        (made.colwise() - program.instances.col(n)).colwise().squaredNorm().minCoeff(&nearest);
        sums.col(nearest) += program.instances.col(n);
        ++sizes[nearest];
    }
    CHECK(largest(made - sums * sizes.cwiseInverse().asDiagonal()) < 1e-12);
    REQUIRE(program.pool("--slots made.npy" + rest).status == 0);
    CHECK(read_bytes(program.directory / "Y.npy") == pooled);
    REQUIRE(program.pool("--slots 3 --seed 1" + rest).status == 0);
    CHECK(read_bytes(program.directory / "Y.npy") == pooled);

    std::vector<std::string> samples;
    for (const std::string seed : {"1", "2", "3"}) {
        REQUIRE(program.pool("--slots 3 --prototypes sample --save-prototypes made.npy --seed " + seed + rest).status ==
                0);
        const MatrixXd sample = program.read<double>("made.npy");
        for (Index k = 0; k < slots; ++k) {
            CHECK((program.instances.colwise() - sample.col(k)).colwise().squaredNorm().minCoeff() == 0);
        }
        samples.push_back(read_bytes(program.directory / "made.npy"));
    }
    CHECK((samples[0] != samples[1] || samples[0] != samples[2]));
}

TEST_CASE("pool --slots K: excluded instances are in no prototype, and equal ones are told") {
    const SlotProgram program;
    MatrixXd odd = program.instances;
    odd.col(4).setConstant(1e9);
    program.write("X.npy", odd);
    VectorXd q0 = VectorXd::Ones(odd.cols());
    q0[4] = 0;
    program.write("q0.npy", q0);
    for (const std::string from : {"kmeans", "sample"}) {
        REQUIRE(program.pool("--slots 19 --prototypes " + from + " --q0 q0.npy --save-prototypes made.npy").status ==
                0);
        CHECK(program.read<double>("made.npy").maxCoeff() < 10);
    }
    CHECK(program.pool("--slots 20 --q0 q0.npy").err ==
          "pool: --slots: found 20, allowed at most 19, the number of instances, or a file of prototypes\n");

    program.write("X.npy", MatrixXd(program.instances.leftCols(2).replicate(1, 10)));
    const auto run = program.pool("--slots 3 --save-prototypes made.npy");
    CHECK(run.status == 0);
    CHECK(run.err == "pool: only 2 different instances for 3 prototypes; some prototypes are equal\n");
}

TEST_CASE("pool --slots: rewards, priors and empty bags") {
    const SlotProgram program;
    const MatrixXd reward = program.prototypes.transpose() * program.instances;
    program.write("R.npy", reward);
    VectorXd q0 = VectorXd::Ones(20);
    q0[9] = 0;
    program.write("q0.npy", q0);
    program.write("p0.npy", VectorXd(Eigen::Vector3d(1, 2, 5)));
    REQUIRE(program.pool("--slots 3 --reward R.npy --q0 q0.npy --p0 p0.npy --alpha2 inf --plan P.npy").status == 0);
    CHECK(program.read<double>("P.npy").col(9).sum() == 0);
    CHECK(largest(program.plan(0).rowwise().sum() - Eigen::Vector3d(1, 2, 5) / 8) < 1e-7);
    CHECK(largest(program.plan(1).colwise().sum().transpose() -
                  (VectorXd(6) << 0.2, 0.2, 0.2, 0, 0.2, 0.2).finished()) < 1e-7);

    program.write("ptr.npy", Eigen::Matrix<std::int64_t, Eigen::Dynamic, 1>{{0, 12, 12, 20}});
    REQUIRE(program.pool("--slots W.npy --empty zeros --report report.json").status == 0);
    CHECK(largest(program.pooled(1)) == 0);
    CHECK(largest(program.pooled(2)) > 0);
    CHECK(program.read_report()["bags"][1]["status"] == "empty");
}

TEST_CASE("pool --slots: text, threads and folders") {
    const SlotProgram program;
    REQUIRE(program.pool("--slots W.npy --alpha2 1").status == 0);
    const auto run = program.run("--input X.npy --ptr ptr.npy --slots W.npy --alpha2 1");
    CHECK(std::count(run.out.begin(), run.out.end(), '\n') == program.bags() * slots);
    std::istringstream text(run.out);
    for (Index b = 0; b < program.bags(); ++b) {
        MatrixXd pooled(program.features, slots);
        for (double& y : pooled.reshaped()) text >> y;
        CHECK(pooled == program.pooled(b));
    }
    const std::string all = "--slots 4 --alpha0 0.1 --alpha1 3 --alpha2 5 --plan P.npy --report report.json --threads ";
    if (program.pool("--slots 4 --threads 2").status == 2) return;  // built without TBB
    std::vector<std::string> results;
    for (const std::string threads : {"1", "2", "7"}) {
        REQUIRE(program.pool(all + threads).status == 0);
        results.push_back(read_bytes(program.directory / "Y.npy") + read_bytes(program.directory / "P.npy") +
                          read_bytes(program.directory / "report.json"));
    }
    for (const std::string& result : results) CHECK(result == results.front());
}

TEST_CASE("pool to slots refuses in a sentence what does not go together") {
    const SlotProgram program;
    program.write("R.npy", MatrixXd(program.prototypes.transpose() * program.instances));
    MatrixXd bad = program.prototypes;
    bad(2, 1) = infinity;
    program.write("bad.npy", bad);
    program.write("small.npy", MatrixXd(bad.topRows(2)));
    program.write("large.npy", MatrixXd(1e200 * program.prototypes));
    bad = program.prototypes.transpose() * program.instances;
    bad(1, 7) = infinity;
    program.write("badR.npy", bad);
    tests::write_bytes(program.directory / "Y.npy", "as it was");
    const std::vector<std::string> files = program.directory.files();
    const std::vector<std::pair<std::string, std::string>> refused = {
        {"--slots 0", "--slots: found '0', allowed 1 to 2147483647, or a file of prototypes"},
        {"--slots none", "--slots: found 'none', allowed 1 to 2147483647, or a file of prototypes"},
        {"--slots -3", "--slots: found '-3', allowed 1 to 2147483647, or a file of prototypes"},
        {"--slots 21", "--slots: found 21, allowed at most 20, the number of instances, or a file of prototypes"},
        {"--slots ptr.npy", "ptr.npy: shape: found (4,), allowed (rows, columns) or (1, rows, columns)"},
        {"--slots small.npy",
         "small.npy: shape: found (3, 2), allowed (K, 5), a prototype a row, with the features of the instances"},
        {"--slots bad.npy", "bad.npy: prototype 1, feature 2: found inf, allowed finite numbers"},
        {"--slots 3 --pooling max", "--slots: found with --pooling max, allowed only with --pooling uot"},
        {"--cost dot", "--cost: found without slots, allowed only with --slots or --system"},
        {"--seed 3", "--seed: found without slots, allowed only with --slots or --system"},
        {"--unit", "--unit: found without slots, allowed only with --slots or --system"},
        {"--readout residual", "--readout: found residual without slots, allowed conditional or joint"},
        {"--slots 3 --cost l1", "--cost: found 'l1', allowed sqdist, dot, reldist or relsqdist"},
        {"--slots 3 --cost dot --reward R.npy", "--cost: found with --reward, allowed one of the two"},
        {"--slots 3 --dustbin 1 --partial 0.5", "--partial: found with --dustbin, allowed one of the two"},
        {"--slots 3 --partial 1.5", "--partial: found '1.5', allowed 1e-9 to 1"},
        {"--slots 3 --partial 0", "--partial: found '0', allowed 1e-9 to 1"},
        {"--slots 3 --dtype float --dustbin 1e39",
         "--dustbin: found 1e+39, allowed 0, 1.5e-45 to 3.4e+38 and inf with --dtype float"},
        {"--slots 3 --dustbin inf", "--dustbin: found 'inf', allowed finite numbers"},
        {"--slots 6 --dustbin 1",
         "--dustbin: found 6 instances in bag 0, allowed more instances than the 6 slots in every bag"},
        {"--slots W.npy --seed 2",
         "--seed: found with prototypes from a file, allowed only with --slots K, which makes prototypes"},
        {"--slots 3 --reward R.npy --save-prototypes w.npy",
         "--save-prototypes: found with --reward, allowed only with --slots K, which makes prototypes"},
        {"--slots W.npy --reward R.npy",
         "--slots: found a file with --reward, which needs no prototypes, allowed a number, or no --reward"},
        {"--slots 3 --reward R.npy --readout residual",
         "--slots: found no file, with --reward and a readout that subtracts prototypes, allowed a file of prototypes"},
        {"--slots 4 --reward R.npy",
         "R.npy: shape: found (20, 3), allowed (20, 4), an instance a row and a slot a column"},
        {"--slots 3 --reward badR.npy",
         "badR.npy: bag 1, instance 1 (row 7), slot 1: found inf, allowed finite numbers, or -inf where a slot may not "
         "draw "
         "on an instance"},
        {"--slots 3 --p0 ptr.npy", "ptr.npy: shape: found (4,), allowed (3,), a number a slot"},
        {"--system otke",
         "--slots: found none with --system otke, allowed a number of slots, a file of prototypes, or --reward"},
        {"--system salad --slots 3", "--dustbin: found none with --system salad, allowed the dustbin's reward"},
        {"--system otsurv --slots 3",
         "--partial: found none with --system otsurv, allowed the mass that the slots get"},
        {"--system lot --slots 3 --solver sinkhorn",
         "--solver: found sinkhorn, allowed automatic, active-set or badmm with --system lot"},
        {"--slots 3 --solver active-set", "--solver: found active-set, allowed active-set only where alpha0 is 0"},
        {"--slots W.npy --save-prototypes W.npy",
         "--save-prototypes: found with prototypes from a file, allowed only with --slots K, which makes prototypes"},
        {"--slots W.npy --plan W.npy", "W.npy: output: found the file of --slots, allowed another file, or --force"},
        {"--slots 3 --save-prototypes X.npy",
         "X.npy: output: found the file of --input, allowed another file, or --force"}};
    for (const auto& [arguments, message] : refused) {
        INFO(arguments);
        const auto run = program.pool(arguments);
        CHECK(run.status == 2);
        CHECK(run.err == "pool: " + message + "\n");
        CHECK(program.directory.files() == files);
        CHECK(read_bytes(program.directory / "Y.npy") == "as it was");
    }
    const auto large = program.pool("--slots large.npy");
    CHECK(large.status == 2);
    CHECK(large.err.find("allowed numbers whose squared distances are finite as float64") != std::string::npos);
}

}  // namespace pool_slots_test

#endif
