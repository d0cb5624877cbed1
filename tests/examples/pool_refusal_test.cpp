#ifdef POOL_PROGRAM

#include <Eigen/Core>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "pool_program.hpp"
#include "support/catch.hpp"

// Bad usage and bad input: exit status 2, one line that names file and field, or option, with what was found
// and what is allowed, and no output file created or changed.

using Eigen::MatrixXd;
using Eigen::VectorXd;
using tests::PoolProgram;
using tests::read_bytes;
using tests::write_bytes;

namespace pool_refusal_test {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinite = std::numeric_limits<double>::infinity();

/// Runs pool on X.npy and ptr.npy with one output that exists and three that don't, and checks that it refuses.
void check_refused(const PoolProgram& program, const std::string& arguments, const std::string& message,
                   const std::string& input = "--input X.npy --ptr ptr.npy ") {
    INFO(arguments);
    write_bytes(program.directory / "Y.npy", "as it was");
    const std::vector<std::string> files = program.directory.files();
    const auto run =
        program.run(input + arguments + " --output Y.npy --report report.json --plan P.npy --weights W.npy");
    CHECK(run.status == 2);
    CHECK(run.err == "pool: " + message + "\n");
    CHECK(run.out == "");
    CHECK(program.directory.files() == files);
    CHECK(read_bytes(program.directory / "Y.npy") == "as it was");
}

void write_offsets(const PoolProgram& program, const std::vector<std::int64_t>& offsets) {
    using Offsets = Eigen::Matrix<std::int64_t, Eigen::Dynamic, 1>;
    program.write("ptr.npy",
                  Offsets(Eigen::Map<const Offsets>(offsets.data(), static_cast<Eigen::Index>(offsets.size()))));
}

TEST_CASE("pool refuses numbers that are not finite") {
    const PoolProgram program;
    MatrixXd bad = program.instances;
    bad(3, 6) = not_a_number;
    program.write("bad.npy", bad);
    const std::string place = "bag 2, instance 1 (row 6), feature 3";
    const std::string input = "--input bad.npy --ptr ptr.npy ";
    for (const std::string pooling : {"", "--pooling mean", "--pooling max", "--pooling mixed", "--dtype float"}) {
        check_refused(program, pooling, "bad.npy: " + place + ": found nan, allowed finite numbers", input);
    }
    check_refused(program, "--reward bad.npy",
                  "bad.npy: " + place +
                      ": found nan, allowed finite numbers, or -inf where a feature may not draw on an instance");
    bad(3, 6) = -infinite;
    program.write("bad.npy", bad);
    check_refused(program, "", "bad.npy: " + place + ": found -inf, allowed finite numbers", input);
    bad(3, 6) = 1e300;
    program.write("bad.npy", bad);
    check_refused(program, "--dtype float",
                  "bad.npy: data: found 1e+300, allowed magnitudes up to 3.40282e+38 as float32", input);

    VectorXd scores = program.scores;
    scores[12] = infinite;
    program.write("s.npy", scores);
    check_refused(program, "--pooling attention --scores s.npy",
                  "s.npy: bag 3, instance 0 (row 12): found inf, allowed finite numbers, and -inf to leave an instance "
                  "out");
    scores[12] = not_a_number;
    program.write("s.npy", scores);
    check_refused(program, "--pooling attention --scores s.npy",
                  "s.npy: bag 3, instance 0 (row 12): found nan, allowed finite numbers, and -inf to leave an instance "
                  "out");
    scores = program.scores;
    scores.segment(5, 7).setConstant(-infinite);
    program.write("s.npy", scores);
    check_refused(program, "--pooling attention --scores s.npy",
                  "s.npy: bag 2: found only scores of -inf, allowed at least one finite score");
}

TEST_CASE("pool refuses alphas, temperatures and weights out of their range") {
    const PoolProgram program;
    for (const std::string option : {"--alpha0", "--alpha1", "--alpha2", "--pooling softmax --temperature"}) {
        const std::string name = option.substr(option.rfind("--"));
        for (const std::string value : {"-1", "-0.5", "-1e-300", "nan", "-inf", "1e999", "one", "1,5", "1x"}) {
            check_refused(program, option + " " + value, name + ": found '" + value + "', allowed 0 to inf");
        }
        check_refused(program, option + " ''", name + ": found '', allowed 0 to inf");
        for (const std::string value : {"1e+39", "1e-50"}) {
            check_refused(program, option + " " + value + " --dtype float",
                          name + ": found " + value + ", allowed 0, 1.5e-45 to 3.4e+38 and inf with --dtype float");
        }
    }
    for (const std::string value : {"-0.1", "1.1", "nan", "inf"}) {
        check_refused(program, "--pooling mixed --weight " + value, "--weight: found '" + value + "', allowed 0 to 1");
    }
}

TEST_CASE("pool refuses bad solver options") {
    const PoolProgram program;
    for (const std::string value : {"0", "-1", "1.5", "99999999999", "many"}) {
        const std::string rest = ": found '" + value + "', allowed 1 to 2147483647";
        check_refused(program, "--iterations " + value, "--iterations" + rest);
        check_refused(program, "--max-iterations " + value, "--max-iterations" + rest);
    }
    for (const std::string value : {"0", "-1", "inf", "nan"}) {
        const std::string rest = ": found '" + value + "', allowed finite and above 0";
        check_refused(program, "--tolerance " + value, "--tolerance" + rest);
        check_refused(program, "--solver badmm --rho " + value, "--rho" + rest);
    }
    check_refused(program, "--iterations 3 --tolerance 1e-3",
                  "--tolerance: found with --iterations, allowed one of the two");
    check_refused(program, "--iterations 3 --max-iterations 5",
                  "--max-iterations: found with --iterations, allowed one of the two");
    check_refused(program, "--rho 1", "--rho: found with the solver automatic, allowed only with --solver badmm");
    check_refused(program, "--threads -1", "--threads: found '-1', allowed 0 to 1024");
    check_refused(program, "--solver simplex",
                  "--solver: found 'simplex', allowed automatic, sinkhorn, newton, active-set or badmm");
}

TEST_CASE("pool refuses a solver that does not take the problem") {
    const PoolProgram program;
    for (const std::string solver : {"sinkhorn", "newton"}) {
        const std::string named = "--solver " + solver;
        check_refused(
            program, named + " --alpha0 0 --alpha2 1",
            "--alpha0: found 0 and no closed form, allowed above 0 with " + named + ", or --solver automatic");
        check_refused(
            program, named + " --alpha0 0 --iterate",
            "--alpha0: found 0 and no closed form, allowed above 0 with " + named + ", or --solver automatic");
        check_refused(
            program, named + " --pooling lse --temperature 0 --iterate",
            "--temperature: found 0 with --iterate, allowed above 0 with " + named + ", or --solver automatic");
        check_refused(program, named + " --pooling max --iterate",
                      "--solver: found " + solver + ", allowed automatic with --iterate --pooling max");
    }
    check_refused(program, "--solver sinkhorn --regularizer quadratic",
                  "--solver: found sinkhorn, allowed automatic, newton or badmm with --regularizer quadratic");
    check_refused(program, "--solver active-set --alpha0 1",
                  "--solver: found active-set, allowed active-set only where alpha0 is 0");
    check_refused(program, "--solver active-set --alpha0 0 --iterations 3",
                  "--iterations: found given with --solver active-set, allowed --max-iterations instead");
}

TEST_CASE("pool refuses options that the pooling does not take") {
    const PoolProgram program;
    const auto refusal = [](const std::string& option, const std::string& pooling, const std::string& takers) {
        return option + ": found with --pooling " + pooling + ", allowed only with --pooling " + takers;
    };
    for (const std::string option :
         {"--alpha0 1", "--alpha1 1", "--alpha2 1", "--regularizer entropy", "--readout joint", "--p0 p0.npy"}) {
        for (const std::string pooling : {"mean", "mixed", "attention"}) {
            check_refused(program, "--pooling " + pooling + " " + option,
                          refusal(option.substr(0, option.find(' ')), pooling, "uot"));
        }
    }
    check_refused(program, "--temperature 1", refusal("--temperature", "uot", "softmax or lse"));
    check_refused(program, "--weight 1", refusal("--weight", "uot", "mixed"));
    check_refused(program, "--scores s.npy", refusal("--scores", "uot", "attention"));
    check_refused(program, "--pooling min --q0 q0.npy", refusal("--q0", "min", "uot or attention"));
    check_refused(program, "--pooling lse --reward X.npy", refusal("--reward", "lse", "uot, max or softmax"));
    check_refused(program, "--pooling attention",
                  "--scores: found none with --pooling attention, allowed --scores or --q0");
    check_refused(program, "--pooling attention --scores s.npy --q0 q0.npy",
                  "--q0: found with --scores, allowed one of the two");
    check_refused(program, "--pooling median",
                  "--pooling: found 'median', allowed uot, mean, max, min, sum, softmax, lse, attention or mixed");
}

TEST_CASE("pool refuses what is no option of its") {
    const PoolProgram program;
    check_refused(program, "--alpha3 1", "--alpha3: found an unknown option, allowed the options that --help shows");
    check_refused(program, "more.npy", "more.npy: found an unknown option, allowed the options that --help shows");
    check_refused(program, "--alpha0 1 --alpha0 2", "--alpha0: found no value or several, allowed one value");
    check_refused(program, "--plan", "--plan: found no value or several, allowed one value",
                  "--input X.npy --ptr ptr.npy --plan P.npy ");
    check_refused(program, "", "--input: found none, allowed a .npy, .npz or .h5 file, or a folder of them",
                  "--ptr ptr.npy ");
    check_refused(program, "--empty nan", "--empty: found 'nan', allowed error or zeros");
    check_refused(program, "--dtype int", "--dtype: found 'int', allowed float or double");
}

TEST_CASE("pool refuses bad offsets, and names the bag") {
    const PoolProgram program;
    const auto check = [&](const std::vector<std::int64_t>& offsets, const std::string& message) {
        write_offsets(program, offsets);
        check_refused(program, "", "ptr.npy: " + message);
    };
    check({}, "shape: found (0,), allowed (B + 1,) for B bags");
    check({1, 20}, "ptr[0]: found 1, allowed 0");
    check({0, 12, 5, 20}, "ptr[2]: found 5, allowed at least ptr[1] = 12");
    check({0, -3, 20}, "ptr[1]: found -3, allowed at least ptr[0] = 0");
    check({0, 4, 19}, "ptr[2]: found 19, allowed 20, the number of instances in X.npy");
    check({0, 4, 21}, "ptr[2]: found 21, allowed 20, the number of instances in X.npy");
    check({0, 4, 4, 20}, "bag 1: found empty, allowed at least one instance, or --empty zeros");
    program.write("ptr.npy", VectorXd(program.offsets.cast<double>()));
    check_refused(program, "", "ptr.npy: descr: found float64, allowed int8 to int64 or uint8 to uint64");
    program.write("none.npy", MatrixXd(3, 0));
    check_refused(program, "", "none.npy: bag 0: found empty, allowed at least one instance, or --empty zeros",
                  "--input none.npy ");
}

TEST_CASE("pool refuses bad priors, and names feature or bag") {
    const PoolProgram program;
    const auto check_p0 = [&](const VectorXd& p0, const std::string& message) {
        program.write("p0.npy", p0);
        check_refused(program, "--p0 p0.npy", "p0.npy: " + message);
    };
    check_p0(VectorXd{{0.2, 0.2, 0.2, 0.5, -0.1}}, "feature 4: found -0.1, allowed finite numbers above 0");
    check_p0(VectorXd{{0, 0.2, 0.2, 0.3, 0.3}}, "feature 0: found 0, allowed finite numbers above 0");
    check_p0(VectorXd{{0.2, not_a_number, 0.2, 0.2, 0.2}}, "feature 1: found nan, allowed finite numbers above 0");
    check_p0(VectorXd::Constant(5, 1e308), "sum: found inf, allowed finite and above 0");
    check_p0(VectorXd::Constant(2, 0.5), "shape: found (2,), allowed (5,), a number a feature");

    const auto check_q0 = [&](Eigen::Index n, double value, const std::string& message) {
        VectorXd q0 = program.q0;
        q0[n] = value;
        program.write("bad.npy", q0);
        for (const std::string pooling : {"", "--alpha2 1 ", "--pooling attention "}) {
            check_refused(program, pooling + "--q0 bad.npy", "bad.npy: " + message);
        }
    };
    const std::string allowed = ", allowed finite numbers of at least 0";
    check_q0(4, -1, "bag 1, instance 0 (row 4): found -1" + allowed);
    check_q0(19, infinite, "bag 3, instance 7 (row 19): found inf" + allowed);
    check_q0(4, 0, "sum of bag 1: found 0, allowed finite and above 0");
    program.write("bad.npy", VectorXd::Constant(3, 1.0 / 3).eval());
    check_refused(program, "--q0 bad.npy", "bad.npy: shape: found (3,), allowed (20,), a number an instance");
    check_refused(program, "--pooling attention --scores bad.npy",
                  "bad.npy: shape: found (3,), allowed (20,), a number an instance");
}

TEST_CASE("pool refuses files that are not what they should be") {
    const PoolProgram program;
    const std::string whole = read_bytes(program.directory / "X.npy");
    write_bytes(program.directory / "cut.npy", whole.substr(0, whole.size() - 8));
    check_refused(program, "",
                  "cut.npy: data: truncated: found 792 bytes, allowed the 800 bytes of shape (20, 5) of float64",
                  "--input cut.npy ");
    check_refused(program, "--reward cut.npy",
                  "cut.npy: data: truncated: found 792 bytes, allowed the 800 bytes of shape (20, 5) of float64");
    write_bytes(program.directory / "text.npy", "1 2 3\n4 5 6\n");
    check_refused(
        program, "",
        "text.npy: format: found text, allowed a .npy file, made in Python by: import numpy; "
        "numpy.save(\"text.converted.npy\", numpy.loadtxt(\"text.npy\"))  # with skiprows=1 if the first line has "
        "names",
        "--input text.npy ");
    check_refused(program, "", "s.npy: shape: found (20,), allowed (rows, columns) or (1, rows, columns)",
                  "--input s.npy ");
    check_refused(program, "", "missing.npy: input: found No such file or directory, allowed a .npy file",
                  "--input missing.npy ");
    check_refused(program, "--p0 .", ".: input: found a directory, allowed a .npy file");
    program.write("flat.npy", MatrixXd(0, 20));
    check_refused(program, "", "flat.npy: shape: found (20, 0), allowed at least one feature",
                  "--input flat.npy --ptr ptr.npy ");
    program.write("R.npy", MatrixXd::Zero(20, 5).eval());
    check_refused(program, "--reward R.npy", "R.npy: shape: found (5, 20), allowed (20, 5), the shape of X.npy");
}

TEST_CASE("pool refuses outputs that cannot be written before it works") {
    const PoolProgram program;
    const std::string allowed = ", allowed a file name in an existing directory that can be written\n";
    const auto before = program.directory.files();
    for (const std::string option : {"--output", "--plan", "--weights", "--report"}) {
        const auto run = program.run("--input X.npy --ptr ptr.npy " + option + " nowhere/file");
        CHECK(run.status == 2);
        CHECK(run.err == "pool: nowhere/file: output: found No such file or directory" + allowed);
        CHECK(run.out == "");
    }
    const auto run = program.run("--input X.npy --output same --plan ./same");
    CHECK(run.status == 2);
    CHECK(run.err == "pool: ./same: output: found a file that is another output already, allowed a file of its own\n");
    CHECK(program.directory.files() == before);
}

TEST_CASE("pool refuses two outputs in one file, by whatever names, and even by force") {
    const PoolProgram program;
    write_bytes(program.directory / "old", "as it was");
    std::filesystem::create_symlink("old", program.directory / "link");
    std::filesystem::create_hard_link(program.directory / "old", program.directory / "hard");
    const std::vector<std::string> options = {"--output ", "--plan ", "--weights ", "--report "};
    for (std::size_t i = 0; i < options.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            for (const std::string other : {"old", "./old", "link", "hard"}) {
                const auto run = program.run("--input X.npy --force " + options[i] + "old " + options[j] + other);
                INFO(options[i] << options[j] << other);
                CHECK(run.status == 2);
                CHECK(run.err.find("a file that is another output already") != std::string::npos);
                CHECK(read_bytes(program.directory / "old") == "as it was");
            }
        }
    }
}

TEST_CASE("pool refuses to write over an input unless it is forced") {
    const PoolProgram program;
    const std::string input = "--input X.npy --ptr ptr.npy --reward X32.npy --p0 p0.npy --q0 q0.npy ";
    std::filesystem::create_symlink("X.npy", program.directory / "link.npy");
    std::filesystem::create_hard_link(program.directory / "q0.npy", program.directory / "hard.npy");
    const std::string rest = ", allowed another file, or --force\n";
    for (const std::string output : {"--output ", "--plan ", "--weights ", "--report "}) {
        for (const auto& [file, option] :
             {std::pair("X.npy", "--input"), std::pair("./ptr.npy", "--ptr"), std::pair("X32.npy", "--reward"),
              std::pair("p0.npy", "--p0"), std::pair("link.npy", "--input"), std::pair("hard.npy", "--q0")}) {
            const std::string before = read_bytes(program.directory / file);
            const auto run = program.run(input + output + file);
            CHECK(run.status == 2);
            CHECK(run.err == std::string("pool: ") + file + ": output: found the file of " + option + rest);
            CHECK(read_bytes(program.directory / file) == before);
        }
    }
    CHECK(program.run("--input X.npy --pooling attention --scores s.npy --output s.npy").err ==
          "pool: s.npy: output: found the file of --scores" + rest);
    program.write("batch.npy", Eigen::VectorXi::Zero(20).eval());
    CHECK(program.run("--input X.npy --batch batch.npy --output batch.npy").err ==
          "pool: batch.npy: output: found the file of --batch" + rest);
}

TEST_CASE("pool keeps its message on one line whatever it is given") {
    const PoolProgram program;
    for (const std::string arguments : {"--input 'no\nsuch\x1b[2J.npy'", "--alpha0 'a\nb' --input X.npy",
                                        "'--o\nption'", "--input X.npy 'a\nb'", "--input X.npy --output 'a\nb/c'"}) {
        const auto run = program.run(arguments);
        INFO(run.err);
        CHECK(run.status == 2);
        CHECK(run.lines() == 1);
        CHECK(run.err.find('\x1b') == std::string::npos);
    }
}

}  // namespace pool_refusal_test

#endif
