#include "support/file_format.hpp"

#include <filesystem>
#include <string>
#include <string_view>

#include "error_of.hpp"
#include "support/catch.hpp"
#include "support/npy.hpp"
#include "support/temporary_directory.hpp"

namespace fs = std::filesystem;
using namespace std::string_literals;
using tests::error_of;
using tests::TemporaryDirectory;
using tests::write_bytes;

namespace file_format_test {

/// The message of opening a file of this name and these bytes as .npy, with "DIR/" for the file's directory.
std::string refusal_of(const std::string& name, const std::string& bytes) {
    const TemporaryDirectory directory;
    write_bytes(directory / name, bytes);
    std::string message = error_of([&] { support::NpyFile file(directory / name); });
    const std::string path = directory.path().string() + "/";
    for (auto at = message.find(path); at != std::string::npos; at = message.find(path)) {
        message.replace(at, path.size(), "DIR/");
    }
    return message;
}

std::string zip_of(const std::string& member) {
    return "PK\x03\x04" + std::string(22, '\0') + static_cast<char>(member.size()) + "\0\0\0"s + member +
           std::string(600, '\x01');
}

/// A file is known by its first bytes, whatever its name.
void check_known(const std::string& bytes, const std::string& format, const std::string& python) {
    INFO(format);
    const std::string end = ", allowed a .npy file, made in Python by: " + python;
    const std::string expected = "DIR/X.npy: format: found " + format + end;
    CHECK(refusal_of("X.npy", bytes).starts_with(expected));
}

TEST_CASE("A file of another format is named, with the line of Python that converts it") {
    const std::string save = "numpy.save(\"DIR/X.converted.npy\", ";
    check_known(zip_of("X.npy"), "a .npz archive", "import numpy; " + save + "numpy.load(\"DIR/X.npy\")[\"X\"])");
    const std::string torch =
        "import numpy, torch; " + save + "torch.load(\"DIR/X.npy\", map_location=\"cpu\").numpy(force=True))";
    check_known(zip_of("archive/data.pkl"), "a PyTorch file", torch);
    check_known("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", "a PyTorch file", torch);
    check_known("\x80\x04\x95 and more", "a Python pickle",
                "import numpy, pickle; " + save + "pickle.load(open(\"DIR/X.npy\", \"rb\")))");
    check_known("\x89HDF\r\n\x1a\n\0\0\0"s, "an HDF5 file",
                "import h5py, numpy; " + save + "h5py.File(\"DIR/X.npy\")[\"features\"][()])");
    check_known("MATLAB 7.3 MAT-file, Platform: GLNXA64", "a MATLAB 7.3 file",
                "import h5py, numpy; " + save + "h5py.File(\"DIR/X.npy\")[\"X\"][()].T)");
    check_known("MATLAB 5.0 MAT-file, Platform: GLNXA64", "a MATLAB file",
                "import numpy, scipy.io; " + save + "scipy.io.loadmat(\"DIR/X.npy\")[\"X\"])");
    check_known("\x40\0\0\0\0\0\0\0{\"X\":{\"dtype\""s, "a safetensors file",
                "import numpy, safetensors.numpy; " + save + "safetensors.numpy.load_file(\"DIR/X.npy\")[\"X\"])");
    check_known("PAR1\x15\x04", "a Parquet file",
                "import numpy, pandas; " + save + "pandas.read_parquet(\"DIR/X.npy\").to_numpy())");
    check_known("1.5, 2\n3, 4\n", "text with commas",
                "import numpy; " + save + "numpy.loadtxt(\"DIR/X.npy\", delimiter=\",\"))");
    check_known("1.5 2\n3 4\n", "text", "import numpy; " + save + "numpy.loadtxt(\"DIR/X.npy\"))");
    check_known(zip_of("xl/workbook.xml"), "a ZIP archive", "import numpy; " + save);
}

TEST_CASE("A file whose first bytes say nothing is known by its name") {
    for (const auto& [name, format] :
         {std::pair("slide.pt", "a PyTorch file"), std::pair("slide.pth", "a PyTorch file"),
          std::pair("slide.h5", "an HDF5 file"), std::pair("slide.hdf5", "an HDF5 file"),
          std::pair("slide.mat", "a MATLAB file"), std::pair("a.csv", "text with commas"), std::pair("a.txt", "text"),
          std::pair("a.safetensors", "a safetensors file")}) {
        const std::string message = refusal_of(name, "\xff\x01\x02");
        INFO(message);
        CHECK(message.starts_with(std::string("DIR/") + name + ": format: found " + format +
                                  ", allowed a .npy file, made in Python by: import "));
        const std::string stem = fs::path(name).stem().string();
        CHECK(message.find("numpy.save(\"DIR/" + stem + ".npy\", ") != std::string::npos);
    }
    CHECK(refusal_of("X", "\xff\x01\x02") ==
          "DIR/X: format: found a file that begins with '\\xff\\x01\\x02', allowed a .npy file");
    CHECK(refusal_of("X.npz", "\xff\x01\x02") ==
          "DIR/X.npz: format: found a file that begins with '\\xff\\x01\\x02', allowed a .npy file");
    CHECK(refusal_of("slide.pt", "") == "DIR/slide.pt: format: found an empty file, allowed a .npy file");
}

TEST_CASE("A pointer of Git LFS is told from text") {
    CHECK(refusal_of("X.npy", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n") ==
          "DIR/X.npy: format: found a pointer of Git LFS, allowed the file itself, which `git lfs pull` gets");
}

}  // namespace file_format_test
