// One solve to a tolerance by Newton.
#include <otpool/otpool.hpp>

int main(int argc, char**) {
    const Eigen::MatrixXf bag = Eigen::MatrixXf::Ones(argc, 3);
    const otpool::UotProblem<float> problem{.reward = bag, .alpha0 = 0.1f, .instances = {.alpha = 0.5f}};
    return otpool::Newton{}.solve(problem).iterations > 70;
}
