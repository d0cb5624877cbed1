// otpool needs C++20: compile with -std=c++20 or later
// -std=c++17
#include "otpool/learning.hpp"
