#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <mutex>
#include <string>
#include <utility>

namespace support {

/// A progress bar on stderr, erased when it is destroyed:
///
///     ProgressBar progress("pooling", bags);
///     for each bag: ...; progress.advance();          // from any thread
///
/// Silent unless stderr is a terminal and the work looks longer than a second.
class ProgressBar {
public:
    ProgressBar(std::string label, std::size_t total)
        : label_(std::move(label)), total_(std::max<std::size_t>(total, 1)), terminal_(isatty(STDERR_FILENO) == 1) {}

    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;

    ~ProgressBar() {
        if (shown_) std::fputs("\r\x1b[K", stderr);
    }

    /// Thread-safe and cheap: one atomic addition where there is nothing to draw.
    void advance(std::size_t steps = 1) {
        const std::size_t done = done_.fetch_add(steps, std::memory_order_relaxed) + steps;
        if (!terminal_) return;
        // If another thread is drawing, go back to work.
        const std::unique_lock lock(drawing_, std::try_to_lock);
        if (lock.owns_lock()) draw_if_due(std::min(done, total_));
    }

private:
    using Clock = std::chrono::steady_clock;

    void draw_if_due(std::size_t done) {
        const auto now = Clock::now();
        const double elapsed = std::chrono::duration<double>(now - start_).count();
        const double part = static_cast<double>(done) / static_cast<double>(total_);
        const bool long_work = shown_ || (elapsed > 0.5 && elapsed > part);  // elapsed / part: the expected total
        // Threads may arrive here out of order; the bar never runs backwards.
        if (!long_work || done < drawn_ || now - last_drawn_ < std::chrono::milliseconds(100)) return;
        draw(part, elapsed / part - elapsed);
        last_drawn_ = now;
        drawn_ = done;
        shown_ = true;
    }

    void draw(double part, double seconds_left) const {
        constexpr std::size_t width = 40;
        const auto full = static_cast<std::size_t>(part * static_cast<double>(width));
        const std::string bar = std::string(full, '#') + std::string(width - full, '.');
        std::fprintf(stderr, "\r%s [%s] %3.0f %%, %.0f s left\x1b[K", label_.c_str(), bar.c_str(), 100 * part,
                     seconds_left);
        std::fflush(stderr);
    }

    const std::string label_;
    const std::size_t total_;
    const bool terminal_;
    const Clock::time_point start_ = Clock::now();
    std::atomic<std::size_t> done_ = 0;
    std::mutex drawing_;
    Clock::time_point last_drawn_;
    std::size_t drawn_ = 0;
    bool shown_ = false;
};

/// A line on stderr that says how far the work is, erased when it is destroyed. Silent unless stderr is a terminal and the
/// work has taken half a second.
class ProgressLine {
public:
    ProgressLine() = default;
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;
    ~ProgressLine() {
        if (shown_) std::fputs("\r\x1b[K", stderr);
    }

    void show(const std::string& text) {
        const auto now = std::chrono::steady_clock::now();
        if (!terminal_ || now - last_ < std::chrono::milliseconds(shown_ ? 100 : 500)) return;
        std::fprintf(stderr, "\r%s\x1b[K", text.c_str());
        std::fflush(stderr);
        last_ = now;
        shown_ = true;
    }

private:
    const bool terminal_ = isatty(STDERR_FILENO) == 1;
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
    bool shown_ = false;
};

}  // namespace support
