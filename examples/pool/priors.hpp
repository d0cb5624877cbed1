#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include <otpool/core/matrix.hpp>

#include "arrays.hpp"
#include "offsets.hpp"

// Priors as files have them: weights, which become a prior when they are divided by their sum, or scores.

namespace pool {

namespace detail {

/// "bag 1, instance 2 (row 7)", with the instance counted in its bag and the row in the file.
inline std::string place(const Offsets& offsets, Index n, Index row) {
    const auto next = std::upper_bound(offsets.begin(), offsets.end(), n);
    return "bag " + printed(next - offsets.begin() - 1) + ", instance " + printed(n - *(next - 1)) + " (row " +
           printed(row) + ")";
}

/// `length` numbers, from an array of shape (length,), (length, 1) or (1, length).
inline Vector<double> read_numbers(const Array& file, Index length, const std::string& meaning) {
    const std::vector<std::int64_t> column = {length, 1};
    const std::vector<std::int64_t> row = {1, length};
    const std::vector<std::int64_t> flat = {length};
    if (file.shape() == flat) return file.vector<double>();
    if (file.shape() == column || file.shape() == row) return file.matrix<double>().reshaped();
    throw FileError(file.path(), "shape", support::to_string(file.shape()), support::to_string(flat) + ", " + meaning);
}

/// weights / sum. A weight above 0 stays above 0, as 0 excludes an instance. Throws FileError for any other sum than a
/// finite one above 0.
template <class Scalar>
Vector<Scalar> prior_of(const Vector<double>& weights, const std::filesystem::path& file, const std::string& sum_name) {
    const double sum = weights.sum();
    if (!(sum > 0 && std::isfinite(sum))) throw FileError(file, sum_name, printed(sum), "finite and above 0");
    Vector<Scalar> prior(weights.size());
    for (Index n = 0; n < prior.size(); ++n) {
        const auto entry = static_cast<Scalar>(weights[n] / sum);
        prior[n] = weights[n] > 0 ? std::max(entry, std::numeric_limits<Scalar>::denorm_min()) : 0;
    }
    return prior;
}

/// exp(score - the highest); a score of -inf becomes a weight of 0. Throws FileError if there is no other.
inline Vector<double> weights_of_scores(const Vector<double>& scores, const std::filesystem::path& file,
                                        const std::string& bag) {
    const double highest = scores.maxCoeff();
    if (std::isinf(highest)) throw FileError(file, bag, "only scores of -inf", "at least one finite score");
    return (scores.array() - highest).unaryExpr([](double score) { return std::exp(score); });
}

/// The priors of all bags, side by side: weights_of(numbers of a bag, the bag's name) over their sum.
template <class Scalar>
Vector<Scalar> priors_of_bags(const Vector<double>& numbers, const Offsets& offsets, const std::filesystem::path& file,
                              const auto& weights_of) {
    Vector<Scalar> q0(numbers.size());
    for (std::size_t b = 0; b + 1 < offsets.size(); ++b) {
        const Index size = offsets[b + 1] - offsets[b];
        if (size == 0) continue;
        const std::string bag = "bag " + printed(b);
        const Vector<double> weights = weights_of(Vector<double>(numbers.segment(offsets[b], size)), bag);
        q0.segment(offsets[b], size) = prior_of<Scalar>(weights, file, "sum of " + bag);
    }
    return q0;
}

}  // namespace detail

/// The prior over so many features or slots (`of`), from weights above 0. Throws FileError.
template <class Scalar>
Vector<Scalar> read_p0(const std::filesystem::path& path, Index length, const std::string& of) {
    const Array file = open_array(ArrayPlace(path), "p0");
    const Vector<double> weights = detail::read_numbers(file, length, "a number a " + of);
    for (Index d = 0; d < length; ++d) {
        if (weights[d] > 0 && std::isfinite(weights[d])) continue;
        throw FileError(file.path(), of + " " + detail::printed(d), detail::printed(weights[d]),
                        "finite numbers above 0");
    }
    return detail::prior_of<Scalar>(weights, file.path(), "sum");
}

/// The prior over the instances of every bag, from weights of at least 0. Throws FileError.
template <class Scalar>
Vector<Scalar> read_q0(const std::filesystem::path& path, const Offsets& offsets) {
    const Array file = open_array(ArrayPlace(path), "q0");
    const Vector<double> weights = detail::read_numbers(file, offsets.back(), "a number an instance");
    for (Index n = 0; n < weights.size(); ++n) {
        if (weights[n] >= 0 && std::isfinite(weights[n])) continue;
        throw FileError(file.path(), detail::place(offsets, n, n), detail::printed(weights[n]),
                        "finite numbers of at least 0");
    }
    const auto as_given = [](const Vector<double>& of_bag, const std::string&) { return of_bag; };
    return detail::priors_of_bags<Scalar>(weights, offsets, file.path(), as_given);
}

/// The prior over the instances of every bag as the softmax of scores. A score of -inf leaves an instance out. Throws
/// FileError.
template <class Scalar>
Vector<Scalar> read_scores(const std::filesystem::path& path, const Offsets& offsets) {
    const Array file = open_array(ArrayPlace(path), "scores");
    const Vector<double> scores = detail::read_numbers(file, offsets.back(), "a number an instance");
    for (Index n = 0; n < scores.size(); ++n) {
        if (scores[n] < std::numeric_limits<double>::infinity()) continue;  // and no NaN
        throw FileError(file.path(), detail::place(offsets, n, n), detail::printed(scores[n]),
                        "finite numbers, and -inf to leave an instance out");
    }
    const auto exponentials = [&](const Vector<double>& of_bag, const std::string& bag) {
        return detail::weights_of_scores(of_bag, file.path(), bag);
    };
    return detail::priors_of_bags<Scalar>(scores, offsets, file.path(), exponentials);
}

}  // namespace pool
