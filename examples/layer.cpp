#include <otpool/learning.hpp>

#include <iomanip>
#include <iostream>

using Layer = otpool::UotLayer<double>;

/// Returns the largest error before the step.
double descend(Layer& layer, const otpool::Bags<double>& bags, const Eigen::MatrixXd& wanted) {
    const auto forward = layer.forward(bags);
    const Eigen::MatrixXd error = forward.pooled - wanted;
    auto gradient = layer.backward(forward, error);
    auto parameters = otpool::named_arrays<double>(layer);  // parameters and gradients are the same named arrays
    const auto gradients = otpool::named_arrays<double>(gradient);
    for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i].values -= 10 * gradients[i].values;
    return error.cwiseAbs().maxCoeff();
}

int main() {
    // Two bags, of three instances and of two, with two features; and what the layer is to make of them: the max.
    const Eigen::MatrixXd instances{{0.9, 0.1, 0.4, -0.2, 0.7}, {0.3, 0.8, -0.7, 0.1, 0.6}};
    const otpool::Bags bags{instances, {0, 3, 5}};
    const Eigen::MatrixXd wanted = otpool::max_pooling<double>()(bags);

    // Four Sinkhorn steps whose alphas are learned, from a start between the mean and the max.
    Layer layer{.parameters = Layer::start(2)};
    std::cout << std::fixed << std::setprecision(3);
    for (int step = 0; step <= 60; ++step) {
        const double alpha0 = layer.step_parameters()[0].alpha0;
        const double error = descend(layer, bags, wanted);
        if (step % 20 == 0) {
            std::cout << "step " << std::setw(2) << step << ": largest error " << error << ", alpha0 " << alpha0
                      << '\n';
        }
    }
}
