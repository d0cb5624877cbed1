#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <span>
#include <system_error>
#include <vector>

#include <otpool/core/matrix.hpp>
#include <otpool/streamed/rank_errors.hpp>
#include <otpool/streamed/ranks.hpp>

#include "../support/file_error.hpp"
#include "../support/npy.hpp"
#include "../support/output_files.hpp"
#include "settings.hpp"

namespace pool {

/// The file of --checkpoint: the features' potentials f of a bag that is being pooled, from which the next run goes on. Only
/// the first process reads and writes it.
class Checkpoint {
public:
    Checkpoint(const Settings& settings, const otpool::AnyRanks& ranks)
        : file_(settings.checkpoint), every_(settings.checkpoint_seconds), ranks_(ranks) {}

    bool wanted() const { return file_.has_value(); }

    /// What a former run has left, the same on all processes; empty if there is no file. Throws FileError.
    otpool::RealVector read(otpool::Index features) const {
        otpool::RealVector f;
        otpool::on_every_rank(ranks_, [&] {
            std::error_code none_yet;
            if (ranks_.rank() != 0 || !file_ || !std::filesystem::exists(*file_, none_yet)) return;
            const support::NpyFile file(*file_);
            if (file.shape() != std::vector<std::int64_t>{features}) {
                throw support::FileError(*file_, "shape", support::to_string(file.shape()),
                                         "(" + std::to_string(features) + ",), a number a feature");
            }
            f = file.vector<double>();
            if (!f.allFinite()) throw support::FileError(*file_, "potentials", "inf or nan", "finite numbers");
        });
        return of_first(f, features);
    }

    /// Replaces the file, as a whole or not at all, unless it has been written some seconds ago.
    void keep(std::span<const double> f) {
        const auto now = std::chrono::steady_clock::now();
        if (ranks_.rank() != 0 || now - last_ < std::chrono::seconds(every_)) return;
        support::write_npy(*file_, Eigen::Map<const otpool::RealVector>(f.data(), std::ssize(f)).eval());
        last_ = now;
    }

    /// Removes the file, as the results are written.
    void remove() const {
        std::error_code ignored;
        if (ranks_.rank() == 0 && file_) std::filesystem::remove(*file_, ignored);
    }

private:
    otpool::RealVector of_first(const otpool::RealVector& f, otpool::Index features) const {
        std::vector<otpool::Index> counts(static_cast<std::size_t>(ranks_.size()), 0);
        counts[0] = features + 1;
        std::vector<double> own, all(static_cast<std::size_t>(features) + 1);
        if (ranks_.rank() == 0) {
            own.assign(all.size(), 0);
            own[0] = static_cast<double>(f.size());
            std::copy(f.begin(), f.end(), own.begin() + 1);
        }
        ranks_.gather(own, counts, all);
        return Eigen::Map<const otpool::RealVector>(all.data() + 1, static_cast<otpool::Index>(all[0]));
    }

    File file_;
    int every_;
    const otpool::AnyRanks& ranks_;
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace pool
