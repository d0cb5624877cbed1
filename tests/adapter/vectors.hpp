#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "otpool/problem/uot_problem.hpp"
#include "support/catch.hpp"

// Results of other programs, which are not part of this repository: files beside the one that OTPOOL_PUBLISHED_VECTORS
// names. Each has a list `cases` of {inputs, parameters, outputs}; matrices are lists of rows, and an alpha that is not a
// number is hard.

namespace tests {

using Json = nlohmann::json;

inline double number(const Json& json) { return json.is_number() ? json.get<double>() : double(otpool::hard); }

inline otpool::Vector<double> vector(const Json& json) {
    otpool::Vector<double> numbers(static_cast<Eigen::Index>(json.size()));
    for (Eigen::Index i = 0; i < numbers.size(); ++i) numbers[i] = number(json[static_cast<std::size_t>(i)]);
    return numbers;
}

inline otpool::Matrix<double> rows(const Json& json) {
    otpool::Matrix<double> matrix(static_cast<Eigen::Index>(json.size()), static_cast<Eigen::Index>(json.at(0).size()));
    for (Eigen::Index d = 0; d < matrix.rows(); ++d) matrix.row(d) = vector(json[static_cast<std::size_t>(d)]);
    return matrix;
}

/// The cases of a file; none, with a warning, without it.
inline std::vector<Json> cases_of(const std::string& file) {
    const char* const beside = std::getenv("OTPOOL_PUBLISHED_VECTORS");
    const auto path = beside == nullptr ? std::filesystem::path() : std::filesystem::path(beside).parent_path() / file;
    std::ifstream stream(path);
    if (beside == nullptr || !stream.good()) {
        WARN("skipped: no " << file << " beside the file that the environment variable OTPOOL_PUBLISHED_VECTORS names");
        return {};
    }
    const Json all = Json::parse(stream);
    const Json& cases = all.is_array() ? all : all.at("cases");
    REQUIRE(cases.size() > 5);
    return {cases.begin(), cases.end()};
}

}  // namespace tests
