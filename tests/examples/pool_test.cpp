#ifdef POOL_PROGRAM

#include <Eigen/Core>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "pool_program.hpp"
#include "support/catch.hpp"

using Eigen::ArrayXXd;
using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;
using tests::PoolProgram;
using tests::read_bytes;

namespace pool_test {

/// The weights of softmax pooling, D x N: each row exp(x / t) / sum exp(x / t).
ArrayXXd softmax_weights(const MatrixXd& bag, double t) {
    ArrayXXd weights = ((bag.colwise() - bag.rowwise().maxCoeff()) / t).array().exp();
    weights.colwise() /= weights.rowwise().sum().eval();
    return weights;
}

/// Every bag pooled by `direct(bag, q0 of the bag)`: D x B.
template <class Direct>
MatrixXd pooled_by(const PoolProgram& program, const Direct& direct) {
    MatrixXd pooled(program.features, program.bags());
    for (Index b = 0; b < program.bags(); ++b) {
        const VectorXd q0 = program.q0.segment(program.offsets[b], program.size(b));
        pooled.col(b) = direct(MatrixXd(program.bag(b)), q0);
    }
    return pooled;
}

VectorXd mean(const MatrixXd& bag, const VectorXd&) { return bag.rowwise().mean(); }
VectorXd max(const MatrixXd& bag, const VectorXd&) { return bag.rowwise().maxCoeff(); }
VectorXd min(const MatrixXd& bag, const VectorXd&) { return bag.rowwise().minCoeff(); }
VectorXd sum(const MatrixXd& bag, const VectorXd&) { return bag.rowwise().sum(); }
VectorXd attention(const MatrixXd& bag, const VectorXd& q0) { return bag * q0; }
VectorXd softmax(const MatrixXd& bag, double t) { return (bag.array() * softmax_weights(bag, t)).rowwise().sum(); }
VectorXd log_mean_exp(const MatrixXd& bag, double t) {
    const VectorXd top = bag.rowwise().maxCoeff();
    return top.array() + t * ((bag.colwise() - top) / t).array().exp().rowwise().mean().log();
}

double largest(const MatrixXd& values) {
    return values.size() == 0 ? std::numeric_limits<double>::infinity() : values.cwiseAbs().maxCoeff();
}

struct Expectation {
    std::string arguments;
    MatrixXd pooled;
    bool regularized = true;  ///< Whether alpha0 > 0.
};

/// The arguments of every pooling with what they should give.
std::vector<Expectation> expectations(const PoolProgram& program) {
    using Bag = MatrixXd;
    using Prior = VectorXd;
    const auto by = [&](const auto& direct) { return pooled_by(program, direct); };
    const auto softmax_at = [](double t) { return [t](const Bag& x, const Prior&) { return softmax(x, t); }; };
    const auto lse_at = [](double t) { return [t](const Bag& x, const Prior&) { return log_mean_exp(x, t); }; };
    const auto mixed_at = [](double w) {
        return [w](const Bag& x, const Prior& q) { return VectorXd(w * mean(x, q) + (1 - w) * max(x, q)); };
    };
    return {{"--pooling mean", by(mean)},
            {"--pooling max", by(max), false},
            {"--pooling min", by(min), false},
            {"--pooling sum", by(sum)},
            {"--pooling softmax", by(softmax_at(1))},
            {"--pooling softmax --temperature 0.25", by(softmax_at(0.25))},
            {"--pooling softmax --temperature 0", by(max), false},
            {"--pooling softmax --temperature inf", by(mean)},
            {"--pooling lse", by(lse_at(1))},
            {"--pooling lse --temperature 0.25", by(lse_at(0.25))},
            {"--pooling attention --scores s.npy", by(attention)},
            {"--pooling attention --q0 q0.npy", by(attention)},
            {"--pooling mixed", by(mixed_at(0.5)), false},
            {"--pooling mixed --weight 0.2", by(mixed_at(0.2)), false},
            {"--pooling mixed --weight 1", by(mean), false},
            {"", by(softmax_at(1))},
            {"--pooling uot --alpha0 inf", by(mean)},
            {"--alpha0 0", by(max), false},
            {"--alpha0 0.25 --alpha1 3 --alpha2 0", by(softmax_at(0.25))},
            {"--alpha0 inf --alpha2 inf --q0 q0.npy", by(attention)},
            {"--alpha0 inf --regularizer relative-entropy --q0 q0.npy", by(attention)}};
}

std::vector<std::string> statuses(const nlohmann::json& report) {
    std::vector<std::string> words;
    for (const auto& bag : report["bags"]) words.push_back(bag["status"]);
    return words;
}

TEST_CASE("pool: every pooling is its direct formula") {
    const PoolProgram program;
    for (const auto& [arguments, expected, regularized] : expectations(program)) {
        INFO(arguments);
        const auto in_double = program.pool(arguments);
        CHECK(in_double.status == 0);
        CHECK(in_double.out + in_double.err == "");
        CHECK(largest(program.read<double>("Y.npy") - expected) < 1e-12);

        CHECK(program.run("--input X32.npy --ptr ptr.npy --output Y.npy " + arguments).status == 0);
        const MatrixXd in_float = program.read<float>("Y.npy").cast<double>();
        CHECK(in_float.size() == expected.size());
        CHECK(largest(in_float - expected) < 1e-6 * largest(expected));
    }
}

TEST_CASE("pool: every solver iterates to the direct formula") {
    const PoolProgram program;
    for (const std::string solver : {"", "--solver sinkhorn", "--solver badmm", "--solver newton"}) {
        for (const auto& [arguments, expected, regularized] : expectations(program)) {
            const std::string all = "--iterate --report report.json " + solver + " " + arguments;
            INFO(all);
            const auto run = program.pool(all);
            if (!regularized && (solver == "--solver sinkhorn" || solver == "--solver newton")) {
                CHECK(run.status == 2);
                CHECK(run.err.find("automatic") != std::string::npos);
                continue;
            }
            CHECK(run.status == 0);
            CHECK(run.err == "");
            CHECK(largest(program.read<double>("Y.npy") - expected) < 1e-7);
            const auto report = program.read_report();
            for (const auto& bag : report["bags"]) {
                CHECK(bag["iterations"] > 0);
                CHECK(bag["residual"] <= 1e-8);
            }
        }
    }
}

TEST_CASE("pool: solvers agree where there is no formula, and the plan has its marginals") {
    const PoolProgram program;
    const std::string problem = "--alpha0 0.3 --alpha1 inf --alpha2 inf --p0 p0.npy --q0 q0.npy --plan P.npy ";
    REQUIRE(program.pool(problem + "--solver newton").status == 0);
    const MatrixXd expected = program.read<double>("Y.npy");
    const MatrixXd plan = program.read<double>("P.npy");
    REQUIRE(plan.rows() == program.features);
    REQUIRE(plan.cols() == program.instances.cols());
    CHECK(largest(plan.colwise().sum().transpose() - program.q0) < 1e-8);
    for (Index b = 0; b < program.bags(); ++b) {
        const MatrixXd part = plan.middleCols(program.offsets[b], program.size(b));
        const VectorXd marginal = part.rowwise().sum();
        CHECK(largest(marginal - program.p0) < 1e-8);
        const VectorXd read = part.cwiseProduct(program.bag(b)).rowwise().sum().cwiseQuotient(marginal);
        CHECK(largest(read - expected.col(b)) < 1e-12);
    }
    for (const std::string solver : {"", "--solver sinkhorn", "--solver badmm", "--solver badmm --rho 0.5"}) {
        INFO(solver);
        REQUIRE(program.pool(problem + solver).status == 0);
        CHECK(largest(program.read<double>("Y.npy") - expected) < 1e-6);
        CHECK(largest(program.read<double>("P.npy") - plan) < 1e-7);
    }
}

TEST_CASE("pool: the plans of named poolings") {
    const PoolProgram program;
    REQUIRE(program.pool("--pooling mean --plan P.npy").status == 0);
    MatrixXd plan = program.read<double>("P.npy");
    REQUIRE(plan.cols() == program.instances.cols());
    for (Index b = 0; b < program.bags(); ++b) {
        const double entry = 1.0 / static_cast<double>(program.features * program.size(b));
        CHECK(largest(plan.middleCols(program.offsets[b], program.size(b)).array() - entry) < 1e-15);
    }
    REQUIRE(program.pool("--pooling max --plan P.npy").status == 0);
    plan = program.read<double>("P.npy");
    CHECK((plan.array() > 0).count() == program.features * program.bags());
}

TEST_CASE("pool: the plan of mixed pooling makes the pooled vector") {
    const PoolProgram program;
    for (const std::string weight : {"0", "0.3", "1"}) {
        REQUIRE(program.pool("--pooling mixed --plan P.npy --weight " + weight).status == 0);
        const MatrixXd plan = program.read<double>("P.npy");
        const MatrixXd pooled = program.read<double>("Y.npy");
        REQUIRE(plan.cols() == program.instances.cols());
        CHECK(plan.minCoeff() >= 0);
        for (Index b = 0; b < program.bags(); ++b) {
            const MatrixXd part = plan.middleCols(program.offsets[b], program.size(b));
            const VectorXd marginal = part.rowwise().sum();
            CHECK(largest(marginal.array() - 0.2) < 1e-14);
            const VectorXd read = part.cwiseProduct(program.bag(b)).rowwise().sum().cwiseQuotient(marginal);
            CHECK(largest(read - pooled.col(b)) < 1e-14);
        }
    }
}

TEST_CASE("pool: the weights are the instance marginal of the plan, for every pooling") {
    const PoolProgram program;
    std::vector<std::string> poolings = {"--alpha0 0.3 --alpha1 2 --alpha2 1 --regularizer quadratic",
                                         "--alpha0 0.3 --alpha1 2 --alpha2 1 --readout joint",
                                         "--alpha0 0 --alpha2 inf --max-iterations 100000"};
    for (const auto& [arguments, expected, regularized] : expectations(program)) poolings.push_back(arguments);
    for (const std::string& arguments : poolings) {
        INFO(arguments);
        for (const std::string dtype : {"double", "float"}) {
            const std::string all = arguments + " --dtype " + dtype + " --weights W.npy";
            REQUIRE(program.pool(all).status == 0);
            const std::string alone = read_bytes(program.directory / "W.npy");
            REQUIRE(program.pool(all + " --plan P.npy").status == 0);
            CHECK(read_bytes(program.directory / "W.npy") == alone);
            const support::NpyFile file(program.directory / "W.npy");
            CHECK(to_string(file.dtype()) == (dtype == "float" ? "float32" : "float64"));
            REQUIRE(file.shape() == std::vector<std::int64_t>{program.instances.cols()});
            const MatrixXd plan = support::NpyFile(program.directory / "P.npy").matrix<double>();
            const VectorXd marginal = plan.colwise().sum();
            CHECK(largest(file.vector<double>() - marginal) < (dtype == "float" ? 1e-6 : 1e-14) * largest(marginal));
        }
    }
}

TEST_CASE("pool: quadratic and unregularised problems go to the solver that takes them") {
    const PoolProgram program;
    for (const std::string problem :
         {"--regularizer quadratic --alpha1 1 --alpha2 1", "--alpha0 0 --alpha2 inf --max-iterations 100000"}) {
        INFO(problem);
        CHECK(program.pool("--report report.json --plan P.npy " + problem).status == 0);
        CHECK(program.read_report()["solver"] == "automatic");
        CHECK(largest(program.read<double>("P.npy")) <= 1);
    }
    REQUIRE(program.pool("--report report.json --alpha2 1").status == 0);
    CHECK(program.read_report()["solver"] == "automatic");
    REQUIRE(program.pool("--report report.json --alpha2 1 --iterations 4").status == 0);
    CHECK(program.read_report()["solver"] == "automatic");
}

TEST_CASE("pool: the joint readout is D sum_n P_dn x_dn") {
    const PoolProgram program;
    const std::string problem = "--alpha0 0.5 --alpha1 2 --alpha2 1 --plan P.npy --readout ";
    for (const std::string regularizer : {"", " --regularizer relative-entropy", " --regularizer quadratic"}) {
        REQUIRE(program.pool(problem + "joint" + regularizer).status == 0);
        const MatrixXd weighted = program.read<double>("P.npy").cwiseProduct(program.instances);
        MatrixXd expected(program.features, program.bags());
        for (Index b = 0; b < program.bags(); ++b) {
            const auto part = weighted.middleCols(program.offsets[b], program.size(b));
            expected.col(b) = static_cast<double>(program.features) * part.rowwise().sum();
        }
        CHECK(largest(program.read<double>("Y.npy") - expected) < 1e-12 * largest(expected));
    }
}

TEST_CASE("pool: a reward says where to draw, the instances what is drawn") {
    const PoolProgram program;
    const MatrixXd reward = -2 * program.instances;
    program.write("R.npy", reward);
    REQUIRE(program.pool("--pooling max --reward R.npy").status == 0);
    CHECK(largest(program.read<double>("Y.npy") - pooled_by(program, min)) < 1e-12);
    const MatrixXd expected = pooled_by(program, [](const MatrixXd& bag, const VectorXd&) {
        return VectorXd((bag.array() * softmax_weights(-2 * bag, 0.5)).rowwise().sum());
    });
    for (const std::string pooling : {"--pooling softmax --temperature 0.5", "--alpha0 0.5"}) {
        REQUIRE(program.pool(pooling + " --reward R.npy").status == 0);
        CHECK(largest(program.read<double>("Y.npy") - expected) < 1e-12);
    }
}

TEST_CASE("pool: an instance of prior 0 is left out") {
    const PoolProgram program;
    VectorXd q0 = VectorXd::Zero(program.instances.cols());
    for (Index b = 0; b < program.bags(); ++b) q0[program.offsets[b]] = 1;
    program.write("q0.npy", q0);
    for (const std::string problem : {"--alpha0 0", "--alpha0 2 --alpha1 1", "--alpha2 3", "--pooling attention"}) {
        INFO(problem);
        REQUIRE(program.pool(problem + " --q0 q0.npy").status == 0);
        const MatrixXd pooled = program.read<double>("Y.npy");
        for (Index b = 0; b < program.bags(); ++b) CHECK(largest(pooled.col(b) - program.bag(b).col(0)) < 1e-12);
    }
    REQUIRE(program.pool("--alpha2 3 --q0 q0.npy --weights W.npy").status == 0);
    const VectorXd weights = support::NpyFile(program.directory / "W.npy").vector<double>();
    CHECK(largest(weights.cwiseProduct(VectorXd::Ones(q0.size()) - q0)) == 0);
    CHECK(weights.dot(q0) > 0);
}

TEST_CASE("pool: scores of -inf leave instances out") {
    const PoolProgram program;
    VectorXd scores = program.scores;
    constexpr double infinity = std::numeric_limits<double>::infinity();
    for (const Index n : {0, 2, 5, 11, 19}) scores[n] = -infinity;
    program.write("masked.npy", scores);
    for (const std::string dtype : {"double", "float"}) {
        const std::string all = "--pooling attention --scores masked.npy --weights W.npy --dtype " + dtype;
        REQUIRE(program.pool(all).status == 0);
        const MatrixXd pooled = support::NpyFile(program.directory / "Y.npy").matrix<double>();
        const VectorXd weights = support::NpyFile(program.directory / "W.npy").vector<double>();
        for (Index b = 0; b < program.bags(); ++b) {
            VectorXd q = scores.segment(program.offsets[b], program.size(b)).array().exp();
            q /= q.sum();
            CHECK(largest(pooled.col(b) - program.bag(b) * q) < (dtype == "float" ? 1e-6 : 1e-13));
        }
        for (Index n = 0; n < weights.size(); ++n) CHECK((weights[n] == 0) == std::isinf(scores[n]));
    }
}

TEST_CASE("pool: priors are divided by their sums") {
    const PoolProgram program;
    const std::string problem = "--alpha0 0.3 --alpha1 2 --alpha2 1 ";
    REQUIRE(program.pool(problem + "--p0 p0.npy --q0 q0.npy").status == 0);
    const MatrixXd expected = program.read<double>("Y.npy");
    VectorXd q0 = program.q0;
    const Eigen::Vector4d sums(6, 1e-300, 1.00136, 1e300);
    for (Index b = 0; b < program.bags(); ++b) {
        q0.segment(program.offsets[b], program.size(b)) *= sums[b];
    }
    program.write("q0.npy", q0);
    program.write("p0.npy", VectorXd(42 * program.p0));
    REQUIRE(program.pool(problem + "--p0 p0.npy --q0 q0.npy").status == 0);
    CHECK(largest(program.read<double>("Y.npy") - expected) < 1e-12);
    // Also in float, which has none of these numbers.
    REQUIRE(program.pool(problem + "--p0 p0.npy --q0 q0.npy --dtype float").status == 0);
    CHECK(largest(program.read<float>("Y.npy").cast<double>() - expected) < 1e-5);
}

TEST_CASE("pool: an instance of a prior that float cannot hold is not left out") {
    const PoolProgram program;
    VectorXd q0 = program.q0;
    q0[1] = 1e-60;
    program.write("q0.npy", q0);
    for (const std::string dtype : {"double", "float"}) {
        REQUIRE(program.pool("--alpha0 1 --weights W.npy --q0 q0.npy --dtype " + dtype).status == 0);
        CHECK(support::NpyFile(program.directory / "W.npy").vector<double>().minCoeff() > 1e-3);
    }
}

TEST_CASE("pool: the output's dtype is the input's unless it is named") {
    const PoolProgram program;
    const auto dtype = [&](const std::string& arguments) {
        REQUIRE(program.run("--output Y.npy --plan P.npy --ptr ptr.npy " + arguments).status == 0);
        const support::NpyFile plan(program.directory / "P.npy");
        const support::NpyFile pooled(program.directory / "Y.npy");
        CHECK(plan.dtype() == pooled.dtype());
        CHECK(pooled.shape() == std::vector<std::int64_t>{program.bags(), program.features});
        CHECK(plan.shape() == std::vector<std::int64_t>{program.instances.cols(), program.features});
        return to_string(pooled.dtype());
    };
    CHECK(dtype("--input X.npy") == "float64");
    CHECK(dtype("--input X32.npy") == "float32");
    CHECK(dtype("--input X.npy --dtype float") == "float32");
    CHECK(dtype("--input X32.npy --dtype double") == "float64");
    // Priors, rewards and offsets of other types than the instances'.
    program.write("q0.npy", Eigen::VectorXf(program.q0.cast<float>()));
    program.write("R.npy", Eigen::MatrixXf(program.instances.cast<float>()));
    program.write("ptr.npy", Eigen::VectorXi(program.offsets.cast<int>()));
    CHECK(dtype("--input X.npy --q0 q0.npy --reward R.npy --alpha2 1") == "float64");
    CHECK(dtype("--input X32.npy --p0 p0.npy --reward X.npy --alpha2 1") == "float32");
}

TEST_CASE("pool: priors may be rows or columns") {
    const PoolProgram program;
    REQUIRE(program.pool("--pooling attention --q0 q0.npy").status == 0);
    const std::string expected = read_bytes(program.directory / "Y.npy");
    program.write("column.npy", MatrixXd(program.q0.transpose()));
    REQUIRE(program.pool("--pooling attention --q0 column.npy").status == 0);
    CHECK(read_bytes(program.directory / "Y.npy") == expected);
}

TEST_CASE("pool: without --ptr all instances are one bag") {
    const PoolProgram program;
    REQUIRE(program.run("--input X.npy --pooling mean --output Y.npy").status == 0);
    const MatrixXd pooled = program.read<double>("Y.npy");
    REQUIRE(pooled.cols() == 1);
    CHECK(largest(pooled - program.instances.rowwise().mean()) < 1e-12);
}

TEST_CASE("pool: without --output the pooled bags are text on stdout") {
    const PoolProgram program;
    const auto run = program.run("--input X.npy --ptr ptr.npy --pooling mean");
    REQUIRE(run.status == 0);
    CHECK(std::count(run.out.begin(), run.out.end(), '\n') == program.bags());
    std::istringstream text(run.out);
    MatrixXd pooled(program.features, program.bags());
    for (double& y : pooled.reshaped()) text >> y;
    CHECK(text);
    CHECK(largest(pooled - pooled_by(program, mean)) < 1e-15);
}

TEST_CASE("pool: an input may be the output if that is forced") {
    const PoolProgram program;
    REQUIRE(program.run("--input X.npy --ptr ptr.npy --pooling mean --output X.npy --force").status == 0);
    CHECK(largest(program.read<double>("X.npy") - pooled_by(program, mean)) < 1e-12);
}

TEST_CASE("pool: a batch without bags pools to nothing") {
    const PoolProgram program;
    program.write("none.npy", MatrixXd(3, 0));
    program.write("zero.npy", Eigen::Matrix<std::int64_t, Eigen::Dynamic, 1>::Zero(1).eval());
    REQUIRE(program.run("--input none.npy --ptr zero.npy --output Y.npy").status == 0);
    CHECK(support::NpyFile(program.directory / "Y.npy").shape() == std::vector<std::int64_t>{0, 3});
}

TEST_CASE("pool: the report says how every bag ended") {
    const PoolProgram program;
    for (const std::string pooling : {"--alpha2 1", "--pooling mixed --iterate", "--pooling max"}) {
        INFO(pooling);
        REQUIRE(program.pool("--report report.json " + pooling).status == 0);
        const auto report = program.read_report();
        CHECK(report["dtype"] == "float64");
        CHECK(report["features"] == program.features);
        CHECK(report["not_converged"] == 0);
        REQUIRE(report["bags"].size() == static_cast<std::size_t>(program.bags()));
        for (const auto& bag : report["bags"]) {
            CHECK(bag["status"] == "converged");
            CHECK(bag["iterations"].is_number_integer());
            CHECK((bag["iterations"] > 0) == (pooling != "--pooling max"));
            CHECK(bag["residual"] <= 1e-8);
            CHECK(std::abs(bag["mass"].get<double>() - 1) < 1e-6);
        }
    }
}

TEST_CASE("pool: every number of the report is finite whatever the mass") {
    const PoolProgram program;
    const MatrixXd large = 1e30 * program.instances;
    program.write("X.npy", large);
    const auto run =
        program.pool("--alpha1 0 --alpha2 0 --readout joint --report report.json --plan P.npy --dtype float");
    CHECK(run.status == 0);
    CHECK(run.err ==
          "pool: the mass of 4 of 4 bags is out of the range of float32; their plans, weights and joint readouts "
          "saturate\n");
    const auto report = program.read_report();
    for (const auto& bag : report["bags"]) {
        CHECK(bag["status"] == "mass_out_of_range");
        for (const std::string field : {"residual", "mass", "log_mass"}) {
            INFO(field);
            CHECK(bag[field].is_number());
        }
    }
    CHECK(program.read<float>("P.npy").allFinite());
    CHECK(program.read<float>("Y.npy").allFinite());
    CHECK(program.pool("--alpha1 0 --alpha2 0 --readout joint --dtype float").err == run.err);
    // The conditional readout does not suffer, and nobody sees the plan.
    CHECK(program.pool("--alpha1 0 --alpha2 0").err == "");
    CHECK(program.pool("--alpha1 0 --alpha2 0 --weights W.npy --dtype float").err == run.err);
    CHECK(program.read<float>("Y.npy").allFinite());
    CHECK(support::NpyFile(program.directory / "W.npy").vector<float>().allFinite());
}

TEST_CASE("pool: bags that miss the tolerance are written, counted and told by the exit status") {
    const PoolProgram program;
    const std::string hard_problem = "--alpha0 0.05 --alpha2 inf --solver sinkhorn --report report.json ";
    const auto run = program.pool(hard_problem + "--tolerance 1e-9 --max-iterations 3");
    CHECK(run.status == 3);
    CHECK(run.lines() == 1);
    // The bag of one instance is solved at once.
    CHECK(run.err.find("pool: 3 of 4 bags did not reach the tolerance") == 0);
    CHECK(program.read<double>("Y.npy").allFinite());
    auto report = program.read_report();
    CHECK(report["not_converged"] == 3);
    CHECK(statuses(report) ==
          std::vector<std::string>{"iteration_limit", "converged", "iteration_limit", "iteration_limit"});
    CHECK(report["bags"][0]["iterations"] == 3);
    CHECK(report["bags"][0]["residual"] > 1e-9);

    // A layer of K steps has no tolerance to miss.
    const auto layer = program.pool(hard_problem + "--iterations 3");
    CHECK(layer.status == 0);
    CHECK(layer.err == "");
    report = program.read_report();
    CHECK(report["not_converged"] == 0);
    for (const auto& bag : report["bags"]) CHECK(bag["iterations"] == 3);
    CHECK(program.pool(hard_problem + "--tolerance 0.5").status == 0);
}

TEST_CASE("pool: the number of threads changes no bit") {
    const PoolProgram program;
    if (program.pool("--pooling mean --threads 2").status == 2) return;  // built without TBB
    const std::string all = "--alpha0 0.1 --alpha1 3 --alpha2 5 --plan P.npy --report report.json ";
    for (const std::string solver : {"--solver sinkhorn", "--solver badmm", "--solver newton"}) {
        std::vector<std::string> results;
        for (const std::string threads : {"1", "2", "7", "0"}) {
            REQUIRE(program.pool(all + solver + " --threads " + threads).status == 0);
            results.push_back(read_bytes(program.directory / "Y.npy") + read_bytes(program.directory / "P.npy") +
                              read_bytes(program.directory / "report.json"));
        }
        for (const std::string& result : results) CHECK(result == results.front());
    }
}

TEST_CASE("pool: without arguments it demonstrates, always the same") {
    const PoolProgram program;
    const auto run = program.run("");
    CHECK(run.status == 0);
    CHECK(run.err == "");
    for (const std::string word : {"mean", "max", "softmax", "attention", "uot", "pool --input X.npy"}) {
        CHECK(run.out.find(word) != std::string::npos);
    }
    CHECK(program.run("").out == run.out);
}

TEST_CASE("pool: --help names every option, with examples") {
    const PoolProgram program;
    const auto run = program.run("--help");
    CHECK(run.status == 0);
    for (const std::string option : {"--input",      "--ptr",         "--batch",
                                     "--empty",      "--weights",     "--force",
                                     "--reward",     "--p0",          "--q0",
                                     "--scores",     "--pooling",     "--alpha0",
                                     "--alpha1",     "--alpha2",      "--temperature",
                                     "--weight",     "--regularizer", "--solver",
                                     "--rho",        "--iterate",     "--dtype",
                                     "--iterations", "--tolerance",   "--max-iterations",
                                     "--readout",    "--output",      "--plan",
                                     "--report",     "--threads",     "--version",
                                     "--slots",      "--system",      "--cost",
                                     "--dustbin",    "--partial",     "--unit",
                                     "--prototypes", "--seed",        "--save-prototypes",
                                     "--heatmap",    "--coords",      "--memory",
                                     "Examples:"}) {
        INFO(option);
        CHECK(run.out.find(option) != std::string::npos);
    }
    CHECK(program.run("--version").out.find("otpool ") == 0);
}

}  // namespace pool_test

#endif
