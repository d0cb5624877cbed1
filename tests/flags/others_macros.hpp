// Macros of other libraries, as if their headers came first; before them the headers of the standard library and of Eigen, which
// are not to be tested.
#include <Eigen/Cholesky>
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <charconv>
#include <cmath>
#include <functional>
#include <iomanip>
#include <iostream>
#include <memory>
#include <numbers>
#include <numeric>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

// windows.h
#define min(a, b) (((a) < (b)) ? (a) : (b))
#define max(a, b) (((a) > (b)) ? (a) : (b))
#define small char
#define near
#define far

// AssertMacros.h
#define require(assertion, label) goto label
#define check(assertion) goto failed
#define verify(assertion) goto failed

// Xlib.h
#define None 0L
#define Bool int
