// Copyright (c) 2026 the otpool authors. MIT licence.

// otpool's poolings to slots in the comparison with their peers, and the products of matrices in them by themselves.

#include <cstdint>
#include <memory>
#include <otpool/gradient/differentiable_slot_pooling.hpp>
#include <otpool/gradient/unrolled.hpp>
#include <otpool/learning.hpp>
#include <otpool/otpool.hpp>
#include <otpool/slots/named_slot_poolings.hpp>
#include <utility>
#include <vector>

#include "worker.hpp"

namespace {

using otpool::Index;
using otpool::Matrix;
using worker::Task;
using worker::Work;

constexpr float dustbin = 1;

/// One bag and the prototypes. To be shared, as a copy's memory would be another.
struct Input {
    Matrix<float> instances, prototypes;
    std::vector<std::int64_t> offsets;

    explicit Input(const Task& task)
        : instances(worker::as_numpy_has_it(task.matrix<float>("X.npy"))),
          prototypes(task.matrix<float>("W.npy")),
          offsets{0, instances.cols()} {}

    otpool::Bags<float> bags() const { return {instances, offsets}; }
};

/// (slots, D) in C's order
Matrix<float> of_slots(const Matrix<float>& pooled, Index slots) {
    return pooled.reshaped(pooled.size() / slots, slots);
}

Work forward(const Task& task, const auto& pool, const std::shared_ptr<const Input>& input) {
    const auto workspaces = std::make_shared<otpool::Workspaces>();
    task.write("pooled.npy", of_slots(pool(input->bags()), task.slots));
    return {[=] { return pool(input->bags(), *workspaces)(0, 0); }, task.steps};
}

template <class Dummy>
Work forward_and_backward(const Task& task, const auto& pool, const std::shared_ptr<const Input>& input) {
    const otpool::DifferentiableSlotPooling<float, otpool::DotProduct<float>, otpool::Unrolled<otpool::Sinkhorn>,
                                            otpool::JointSlots, Dummy>
        layer{.reward = pool.reward,
              .parameters = pool.parameters,
              .mode = {pool.solver},
              .readout = pool.readout,
              .dummy = pool.dummy};
    const Matrix<float> cotangent = task.matrix<float>("cotangent.npy");
    const auto workspaces = std::make_shared<otpool::Workspaces>();
    const auto compute = [=](auto& pooled) {
        auto forward = layer.forward(input->bags(), *workspaces);
        auto gradient = layer.backward(forward, cotangent, *workspaces);
        pooled = std::move(forward.pooled);
        return gradient;
    };
    Matrix<float> pooled;
    const auto gradient = compute(pooled);
    task.write("pooled.npy", of_slots(pooled, task.slots));
    task.write("gradient.npy", gradient.instances);
    task.write("parameters.npy", gradient.prototypes);
    return {[=] {
                Matrix<float> again;
                return compute(again).instances(0, 0);
            },
            task.steps};
}

template <class Dummy>
Work pooling(const Task& task, const auto& pool, const std::shared_ptr<const Input>& input) {
    return task.name.ends_with("_backward") ? forward_and_backward<Dummy>(task, pool, input)
                                            : forward(task, pool, input);
}

Work salad(const Task& task) {
    const auto input = std::make_shared<const Input>(task);
    const auto pool = otpool::salad_pooling<float>(dustbin, otpool::DotProduct<float>{input->prototypes}, task.steps);
    return pooling<otpool::Dustbin>(task, pool, input);
}

Work otke(const Task& task) {
    const auto input = std::make_shared<const Input>(task);
    const auto pool = otpool::otke_pooling<float>(input->prototypes, static_cast<float>(task.alpha0), task.steps);
    return pooling<otpool::NoDummySlot>(task, pool, input);
}

Work assignment(const Task& task) {
    const auto scores = std::make_shared<const Matrix<float>>(worker::as_numpy_has_it(task.matrix<float>("X.npy")));
    const auto assign = [=] {
        return otpool::sinkhorn_assignment<float>(*scores, static_cast<float>(task.alpha0), task.steps);
    };
    task.write("pooled.npy", assign());
    return {[=] { return assign()(0, 0); }, task.steps};
}

/// The scores and the readout by Eigen's products, and for a gradient the two products of each one's reverse.
Work products(const Task& task) {
    const auto input = std::make_shared<const Input>(task);
    const bool backward = task.name.ends_with("backward");
    Matrix<float> S(input->prototypes.cols(), input->instances.cols());
    Matrix<float> Y = input->prototypes;
    Matrix<float> of_instances(backward ? input->instances.rows() : 0, input->instances.cols());
    return {[=]() mutable {
                const Matrix<float>& x = input->instances;
                const Matrix<float>& w = input->prototypes;
                S.noalias() = w.transpose() * x;
                Y.noalias() = x * S.transpose();
                if (!backward) return Y(0, 0);
                of_instances.noalias() = w * S;
                S.noalias() = w.transpose() * x;
                Y.noalias() = x * S.transpose();
                of_instances.noalias() += w * S;
                return Y(0, 0) + of_instances(0, 0);
            },
            task.steps};
}

Work prepare(const Task& task) {
    if (task.method == "products") return products(task);
    if (task.name == "assignment") return assignment(task);
    return task.name.starts_with("otke") ? otke(task) : salad(task);
}

}  // namespace

int main(int argc, char** argv) {
    return worker::run(argc, argv, {"salad", "otke", "salad_backward", "otke_backward", "assignment"},
                       {"pooling", "products"}, prepare);
}
