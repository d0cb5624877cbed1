// The program `pool` with any arguments and files: it ends with a status that --help tells, a failure is one line on stderr
// and changes no file, and what it writes can be read.

#include <fcntl.h>
#include <sanitizer/common_interface_defs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <map>
#include <new>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "examples/npy_bytes.hpp"
#include "examples/zip_bytes.hpp"
#include "fuzz_input.hpp"
#include "support/npy.hpp"
#include "support/temporary_directory.hpp"

int pool_main(int argc, char** argv);  // the main() of examples/pool.cpp

// Beyond 32 MB there is no memory: malloc returns null, and operator new, which the sanitizer's would not do, throws.
extern "C" const char* __asan_default_options() {  // NOLINT(bugprone-reserved-identifier)
    return "allocator_may_return_null=1:max_allocation_size_mb=32";
}
void* operator new(std::size_t size) {
    if (void* memory = std::malloc(size)) return memory;
    throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return std::malloc(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace {

namespace fs = std::filesystem;
using fuzz::Input;

constexpr std::array array_files = {"X.npy",  "ptr.npy", "batch.npy", "reward.npy",
                                    "p0.npy", "q0.npy",  "s.npy",     "prototypes.npy"};
constexpr std::array output_files = {"Y.npy", "P.npy", "W.npy", "saved.npy", "report.json"};

/// The bytes of an array of this shape, or of another one or none.
std::string array(Input& input, std::size_t rows, std::size_t columns, bool integers) {
    static constexpr std::array numbers = {"<f8", "<f4", ">f8", "<f2", "<i4", "|u1", "|b1", ">i8", "<c8"};
    static constexpr std::array whole = {"<i8", "<i4", "|i1", ">u8", "<f8"};
    const bool odd = input.chance(16);
    const std::string type = integers ? input.one_of(whole) : input.one_of(numbers);
    std::string shape = "(" + std::to_string(rows) + (columns > 0 ? ", " + std::to_string(columns) + ")" : ",)");
    if (odd) shape = input.take_bytes(input.below(24));
    const std::size_t count = rows * std::max<std::size_t>(columns, 1) * static_cast<std::size_t>(type[2] - '0');
    std::string data;
    const bool raw = input.chance(4);
    while (data.size() < count && type[2] <= '8') {
        static constexpr std::array<double, 10> usual = {
            0, 1, 0.5, 2, 3, -1, 1e30, -1e-30, 1e300, -std::numeric_limits<double>::infinity()};
        if (raw || type[1] != 'f' || type[2] == '2') {
            data += integers && !raw ? static_cast<char>(data.size() / static_cast<std::size_t>(type[2] - '0') % 7)
                                     : input.take<char>();
            if (integers && !raw) data += std::string(static_cast<std::size_t>(type[2] - '0') - 1, '\0');
            continue;
        }
        const auto order = type[0] == '>' ? std::endian::big : std::endian::little;
        const double number = input.one_of(usual);
        data += type[2] == '8' ? tests::data_of<double>({number}, order)
                               : tests::data_of<float>({static_cast<float>(number)}, order);
    }
    data.resize(odd ? data.size() : count);
    return tests::npy(tests::dictionary(type, input.chance(2), shape), data);
}

/// All files that a run finds, by their names.
std::map<std::string, std::string> files(Input& input) {
    const std::size_t rows = 3 + input.below(5) - input.below(4);
    const std::size_t columns = 1 + input.below(4);
    std::map<std::string, std::string> made;
    for (const std::string name : array_files) {
        const bool vector = name != "X.npy" && name != "reward.npy" && name != "prototypes.npy";
        const bool integers = name == "ptr.npy" || name == "batch.npy";
        const std::size_t length = name == "ptr.npy"          ? rows + 1
                                   : name == "p0.npy"         ? columns
                                   : name == "prototypes.npy" ? 1 + input.below(4)
                                                              : rows;
        made[name] = input.chance(32) ? std::string(input.take_bytes(input.take<std::uint8_t>()))
                                      : array(input, length, vector ? 0 : columns, integers);
    }
    std::vector<tests::ZipMember> members = {{"X.npy", made["X.npy"]}};
    if (input.chance(2)) members.push_back({"ptr.npy", made["ptr.npy"]});
    if (input.chance(2)) members.push_back({"batch.npy", made["batch.npy"]});
    made["X.npz"] = tests::zip(members);
    if (input.chance(4)) made["X.npz"][input.take<std::uint16_t>() % made["X.npz"].size()] = input.take<char>();
    made["bags/a.npy"] = made["X.npy"];
    made["bags/b.npz"] = made["X.npz"];
    if (input.chance(4)) made["bags/c.npy"] = made["reward.npy"];
    if (input.chance(4)) made["bags/d.txt"] = "1 2";
    if (input.chance(4)) made["Y.npy"] = "old";
    return made;
}

std::vector<std::string> arguments(Input& input, const fs::path& folder) {
    const auto file = [&](const std::string& name) { return (folder / name).string(); };
    // First those that read a file, then those that write one.
    static constexpr std::array names = {"--ptr",
                                         "--batch",
                                         "--reward",
                                         "--p0",
                                         "--q0",
                                         "--scores",
                                         "--slots",
                                         "--output",
                                         "--plan",
                                         "--weights",
                                         "--save-prototypes",
                                         "--report",
                                         "--slots",  // a number
                                         "--empty",
                                         "--pooling",
                                         "--temperature",
                                         "--weight",
                                         "--alpha0",
                                         "--alpha1",
                                         "--alpha2",
                                         "--regularizer",
                                         "--readout",
                                         "--dtype",
                                         "--system",
                                         "--cost",
                                         "--dustbin",
                                         "--partial",
                                         "--unit",
                                         "--prototypes",
                                         "--seed",
                                         "--solver",
                                         "--iterations",
                                         "--tolerance",
                                         "--max-iterations",
                                         "--rho",
                                         "--iterate",
                                         "--threads",
                                         "--force",
                                         "--version",
                                         "--help",
                                         "--input",
                                         "--nothing"};
    static constexpr std::size_t read = 7, written = read + output_files.size();
    static constexpr std::array words = {"error",
                                         "zeros",
                                         "uot",
                                         "mean",
                                         "max",
                                         "min",
                                         "sum",
                                         "softmax",
                                         "lse",
                                         "attention",
                                         "mixed",
                                         "entropy",
                                         "relative-entropy",
                                         "quadratic",
                                         "conditional",
                                         "joint",
                                         "float",
                                         "double",
                                         "automatic",
                                         "sinkhorn",
                                         "newton",
                                         "active-set",
                                         "badmm",
                                         "residual",
                                         "joint-residual",
                                         "otke",
                                         "salad",
                                         "otsurv",
                                         "motcat",
                                         "netvlad",
                                         "slot-attention",
                                         "lot",
                                         "sqdist",
                                         "dot",
                                         "reldist",
                                         "relsqdist",
                                         "kmeans",
                                         "sample"};
    static constexpr std::array flags = {"--iterate", "--force", "--version", "--help", "--unit"};
    static constexpr std::array chosen = {"--empty",  "--pooling", "--regularizer", "--readout",   "--dtype",
                                          "--solver", "--system",  "--cost",        "--prototypes"};
    const auto has = [](const auto& of, const std::string& name) {
        return std::find(of.begin(), of.end(), name) != of.end();
    };
    static constexpr std::array numbers = {"1",      "0",     "inf",      "0.5", "2", "1e-3", "10", "1e-30", "1e30",
                                           "1e-300", "1e300", "4.9e-324", "3",   "7", "nan",  "-1", "1e999"};
    static constexpr std::array inputs = {"X.npy", "X.npz", "bags", "X.npz:X", "X.npz:ptr", "reward.npy", "none"};
    std::vector<std::string> all = {"pool", "--input", file(input.one_of(inputs))};
    if (input.chance(3)) all.insert(all.end(), {"--slots", file("prototypes.npy")});
    bool limited = false;
    for (std::size_t count = input.below(10); count > 0; --count) {
        const std::size_t which = input.below(names.size());
        const std::string name = names[which];
        all.push_back(name);
        if (has(flags, name)) continue;
        limited = limited || name.ends_with("iterations");
        if (input.chance(32)) {
            all.emplace_back(input.take_bytes(input.below(16)));
        } else if (which < read || name == "--input") {
            all.push_back(file(input.chance(8) ? input.one_of(inputs) : array_files[1 + which % read]));
        } else if (which < written) {
            all.push_back(file(input.chance(8) ? input.one_of(array_files) : output_files[which - read]));
        } else if (has(chosen, name)) {
            all.emplace_back(input.one_of(words));
        } else {
            all.emplace_back(input.one_of(numbers));
        }
    }
    if (!limited) all.insert(all.end(), {"--max-iterations", "20"});  // for its speed
    if (input.chance(64)) all.emplace_back(input.take_bytes(input.left()));
    return all;
}

std::map<std::string, std::string> contents(const fs::path& folder) {
    std::map<std::string, std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
        if (entry.is_regular_file()) found[entry.path().lexically_relative(folder).string()] = tests::read_bytes(entry);
    }
    return found;
}

/// Standard output and standard error in files, for a while.
class Redirected {
public:
    Redirected(const fs::path& out, const fs::path& err) : saved_{dup(1), dup(2)} {
        std::fflush(stdout);
        direct(1, out);
        direct(2, err);
    }
    Redirected(const Redirected&) = delete;
    Redirected& operator=(const Redirected&) = delete;
    ~Redirected() {
        std::fflush(stdout);
        for (const int stream : {1, 2}) {
            dup2(saved_[static_cast<std::size_t>(stream) - 1], stream);
            close(saved_[static_cast<std::size_t>(stream) - 1]);
        }
    }

private:
    static void direct(int stream, const fs::path& to) {
        const int file = open(to.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
        dup2(file, stream);
        close(file);
    }
    std::array<int, 2> saved_;
};

void check(const std::vector<std::string>& arguments, int status, const std::string& message,
           const std::map<std::string, std::string>& before, const fs::path& folder) {
    std::string what = "status " + std::to_string(status) + ", stderr: " + message + "arguments:";
    for (const std::string& argument : arguments) what += " " + argument;
    const auto expect = [&](bool holds, const std::string& name) { fuzz::expect(holds, name + ": " + what); };
    const auto after = contents(folder);
    expect(status >= 0 && status <= 3, "a documented status");
    if (status == 1 || status == 2) {
        expect(message.starts_with("pool: ") && message.find('\n') == message.size() - 1, "a failure is one line");
        expect(status == 2 || message == "pool: out of memory\n", "all failures but of memory are told");
        expect(after == before, "a failure changes no file");
        return;
    }
    for (const auto& [name, bytes] : after) {
        const auto old = before.find(name);
        if (old != before.end() && old->second == bytes) continue;
        expect(!name.ends_with(".tmp"), "no temporary file stays");
        try {
            if (bytes.starts_with("{")) {
                static_cast<void>(nlohmann::json::parse(bytes));
            } else {
                support::NpyFile(folder / name);
            }
        } catch (const std::exception& error) {
            expect(false, std::string("what is written can be read (") + error.what() + ")");
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
    __sanitizer_set_report_fd(reinterpret_cast<void*>(std::intptr_t{dup(2)}));  // not the redirected one
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const tests::TemporaryDirectory directory, streams;
    Input input(data, size);
    for (const auto& entry : fs::directory_iterator(directory.path())) fs::remove_all(entry.path());
    fs::create_directory(directory / "bags");
    std::vector<std::string> all = arguments(input, directory.path());
    for (const auto& [name, bytes] : files(input)) tests::write_bytes(directory / name, bytes);
    const auto before = contents(directory.path());

    std::vector<char*> argv;
    for (std::string& argument : all) argv.push_back(argument.data());
    argv.push_back(nullptr);
    int status = 0;
    {
        const Redirected redirected(streams / "out", streams / "err");
        status = pool_main(static_cast<int>(all.size()), argv.data());
    }
    check(all, status, tests::read_bytes(streams / "err"), before, directory.path());
    return 0;
}
