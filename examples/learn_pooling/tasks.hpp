#pragma once

#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <otpool/otpool.hpp>

#include "../support/generator.hpp"

/// Learns poolings from labels alone, on four tasks, each of which needs another pooling.
namespace learn_pooling {

using otpool::Index;
using support::Generator;
using Matrix = Eigen::MatrixXd;
using Vector = Eigen::VectorXd;

/// What a bag's label depends on.
enum class Task { mean, max, attention, top_tenth };

inline constexpr std::array all_tasks = {Task::mean, Task::max, Task::attention, Task::top_tenth};

inline std::string to_string(Task task) {
    constexpr std::array texts = {"mean", "max", "attention", "top-tenth"};
    return texts[static_cast<std::size_t>(task)];
}

/// Throws std::invalid_argument.
inline Task task_of(const std::string& name) {
    std::string allowed;
    for (const Task task : all_tasks) {
        if (to_string(task) == name) return task;
        allowed += (allowed.empty() ? "" : ", ") + to_string(task);
    }
    throw std::invalid_argument("task is " + name + "; allowed: " + allowed);
}

/// Throws std::invalid_argument for a name that is none, or is there twice.
inline std::vector<Task> tasks_of(const std::vector<std::string>& names) {
    std::vector<Task> tasks;
    for (const std::string& name : names) {
        const Task task = task_of(name);
        if (std::find(tasks.begin(), tasks.end(), task) != tasks.end()) {
            throw std::invalid_argument("task " + name + " is there twice; allowed: each once");
        }
        tasks.push_back(task);
    }
    return tasks;
}

/// Feature 0 marks instances, the others are what labels are made of.
inline constexpr Index features = 9, fewest_instances = 30, most_instances = 50;

/// Bags side by side, and the label of each, 0 or 1.
struct Data {
    Matrix instances = {};  ///< D x sum N
    std::vector<std::int64_t> offsets = {0};
    Vector labels = {};  ///< B

    Index size() const { return labels.size(); }
    otpool::Bags<double> bags() const { return {instances, offsets}; }
    auto bag(Index b) { return instances.middleCols(begin(b), bag_size(b)); }
    auto bag(Index b) const { return instances.middleCols(begin(b), bag_size(b)); }

    /// The chosen bags, in the order they are named.
    Data subset(const std::vector<Index>& chosen) const {
        Data data{.labels = Vector(static_cast<Index>(chosen.size()))};
        for (const Index b : chosen) data.offsets.push_back(data.offsets.back() + bag_size(b));
        data.instances.resize(instances.rows(), data.offsets.back());
        Index to = 0;
        for (const Index from : chosen) {
            data.bag(to) = bag(from);
            data.labels[to++] = labels[from];
        }
        return data;
    }

private:
    Index begin(Index b) const { return offsets[static_cast<std::size_t>(b)]; }
    Index bag_size(Index b) const { return offsets[static_cast<std::size_t>(b) + 1] - begin(b); }
};

/// How the task's rule weighs the instances of a bag for every feature: D x N, every row of sum 1.
inline Matrix rule_weights(Task task, const Matrix& bag) {
    const Index N = bag.cols();
    Matrix weights = Matrix::Zero(bag.rows(), N);
    const auto share_top = [&](Index count) {
        for (Index d = 0; d < bag.rows(); ++d) {
            Vector sorted = bag.row(d);
            std::sort(sorted.begin(), sorted.end(), std::greater<>());
            for (Index n = 0; n < N; ++n) {
                if (bag(d, n) >= sorted[count - 1]) weights(d, n) = 1 / static_cast<double>(count);
            }
        }
    };
    switch (task) {
        case Task::mean: weights.setConstant(1 / static_cast<double>(N)); break;
        case Task::max: share_top(1); break;
        case Task::top_tenth: share_top((N + 9) / 10); break;
        case Task::attention: {
            Index marked = 0;
            bag.row(0).maxCoeff(&marked);
            weights.col(marked).setOnes();
        }
    }
    return weights;
}

/// 1 if y_1 - y_2 + y_3 - ... - y_8 > 0, else 0, with y what the task's rule pools. As likely 1 as 0: swap the features
/// that are added for those that are subtracted.
inline double rule_label(Task task, const Matrix& bag) {
    const Vector pooled = rule_weights(task, bag).cwiseProduct(bag).rowwise().sum();
    double sum = 0;
    for (Index d = 1; d < bag.rows(); ++d) sum += d % 2 == 1 ? pooled[d] : -pooled[d];
    return sum > 0 ? 1 : 0;
}

/// Bags of independent standard normal entries, of which one instance is marked: feature 0 is normal with a deviation
/// of 1/2, and 3 more where it marks. The bags do not depend on the task, only their labels do.
inline Data make_data(Task task, Index bags, std::uint64_t seed) {
    Generator generator(seed);
    Data data{.labels = Vector(bags)};
    for (Index b = 0; b < bags; ++b) {
        data.offsets.push_back(data.offsets.back() + generator.integer(fewest_instances, most_instances));
    }
    data.instances = generator.normal(features, data.offsets.back());
    data.instances.row(0) *= 0.5;
    for (Index b = 0; b < bags; ++b) {
        auto bag = data.bag(b);
        bag(0, generator.integer(0, bag.cols() - 1)) += 3;
        data.labels[b] = rule_label(task, bag);
    }
    return data;
}

}  // namespace learn_pooling
