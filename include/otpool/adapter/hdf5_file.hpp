// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <hdf5.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "otpool/adapter/file_error.hpp"
#include "otpool/adapter/stored_numbers.hpp"

// What is needed of the C API of HDF5: handles that close themselves, its errors as exceptions, the types of numbers.

namespace otpool::detail {

/// HDF5 may be called only while one of these exists: its library is not safe for threads. Until then it prints no errors,
/// and prints them again afterwards if it did before.
class Hdf5Lock {
public:
    Hdf5Lock() : lock_(mutex()) {
        H5Eget_auto2(H5E_DEFAULT, &print_, &of_print_);
        H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    }
    Hdf5Lock(const Hdf5Lock&) = delete;
    Hdf5Lock& operator=(const Hdf5Lock&) = delete;
    ~Hdf5Lock() { H5Eset_auto2(H5E_DEFAULT, print_, of_print_); }

private:
    static std::mutex& mutex() {
        static std::mutex one;
        return one;
    }

    std::lock_guard<std::mutex> lock_;
    H5E_auto2_t print_ = nullptr;
    void* of_print_ = nullptr;
};

/// Something of HDF5 that is open, and how it is closed; both under a Hdf5Lock.
class Hdf5Handle {
public:
    Hdf5Handle() = default;
    Hdf5Handle(::hid_t id, ::herr_t (*close)(::hid_t)) : id_(id), close_(close) {}
    Hdf5Handle(Hdf5Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
    Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
        std::swap(id_, other.id_);
        std::swap(close_, other.close_);
        return *this;
    }
    ~Hdf5Handle() {
        if (is_open()) close_(id_);
    }

    bool is_open() const { return id_ >= 0; }
    ::hid_t id() const { return id_; }

private:
    ::hid_t id_ = -1;
    ::herr_t (*close_)(::hid_t) = nullptr;
};

/// What HDF5 says of the call that failed last, in its most specific words.
inline std::string hdf5_message() {
    std::string message;
    const auto take = [](unsigned, const H5E_error2_t* error, void* to) -> ::herr_t {
        if (error->desc != nullptr) *static_cast<std::string*>(to) = error->desc;
        return 1;  // the first is the innermost
    };
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take, &message);
    return message.empty() ? "an error of HDF5" : "'" + printable(message, 200) + "'";
}

/// Opens a file to read it. Throws FileError.
inline Hdf5Handle open_hdf5(const std::filesystem::path& path) {
    require_regular_file(path, "an HDF5 file");
    const Hdf5Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    H5Pset_fapl_sec2(access.id());  // has a file descriptor, which pread needs
    Hdf5Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.id()), H5Fclose);
    if (file.is_open()) return file;
    const std::string message = hdf5_message();
    if (message.find("lock file") != std::string::npos) {
        throw FileError(path, "lock", message,
                        "a file that no program is writing; HDF5_USE_FILE_LOCKING=FALSE in the environment reads it "
                        "without a lock, as file systems without locks need");
    }
    throw FileError(path, "input", message, "a whole HDF5 file that can be read");
}

/// The names of the datasets in the root of a file, sorted.
inline std::vector<std::string> hdf5_datasets(const Hdf5Handle& file) {
    std::vector<std::string> names;
    H5G_info_t root{};
    H5Gget_info(file.id(), &root);
    for (::hsize_t i = 0; i < root.nlinks; ++i) {
        std::array<char, 256> name{};
        if (H5Lget_name_by_idx(file.id(), "/", H5_INDEX_NAME, H5_ITER_INC, i, name.data(), name.size(), H5P_DEFAULT) <
            0) {
            break;
        }
        const Hdf5Handle dataset(H5Dopen2(file.id(), name.data(), H5P_DEFAULT), H5Dclose);
        if (dataset.is_open()) names.emplace_back(name.data());
    }
    return names;
}

/// The sizes of a dataset.
inline std::vector<std::int64_t> hdf5_shape(const Hdf5Handle& dataset) {
    const Hdf5Handle space(H5Dget_space(dataset.id()), H5Sclose);
    std::vector<::hsize_t> sizes(static_cast<std::size_t>((std::max)(0, H5Sget_simple_extent_ndims(space.id()))));
    if (!sizes.empty()) H5Sget_simple_extent_dims(space.id(), sizes.data(), nullptr);
    return {sizes.begin(), sizes.end()};
}

/// How a type of HDF5 stores numbers; unset if it is none of Dtype's floats and integers.
inline std::optional<StoredNumbers> hdf5_numbers(const Hdf5Handle& type) {
    const ::hid_t id = type.id();
    const auto fits = [&](::hid_t known) {  // in all but the order of bytes
        const Hdf5Handle copy(H5Tcopy(known), H5Tclose);
        const ::H5T_order_t order = H5Tget_order(id);
        if (order != H5T_ORDER_LE && order != H5T_ORDER_BE) return false;
        H5Tset_order(copy.id(), order);
        return H5Tequal(copy.id(), id) > 0;
    };
    const std::endian order = H5Tget_order(id) == H5T_ORDER_BE ? std::endian::big : std::endian::little;
    const Hdf5Handle half(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);  // HDF5 before 1.14.4 has no name for it
    H5Tset_fields(half.id(), 15, 10, 5, 0, 10);
    H5Tset_size(half.id(), 2);
    H5Tset_ebias(half.id(), 15);
    const std::array<std::pair<::hid_t, Dtype>, 11> known = {{{half.id(), Dtype::float16},
                                                              {H5T_IEEE_F32LE, Dtype::float32},
                                                              {H5T_IEEE_F64LE, Dtype::float64},
                                                              {H5T_STD_I8LE, Dtype::int8},
                                                              {H5T_STD_I16LE, Dtype::int16},
                                                              {H5T_STD_I32LE, Dtype::int32},
                                                              {H5T_STD_I64LE, Dtype::int64},
                                                              {H5T_STD_U8LE, Dtype::uint8},
                                                              {H5T_STD_U16LE, Dtype::uint16},
                                                              {H5T_STD_U32LE, Dtype::uint32},
                                                              {H5T_STD_U64LE, Dtype::uint64}}};
    for (const auto& [stored, dtype] : known) {
        if (fits(stored)) return StoredNumbers{.dtype = dtype, .byte_order = order};
    }
    return {};
}

/// What else a type is.
inline std::string hdf5_type_name(const Hdf5Handle& type) {
    const std::string bytes = std::to_string(H5Tget_size(type.id())) + " bytes";
    switch (H5Tget_class(type.id())) {
        case H5T_FLOAT: return "a float of " + bytes + " that is not IEEE 754's, such as bfloat16";
        case H5T_INTEGER: return "an integer of " + bytes;
        case H5T_STRING: return "text";
        case H5T_COMPOUND: return "a record";
        case H5T_ENUM: return "an enumeration, such as bool";
        default: return "no number";
    }
}

}  // namespace otpool::detail
