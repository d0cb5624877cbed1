#pragma once

#include <cmath>

// Numbers of 32 digits, each the sum of two doubles, after Dekker, "A floating-point technique for extending the
// available precision" (1971).

namespace tests {

struct DoubleDouble {
    double high = 0;
    double low = 0;

    DoubleDouble() = default;
    DoubleDouble(double number) : high(number) {}  // NOLINT(google-explicit-constructor): as a number
    /// Of any two doubles.
    static DoubleDouble sum(double a, double b) {
        DoubleDouble result(a + b);
        const double of_b = result.high - a;
        result.low = (a - (result.high - of_b)) + (b - of_b);
        return result;
    }
    explicit operator double() const { return high; }

    friend DoubleDouble operator+(DoubleDouble a, DoubleDouble b) {
        const DoubleDouble first = sum(a.high, b.high);
        const DoubleDouble second = sum(a.low, b.low);
        const DoubleDouble both = sum(first.high, first.low + second.high);
        return sum(both.high, both.low + second.low);
    }
    friend DoubleDouble operator-(DoubleDouble a) {
        a.high = -a.high;
        a.low = -a.low;
        return a;
    }
    friend DoubleDouble operator-(DoubleDouble a, DoubleDouble b) { return a + -b; }
    friend DoubleDouble operator*(DoubleDouble a, DoubleDouble b) {
        const double product = a.high * b.high;
        return sum(product, std::fma(a.high, b.high, -product) + (a.high * b.low + a.low * b.high));
    }
    friend DoubleDouble operator/(DoubleDouble a, DoubleDouble b) {
        const double first = a.high / b.high;
        const DoubleDouble rest = a - b * first;
        const double second = rest.high / b.high;
        return sum(first, second) + (rest - b * second).high / b.high;
    }
    friend bool operator<(DoubleDouble a, DoubleDouble b) { return (a - b).high < 0; }
};

/// 0 below exp(-700).
inline DoubleDouble exp(DoubleDouble x) {
    if (x.high < -700) return 0;
    const DoubleDouble log_2 = DoubleDouble::sum(0x1.62e42fefa39efp-1, 0x1.abc9e3b39803fp-56);
    const double power = std::round(x.high / log_2.high);
    const DoubleDouble r = (x - log_2 * power) * (1.0 / 64);
    DoubleDouble term = 1;
    DoubleDouble result = 1;
    for (int i = 1; i <= 14; ++i) {
        term = term * r / i;
        result = result + term;
    }
    for (int i = 0; i < 6; ++i) result = result * result;
    return result * std::ldexp(1.0, static_cast<int>(power));
}

/// Of normal numbers.
inline DoubleDouble log(DoubleDouble x) {
    DoubleDouble y = std::log(x.high);
    for (int i = 0; i < 2; ++i) y = y + (x * exp(-y) - 1);
    return y;
}

}  // namespace tests
