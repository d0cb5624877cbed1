#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include <otpool/otpool.hpp>

#include "offsets.hpp"
#include "settings.hpp"

namespace pool {

/// The option's value in the problem's scalar. Throws UsageError if that becomes 0 or inf and the value is not.
template <otpool::BagScalar Scalar>
Scalar scalar(double value, const std::string& option) {
    const auto converted = static_cast<Scalar>(std::isinf(value) ? value : std::min(value, 1e300));
    if (std::isinf(converted) == std::isinf(value) && (converted == 0) == (value == 0)) return converted;
    throw UsageError(option, detail::printed(value), "0, 1.5e-45 to 3.4e+38 and inf with --dtype float");
}

/// A pooling's parameters, with those that the user gives in their place. Throws UsageError.
template <otpool::BagScalar Scalar>
otpool::PoolingParameters<Scalar> parameters(const Settings& settings, otpool::PoolingParameters<Scalar> of = {}) {
    const auto set = [](Scalar& parameter, const std::optional<double>& given, const char* option) {
        if (given) parameter = scalar<Scalar>(*given, option);
    };
    set(of.alpha0, settings.alpha0, "--alpha0");
    set(of.features.alpha, settings.alpha1, "--alpha1");
    set(of.instances.alpha, settings.alpha2, "--alpha2");
    return of;
}

}  // namespace pool
