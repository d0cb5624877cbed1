#pragma once

#include <atomic>
#include <barrier>
#include <cstddef>
#include <exception>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "otpool/core/matrix.hpp"
#include "otpool/streamed/ranks.hpp"

namespace tests {

/// Ranks that are threads of one process.
class ThreadsAsRanks {
public:
    explicit ThreadsAsRanks(otpool::Index size) : size_(size), given_(static_cast<std::size_t>(size)), barrier_(size) {}

    struct Ranks {
        ThreadsAsRanks* all;
        otpool::Index number;

        otpool::Index rank() const { return number; }
        otpool::Index size() const { return all->size_; }
        void gather(std::span<const double> own, std::span<const otpool::Index> counts, std::span<double> to) const {
            all->gather(*this, own, counts, to);
        }
    };

    /// The message of what action(ranks) throws on each of the threads; "no error", or "UNEQUAL COUNTS" if they do not
    /// agree on what is gathered.
    std::vector<std::string> run(const auto& action) {
        std::vector<std::string> messages(static_cast<std::size_t>(size_), "no error");
        std::vector<std::thread> threads;
        for (otpool::Index r = 0; r < size_; ++r) {
            threads.emplace_back([&, r] {
                try {
                    action(Ranks{this, r});
                } catch (const std::exception& error) {
                    messages[static_cast<std::size_t>(r)] = error.what();
                }
                barrier_.arrive_and_drop();  // who is still waiting would wait for ever; the counts then tell
            });
        }
        for (std::thread& thread : threads) thread.join();
        if (unequal_) messages.assign(messages.size(), "UNEQUAL COUNTS");
        return messages;
    }

    long gathers = 0;  ///< How many there have been.
    long numbers = 0;  ///< How many numbers they gathered.

private:
    struct Given {
        std::span<const double> numbers;
        std::span<const otpool::Index> counts;
    };

    void gather(const Ranks& ranks, std::span<const double> own, std::span<const otpool::Index> counts,
                std::span<double> to) {
        given_[static_cast<std::size_t>(ranks.number)] = {own, counts};
        barrier_.arrive_and_wait();
        std::size_t at = 0;
        for (std::size_t r = 0; r < given_.size(); ++r) {
            const Given& of_rank = given_[r];
            const bool fits = std::ssize(counts) == size_ && std::ssize(of_rank.numbers) == counts[r] &&
                              at + of_rank.numbers.size() <= to.size();
            if (!fits) {
                unequal_ = true;
                break;
            }
            for (const double number : of_rank.numbers) to[at++] = number;
        }
        if (at != to.size()) unequal_ = true;
        if (ranks.number == 0) {
            ++gathers;
            numbers += std::ssize(to);
        }
        barrier_.arrive_and_wait();  // until all have copied
        given_[static_cast<std::size_t>(ranks.number)] = {};
        barrier_.arrive_and_wait();
    }

    otpool::Index size_;
    std::vector<Given> given_;
    std::barrier<> barrier_;
    std::atomic<bool> unequal_ = false;
};

}  // namespace tests
