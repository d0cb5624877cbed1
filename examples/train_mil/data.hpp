#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "../support/file_error.hpp"
#include "../support/npy.hpp"

namespace train_mil {

/// Labelled bags as PyTorch Geometric has them.
struct BagSet {
    torch::Tensor x;    ///< (sum N, D) float
    torch::Tensor ptr;  ///< (B + 1) int64
    torch::Tensor y;    ///< (B) float, 0 or 1; empty where there are no labels
    /// (sum N) float, sum 1 in every bag, 0 for instances that are excluded; undefined where there are none.
    torch::Tensor q0 = {};

    std::int64_t size() const { return ptr.numel() - 1; }
    std::int64_t features() const { return x.size(1); }

    /// The bags of these numbers, in this order.
    BagSet select(const std::vector<std::int64_t>& bags) const {
        const auto* offsets = ptr.data_ptr<std::int64_t>();
        std::vector<torch::Tensor> parts;
        std::vector<torch::Tensor> priors;
        std::vector<std::int64_t> ends = {0};
        for (const std::int64_t b : bags) {
            parts.push_back(x.slice(0, offsets[b], offsets[b + 1]));
            if (q0.defined()) priors.push_back(q0.slice(0, offsets[b], offsets[b + 1]));
            ends.push_back(ends.back() + offsets[b + 1] - offsets[b]);
        }
        const auto numbers = torch::tensor(bags, torch::kLong);
        return {torch::cat(parts), torch::tensor(ends, torch::kLong), y.numel() > 0 ? y.index_select(0, numbers) : y,
                q0.defined() ? torch::cat(priors) : q0};
    }

    /// The rows of x that are not excluded.
    torch::Tensor active_x() const { return q0.defined() ? x.index({q0 > 0}) : x; }
};

/// (x - mean) / deviation of every feature over the instances that are not excluded; a feature that is constant becomes
/// 0.
struct Standardization {
    torch::Tensor mean, deviation;  ///< (D)

    explicit Standardization(const BagSet& bags) {
        const torch::Tensor x = bags.active_x();
        mean = x.mean(0);
        deviation = (x - mean).square().mean(0).sqrt();
        deviation =
            torch::where(deviation > 1e-6F * (mean.abs() + 1e-6F), deviation, torch::full_like(deviation, INFINITY));
    }
    Standardization(torch::Tensor mean_, torch::Tensor deviation_)
        : mean(std::move(mean_)), deviation(std::move(deviation_)) {}

    BagSet operator()(BagSet bags) const {
        bags.x = (bags.x - mean) / deviation;
        return bags;
    }
};

/// q0.npy of a folder, if it is there: the bags' own prior. Excluded instances become 0, so that their numbers do not
/// matter. Throws FileError.
inline void read_prior(const std::filesystem::path& path, BagSet& bags) {
    using support::FileError;
    if (!std::filesystem::exists(path)) return;
    const Eigen::VectorXf q0 = support::NpyFile(path).vector<float>();
    if (q0.size() != bags.x.size(0)) {
        throw FileError(path, "length", std::to_string(q0.size()),
                        "one number an instance, " + std::to_string(bags.x.size(0)));
    }
    if (!q0.allFinite() || q0.minCoeff() < 0) throw FileError(path, "data", "others", "finite numbers >= 0");
    const auto* offsets = bags.ptr.data_ptr<std::int64_t>();
    for (std::int64_t b = 0; b < bags.size(); ++b) {
        const double sum = q0.segment(offsets[b], offsets[b + 1] - offsets[b]).cast<double>().sum();
        if (std::abs(sum - 1) <= 1e-3) continue;
        throw FileError(path, "sum of bag " + std::to_string(b), std::to_string(sum), "1, within 0.001");
    }
    bags.q0 = torch::empty(q0.size());
    std::copy_n(q0.data(), q0.size(), bags.q0.data_ptr<float>());
    bags.x = bags.x.masked_fill((bags.q0 == 0).unsqueeze(1), 0);
}

/// X.npy, ptr.npy, q0.npy if it is there, and, where labels are needed, y.npy of a folder. Throws FileError.
inline BagSet read(const std::filesystem::path& folder, bool with_labels) {
    using support::FileError;
    using support::NpyFile;
    const Eigen::MatrixXf X = NpyFile(folder / "X.npy").matrix<float>();
    const auto ptr = NpyFile(folder / "ptr.npy").vector<std::int64_t>();
    BagSet bags;
    bags.x = torch::empty({X.cols(), X.rows()});
    std::copy_n(X.data(), X.size(), bags.x.data_ptr<float>());
    if (!X.allFinite()) throw FileError(folder / "X.npy", "data", "nan or inf", "finite numbers");
    const bool offsets_are_good = ptr.size() >= 2 && ptr[0] == 0 && ptr[ptr.size() - 1] == X.cols() &&
                                  std::adjacent_find(ptr.begin(), ptr.end(), std::greater_equal<>()) == ptr.end();
    if (!offsets_are_good) {
        throw FileError(
            folder / "ptr.npy", "data", "other offsets",
            "increasing ones from 0 to the rows of X, " + std::to_string(X.cols()) + ", without empty bags");
    }
    bags.ptr = torch::empty(ptr.size(), torch::kLong);
    std::copy_n(ptr.data(), ptr.size(), bags.ptr.data_ptr<std::int64_t>());
    read_prior(folder / "q0.npy", bags);
    bags.y = torch::empty(0);
    if (!with_labels) return bags;
    const auto y = NpyFile(folder / "y.npy").vector<std::int64_t>();
    if (y.size() != bags.size()) {
        throw FileError(folder / "y.npy", "length", std::to_string(y.size()),
                        "one label a bag, " + std::to_string(bags.size()));
    }
    if ((y.array() != 0 && y.array() != 1).any()) throw FileError(folder / "y.npy", "labels", "others", "0 and 1");
    bags.y = torch::empty(y.size());
    std::copy_n(y.data(), y.size(), bags.y.data_ptr<float>());
    return bags;
}

/// 200 bags of 5 to 30 normal instances with 10 features; a positive bag has one to three instances with 2 added to
/// their first two features. Always the same.
inline BagSet made_up() {
    std::mt19937_64 random(20);
    std::normal_distribution<float> normal;
    std::vector<float> x;
    std::vector<std::int64_t> ptr = {0};
    std::vector<float> y;
    for (int b = 0; b < 200; ++b) {
        const auto size = static_cast<std::int64_t>(5 + random() % 26);
        const bool positive = b % 2 == 0;
        const auto witnesses = static_cast<std::int64_t>(positive ? 1 + random() % 3 : 0);
        for (std::int64_t n = 0; n < size; ++n) {
            for (int d = 0; d < 10; ++d) x.push_back(normal(random) + (n < witnesses && d < 2 ? 2.0F : 0.0F));
        }
        ptr.push_back(ptr.back() + size);
        y.push_back(positive ? 1.0F : 0.0F);
    }
    return {torch::tensor(x).view({-1, 10}), torch::tensor(ptr, torch::kLong), torch::tensor(y)};
}

/// Numbers 0 to B - 1 in `folds` parts that have the labels in the same proportions, shuffled.
inline std::vector<std::vector<std::int64_t>> stratified_folds(const torch::Tensor& y, int folds, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<std::int64_t> order(static_cast<std::size_t>(y.numel()));
    std::iota(order.begin(), order.end(), 0);
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
    const float* label = y.data_ptr<float>();
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return label[a] < label[b]; });
    std::vector<std::vector<std::int64_t>> parts(static_cast<std::size_t>(folds));
    for (std::size_t i = 0; i < order.size(); ++i) parts[i % parts.size()].push_back(order[i]);
    return parts;
}

}  // namespace train_mil
