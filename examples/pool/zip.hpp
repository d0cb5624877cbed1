#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "../support/file_error.hpp"
#include "../support/input_file.hpp"

#ifdef POOL_HAS_LIBZIP

#include <zip.h>

#include <array>
#include <cstdint>
#include <istream>
#include <memory>
#include <streambuf>
#include <utility>

namespace pool {

namespace detail {

struct CloseZip {
    void operator()(zip_t* archive) const { zip_discard(archive); }
    void operator()(zip_file_t* member) const { zip_fclose(member); }
};
using ZipHandle = std::unique_ptr<zip_t, CloseZip>;
using ZipMemberHandle = std::unique_ptr<zip_file_t, CloseZip>;

[[noreturn]] inline void refuse_zip(const std::filesystem::path& name, const std::string& found) {
    throw support::FileError(name, "archive", found, "a whole .npz archive without a password");
}

inline ZipHandle open_zip(const std::filesystem::path& path) {
    int code = 0;
    ZipHandle archive(zip_open(path.c_str(), ZIP_RDONLY, &code));
    if (archive) return archive;
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const std::string message = zip_error_strerror(&error);
    zip_error_fini(&error);
    refuse_zip(path, message);
}

/// The bytes of a member as they are read. Throws FileError where the archive is damaged.
class ZipMemberBuffer : public std::streambuf {
public:
    ZipMemberBuffer(std::filesystem::path name, ZipHandle archive, ZipMemberHandle member)
        : name_(std::move(name)), archive_(std::move(archive)), member_(std::move(member)) {}

protected:
    int_type underflow() override {
        const zip_int64_t count = zip_fread(member_.get(), buffer_.data(), buffer_.size());
        if (count < 0) refuse_zip(name_, zip_file_strerror(member_.get()));
        if (count == 0) return traits_type::eof();
        setg(buffer_.data(), buffer_.data(), buffer_.data() + count);
        return traits_type::to_int_type(buffer_[0]);
    }

private:
    std::filesystem::path name_;
    ZipHandle archive_;
    ZipMemberHandle member_;  // declared last, as it must be closed before its archive
    std::array<char, 65536> buffer_;
};

class ZipMemberStream : public std::istream {
public:
    explicit ZipMemberStream(std::unique_ptr<ZipMemberBuffer> buffer)
        : std::istream(buffer.get()), buffer_(std::move(buffer)) {
        exceptions(badbit);  // lets the buffer's FileError through
    }

private:
    std::unique_ptr<ZipMemberBuffer> buffer_;
};

}  // namespace detail

/// The names of an archive's members, in its order. Throws FileError.
inline std::vector<std::string> zip_members(const std::filesystem::path& path) {
    const detail::ZipHandle archive = detail::open_zip(path);
    std::vector<std::string> names;
    for (zip_int64_t i = 0; i < zip_get_num_entries(archive.get(), 0); ++i) {
        const char* const name = zip_get_name(archive.get(), static_cast<zip_uint64_t>(i), 0);
        if (name != nullptr) names.emplace_back(name);
    }
    return names;
}

/// Opens a member; `name` is what messages call it. Throws FileError, also while the stream is read.
inline support::ByteStream open_zip_member(const std::filesystem::path& path, const std::string& member,
                                           const std::filesystem::path& name) {
    detail::ZipHandle archive = detail::open_zip(path);
    zip_stat_t stat;
    if (zip_stat(archive.get(), member.c_str(), 0, &stat) != 0) detail::refuse_zip(name, zip_strerror(archive.get()));
    // Deflate makes nothing smaller than this, so no memory is asked for that the archive cannot fill.
    constexpr zip_uint64_t largest_ratio = 1032;
    const bool stored = stat.comp_method == ZIP_CM_STORE;
    if (!stored && stat.comp_method != ZIP_CM_DEFLATE) detail::refuse_zip(name, "a compression other than deflate");
    if (stat.size / (stored ? 1 : largest_ratio) > stat.comp_size) detail::refuse_zip(name, "a wrong size");
    detail::ZipMemberHandle file(zip_fopen(archive.get(), member.c_str(), 0));
    if (!file) detail::refuse_zip(name, zip_strerror(archive.get()));
    auto buffer = std::make_unique<detail::ZipMemberBuffer>(name, std::move(archive), std::move(file));
    return {std::make_unique<detail::ZipMemberStream>(std::move(buffer)), stat.size};
}

}  // namespace pool

#else

namespace pool {

inline std::vector<std::string> zip_members(const std::filesystem::path& path) {
    throw support::FileError(path, "format", "a .npz archive",
                             "a .npy file, for this program was built without libzip (Debian: libzip-dev)");
}

inline support::ByteStream open_zip_member(const std::filesystem::path& path, const std::string&,
                                           const std::filesystem::path&) {
    zip_members(path);
    return {};
}

}  // namespace pool

#endif
