#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <functional>
#include <future>
#include <thread>
#include <vector>

namespace learn_pooling {

/// Runs the jobs, as many at a time as there are processors. When all have ended, throws what the first of them threw.
inline void run_parallel(const std::vector<std::function<void()>>& jobs) {
    std::atomic<std::size_t> next = 0;
    const auto work = [&] {
        for (std::size_t i = next++; i < jobs.size(); i = next++) jobs[i]();
    };
    std::vector<std::future<void>> others;
    for (unsigned i = 1; i < std::max(1u, std::thread::hardware_concurrency()); ++i) {
        others.push_back(std::async(std::launch::async, work));
    }
    work();
    for (auto& other : others) other.get();
}

}  // namespace learn_pooling
