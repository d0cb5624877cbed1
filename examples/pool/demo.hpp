#pragma once

#include <cstdint>
#include <cstdio>
#include <random>
#include <vector>

#include <otpool/otpool.hpp>

namespace pool {

/// Three bags of 4, 6 and 5 instances with 4 features in [0, 1); feature 2 of one instance of the second is 5.
inline Eigen::MatrixXd demo_instances() {
    std::mt19937 random(1);
    Eigen::MatrixXd instances(4, 15);
    for (double& x : instances.reshaped()) x = static_cast<double>(random()) / 4294967296.0;
    instances(2, 6) = 5;
    return instances;
}

inline void print_demo_row(const char* name, const Eigen::MatrixXd& pooled) {
    std::printf("%-14s", name);
    for (Eigen::Index b = 0; b < pooled.cols(); ++b) {
        for (Eigen::Index d = 0; d < pooled.rows(); ++d) std::printf("%5.2f", pooled(d, b));
        if (b + 1 < pooled.cols()) std::printf("  ");
    }
    std::printf("\n");
}

/// The output of `pool` without arguments.
inline int demo() {
    const Eigen::MatrixXd instances = demo_instances();
    const otpool::Bags bags{instances, {0, 4, 10, 15}};
    // Attention on the salient instance: its score is 3 above the others'.
    Eigen::VectorXd prior(15);
    for (Eigen::Index b = 0, begin = 0; b < bags.size(); begin += bags.bag_size(b++)) {
        Eigen::VectorXd scores = Eigen::VectorXd::Zero(bags.bag_size(b));
        if (b == 1) scores[2] = 3;
        prior.segment(begin, bags.bag_size(b)) = otpool::softmax(scores);
    }
    const otpool::Bags<double> attended{instances, {0, 4, 10, 15}, {}, prior};

    using Uot = otpool::Pooling<double, otpool::Newton>;
    const Uot between{.parameters = {.alpha0 = 0.5, .instances = {.alpha = 0.5}}};
    const Uot held{.parameters = {.alpha0 = 0.1, .instances = {.alpha = otpool::hard}}};

    std::printf(
        "Three bags of 4, 6 and 5 instances with 4 features. All entries are between 0 and 1, but the third\n"
        "feature of one instance in the second bag is 5. Each pooling gives:\n\n"
        "%-14s%-22s%-22s%s\n",
        "", "bag 0", "bag 1", "bag 2");
    print_demo_row("mean", otpool::mean_pooling<double>()(bags));
    print_demo_row("max", otpool::max_pooling<double>()(bags));
    print_demo_row("min", otpool::min_pooling<double>()(bags));
    print_demo_row("softmax t=0.5", otpool::softmax_pooling<double>(0.5)(bags));
    print_demo_row("lse t=0.5", otpool::log_sum_exp_pooling<double>(0.5)(bags));
    print_demo_row("mixed w=0.5", otpool::mixed_pooling<double>(0.5)(bags));
    print_demo_row("attention", otpool::attention_pooling<double>()(attended));
    print_demo_row("uot .5 inf .5", between(bags));
    print_demo_row("uot .1 inf inf", held(bags));
    std::printf(
        "\nuot: alpha0, alpha1, alpha2. Its last row uses all instances of a bag equally, so that no feature\n"
        "can draw on the salient one alone.\n\n"
        "For your own bags: X.npy has one instance per row; ptr.npy has the row where each bag begins, and at\n"
        "its end the number of rows:\n\n"
        "    pool --input X.npy --ptr ptr.npy --pooling max --output Y.npy\n"
        "    pool --input X.npy --ptr ptr.npy --alpha0 0.5 --alpha2 0.5 --solver newton --output Y.npy\n\n"
        "pool --help lists every option.\n");
    return 0;
}

}  // namespace pool
