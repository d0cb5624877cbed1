#pragma once

#include <sys/wait.h>

#include <Eigen/Core>
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "support/npy.hpp"
#include "support/temporary_directory.hpp"

namespace tests {

/// Random bags on disk, and the program `pool` run in the directory where they are.
class PoolProgram {
public:
    static constexpr Eigen::Index features = 5;

    struct Run {
        int status = -1;
        std::string out, err;

        long lines() const { return std::count(err.begin(), err.end(), '\n'); }
    };

    PoolProgram() {
        std::mt19937 random(7);
        const auto uniform = [&] { return static_cast<double>(random()) / 4294967296.0; };
        instances =
            Eigen::MatrixXd::NullaryExpr(features, offsets[offsets.size() - 1], [&] { return 4 * uniform() - 1; });
        // Numbers that float32 has, too, so that both files hold the same bags.
        instances = instances.cast<float>().cast<double>();
        scores = Eigen::VectorXd::NullaryExpr(instances.cols(), [&] { return 3 * uniform(); });
        p0 = Eigen::VectorXd::NullaryExpr(features, [&] { return 0.5 + uniform(); });
        p0 /= p0.sum();
        write("X.npy", instances);
        write("X32.npy", Eigen::MatrixXf(instances.cast<float>()));
        write("ptr.npy", offsets);
        write("s.npy", scores);
        write("p0.npy", p0);
        q0 = scores;
        for (Eigen::Index b = 0; b < bags(); ++b) {
            auto part = q0.segment(offsets[b], size(b));
            part = (part.array() - part.maxCoeff()).exp();
            part /= part.sum();
        }
        write("q0.npy", q0);
    }

    template <class Values>
    void write(const std::string& name, const Values& values) const {
        support::write_npy(directory / name, values);
    }

    /// A D x B matrix from a (B, D) array, which must be of this scalar.
    template <class Scalar>
    Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic> read(const std::string& name) const {
        support::NpyFile file(directory / name);
        if (file.dtype() != support::dtype_of<Scalar>()) return {};
        return file.matrix<Scalar>();
    }

    nlohmann::json read_report() const { return nlohmann::json::parse(read_bytes(directory / "report.json")); }

    /// Runs `pool <arguments>` with the directory as its working directory.
    Run run(const std::string& arguments) const { return run_command("'" POOL_PROGRAM "' " + arguments); }

    /// Runs a command there.
    Run run_command(const std::string& text) const {
        const auto out = streams / "out";
        const auto err = streams / "err";
        const std::string command =
            "cd '" + directory.path().string() + "' && " + text + " >'" + out.string() + "' 2>'" + err.string() + "'";
        const int status = std::system(command.c_str());
        return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_bytes(out), read_bytes(err)};
    }

    /// With the bags in double as input and Y.npy as output.
    Run pool(const std::string& arguments) const {
        return run("--input X.npy --ptr ptr.npy --output Y.npy " + arguments);
    }

    Eigen::Index bags() const { return offsets.size() - 1; }
    Eigen::Index size(Eigen::Index b) const { return offsets[b + 1] - offsets[b]; }
    auto bag(Eigen::Index b) const { return instances.middleCols(offsets[b], size(b)); }

    TemporaryDirectory directory;
    TemporaryDirectory streams;
    Eigen::Matrix<std::int64_t, Eigen::Dynamic, 1> offsets{{0, 4, 5, 12, 20}};
    Eigen::MatrixXd instances;  ///< X.npy; X32.npy in float32.
    Eigen::VectorXd scores;     ///< s.npy
    Eigen::VectorXd p0;         ///< p0.npy
    Eigen::VectorXd q0;         ///< q0.npy, the softmax of the scores
};

}  // namespace tests
