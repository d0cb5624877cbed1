#include <otpool/otpool.hpp>

#include <iomanip>
#include <iostream>

int main() {
    // A bag of four instances with three features, one column an instance.
    const Eigen::MatrixXd bag{{0.9, 0.1, 0.4, 0.2}, {0.3, 0.8, 0.7, 0.1}, {0.5, 0.2, 0.0, 0.6}};
    std::cout << std::setprecision(3);

    // A named pooling.
    std::cout << "max:    " << otpool::max_pooling<double>()(bag).transpose() << '\n';

    // Its problem spelled out, and softened: some entropy, and instances that want an equal share each.
    const otpool::UotProblem<double> problem{
        .reward = bag, .alpha0 = 0.1, .features = {.alpha = otpool::hard}, .instances = {.alpha = 0.5}};
    const auto solution = otpool::BregmanAdmm{{.tolerance = 1e-6}}.solve(problem);
    std::cout << "softer: " << otpool::ConditionalReadout{}(solution).transpose() << '\n'
              << otpool::name(solution.status) << " in " << solution.iterations << " iterations, residual "
              << solution.residual << ", plan:\n"
              << std::fixed << solution.plan() << '\n';

    // A pooling is parameters and a solver, here four Sinkhorn steps. It takes ragged batches, too.
    const otpool::Pooling pool{otpool::PoolingParameters<double>{.alpha0 = 0.1, .instances = {.alpha = 0.5}},
                               otpool::Sinkhorn{{.iterations = 4}}};
    std::cout << "a bag of one instance and one of three:\n" << pool(otpool::Bags{bag, {0, 1, 4}}).transpose() << '\n';
}
