#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "file_error.hpp"

namespace support {

/// One output of OutputFiles: a target that stays untouched until commit(), and a temporary file beside it.
class OutputFile {
public:
    /// Throws FileError if the target could not be written. Leaves no trace.
    explicit OutputFile(std::filesystem::path name) : name_(std::move(name)) {
        check_target();
        // Through a symbolic link, so that the link survives.
        target_ = std::filesystem::weakly_canonical(std::filesystem::absolute(name_));
        folder_ = target_.parent_path();
        std::filesystem::remove(make_sibling());
    }

    OutputFile(const OutputFile&) = delete;
    OutputFile& operator=(const OutputFile&) = delete;

    ~OutputFile() {
        stream_.close();
        std::error_code ignored;
        if (!temporary_.empty()) std::filesystem::remove(temporary_, ignored);
    }

    const std::filesystem::path& name() const { return name_; }

    /// Where the content goes. The temporary file exists from the first call on, not from construction, so
    /// that a program that is killed during a long computation leaves nothing behind.
    std::ostream& stream() {
        if (temporary_.empty()) {
            temporary_ = make_sibling();
            std::error_code none_yet;
            const auto status = std::filesystem::status(target_, none_yet);
            if (exists(status)) std::filesystem::permissions(temporary_, status.permissions());
            stream_.open(temporary_, std::ios::binary);
        }
        return stream_;
    }

private:
    friend class OutputFiles;

    void check_target() const {
        std::error_code error;
        const auto status = std::filesystem::status(name_, error);
        if (status.type() == std::filesystem::file_type::none) refuse(error.message());
        if (is_directory(status)) refuse("a directory");
        // A device or pipe would be replaced by a regular file, or take half of the outputs on failure.
        if (is_other(status)) refuse("a device or pipe");
        if (is_regular_file(status)) {
            std::FILE* file = std::fopen(name_.c_str(), "r+b");
            if (file == nullptr) refuse(std::strerror(errno));
            std::fclose(file);
        } else if (is_symlink(std::filesystem::symlink_status(name_, error))) {
            refuse("a symbolic link to nothing");
        } else if (!name_.has_filename()) {
            refuse("no file name");
        }
    }

    // A new empty file in the target's directory: only there can a rename be atomic.
    std::filesystem::path make_sibling() const {
        std::random_device random;
        for (;;) {
            auto path = folder_ / (".otpool-" + std::to_string(random()) + ".tmp");
            if (std::FILE* file = std::fopen(path.c_str(), "wxb")) {
                std::fclose(file);
                return path;
            }
            if (errno != EEXIST) refuse(std::strerror(errno));
        }
    }

    void finish() {
        if (temporary_.empty()) return;
        stream_.close();
        // A disk may refuse what was written only here.
        if (!stream_ || !is_on_disk(temporary_))
            throw FileError(name_, "output", "an error while writing", "a disk with room for the whole file");
    }

    /// Whether a file, or the names in a folder, survive a loss of power from now on.
    static bool is_on_disk(const std::filesystem::path& path) {
        const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (file < 0) return false;
        const bool done = ::fsync(file) == 0 || errno == EINVAL;  // some file systems cannot say
        ::close(file);
        return done;
    }

    void replace(bool keep_old) {
        if (temporary_.empty()) return;
        std::error_code error;
        if (keep_old && std::filesystem::exists(target_)) {
            auto old = make_sibling();
            std::filesystem::rename(target_, old, error);
            if (error) {
                std::error_code ignored;
                std::filesystem::remove(old, ignored);
                refuse(error.message());
            }
            old_ = std::move(old);
        }
        std::filesystem::rename(temporary_, target_, error);
        if (error) {
            std::error_code ignored;
            if (!old_.empty()) std::filesystem::rename(old_, target_, ignored);
            refuse(error.message());
        }
        temporary_.clear();
        replaced_ = true;
    }

    void restore() {
        if (!replaced_) return;
        std::error_code ignored;
        if (old_.empty()) {
            std::filesystem::remove(target_, ignored);
        } else {
            std::filesystem::rename(old_, target_, ignored);
        }
    }

    void forget_old() {
        std::error_code ignored;
        if (!old_.empty()) std::filesystem::remove(old_, ignored);
    }

    [[noreturn]] void refuse(const std::string& found) const {
        throw FileError(name_, "output", found, "a file name in an existing directory that can be written");
    }

    std::filesystem::path name_;
    std::filesystem::path target_;
    std::filesystem::path folder_;  ///< Kept, as nothing may ask for memory once the outputs are replaced.
    std::filesystem::path temporary_;
    std::filesystem::path old_;
    std::ofstream stream_;
    bool replaced_ = false;
};

/// All outputs of a program, written together or not at all:
///
///     OutputFiles outputs;
///     OutputFile& pooled = outputs.add("Y.npy");      // throws here if it could never be written
///     ...                                             // the long computation
///     write_npy(pooled.stream(), y);
///     outputs.commit();                               // without it every target stays as it was
///
/// An output whose stream() was never asked for is left as it was by commit() too.
class OutputFiles {
public:
    /// The reference stays valid until commit(). Throws FileError.
    OutputFile& add(const std::filesystem::path& name) {
        auto file = std::make_unique<OutputFile>(name);
        for (const auto& other : files_) {
            std::error_code not_both_exist;
            if (other->target_ == file->target_ ||
                std::filesystem::equivalent(other->target_, file->target_, not_both_exist)) {
                throw FileError(name, "output", "a file that is another output already", "a file of its own");
            }
        }
        return *files_.emplace_back(std::move(file));
    }

    /// Throws FileError, with every target as it was before.
    void commit() {
        // A full disk shows here, before the first target changes.
        for (const auto& file : files_) file->finish();
        std::size_t done = 0;
        try {
            // Nothing can fail after the last one, so it needs no way back; a single output is replaced
            // atomically.
            for (; done < files_.size(); ++done) files_[done]->replace(done + 1 < files_.size());
        } catch (...) {
            while (done-- > 0) files_[done]->restore();
            throw;
        }
        for (const auto& file : files_) {
            file->forget_old();
            // The outputs are whole; if this fails, what a loss of power leaves are the old ones.
            OutputFile::is_on_disk(file->folder_);
        }
        files_.clear();
    }

private:
    std::vector<std::unique_ptr<OutputFile>> files_;
};

}  // namespace support
