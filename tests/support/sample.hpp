#pragma once

#include <cstdint>

#ifndef OTPOOL_TEST_EVERY
#define OTPOOL_TEST_EVERY 1
#endif

namespace tests {

/// Whether to take a problem of many alike: all of them; or where a sanitizer makes each take ten times as long, and
/// finds in few of them what it looks for, every OTPOOL_TEST_EVERY-th.
inline bool in_sample(std::uint64_t number) { return number % OTPOOL_TEST_EVERY == 0; }

}  // namespace tests
