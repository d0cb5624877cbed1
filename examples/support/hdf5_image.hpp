#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <ostream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include <otpool/adapter/hdf5_file.hpp>

namespace support {

/// An HDF5 file that is put together in memory and then written as a whole: where a disk is full, HDF5's own writing ends in a
/// crash when the program ends. Functions throw std::runtime_error.
class Hdf5Image {
public:
    Hdf5Image() {
        const otpool::detail::Hdf5Lock lock;
        constexpr std::size_t grows_by = 1 << 20;
        const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
        H5Pset_fapl_core(access.id(), grows_by, false);
        // A name that no file can have: HDF5 looks for one first.
        file_ = {H5Fcreate("/dev/null/image", H5F_ACC_TRUNC, H5P_DEFAULT, access.id()), H5Fclose};
        check(file_.is_open());
    }
    Hdf5Image(const Hdf5Image&) = delete;
    Hdf5Image& operator=(const Hdf5Image&) = delete;
    ~Hdf5Image() {
        const otpool::detail::Hdf5Lock lock;
        file_ = {};
    }

    /// Adds a dataset of floats or doubles, the last index fastest.
    template <class Scalar>
    void add(const std::string& name, const std::vector<std::int64_t>& shape, const Scalar* values) {
        static_assert(std::is_floating_point_v<Scalar>);
        const otpool::detail::Hdf5Lock lock;
        const ::hid_t type = sizeof(Scalar) == 4 ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE;
        const std::vector<::hsize_t> sizes(shape.begin(), shape.end());
        const Handle space(H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr), H5Sclose);
        const Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
        H5Pset_obj_track_times(creation.id(), false);  // the same numbers are the same bytes
        const Handle dataset(
            H5Dcreate2(file_.id(), name.c_str(), type, space.id(), H5P_DEFAULT, creation.id(), H5P_DEFAULT), H5Dclose);
        check(dataset.is_open());
        check(H5Dwrite(dataset.id(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    }

    /// Adds a dataset of another file, with its attributes.
    void copy(const std::filesystem::path& from, const std::string& name) {
        const otpool::detail::Hdf5Lock lock;
        const Handle source = otpool::detail::open_hdf5(from);
        check(H5Ocopy(source.id(), name.c_str(), file_.id(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT) >= 0);
    }

    /// The bytes of the file so far.
    std::vector<char> bytes() const {
        const otpool::detail::Hdf5Lock lock;
        check(H5Fflush(file_.id(), H5F_SCOPE_LOCAL) >= 0);
        std::vector<char> all(
            static_cast<std::size_t>(std::max<::ssize_t>(0, H5Fget_file_image(file_.id(), nullptr, 0))));
        check(!all.empty() && H5Fget_file_image(file_.id(), all.data(), all.size()) >= 0);
        return all;
    }

private:
    using Handle = otpool::detail::Hdf5Handle;

    static void check(bool done) {
        if (!done) throw std::runtime_error("HDF5: " + otpool::detail::hdf5_message());
    }

    Handle file_;
};

}  // namespace support
