#include "otpool/core/any_view.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "support/catch.hpp"
#include "support/random_bags.hpp"

// What is read through a view of either scalar.

namespace any_view_test {

using namespace otpool;

TEMPLATE_TEST_CASE("A row is copied from memory of any layout", "", float, double) {
    using Scalar = TestType;
    using RowMajor = Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    tests::Random random(2);
    Matrix<Scalar> by_column(7, 60);
    for (Scalar& entry : by_column.reshaped()) entry = static_cast<Scalar>(random.normal());
    const RowMajor by_row = by_column;
    const std::vector<std::vector<Index>> gaps = {{}, {20}, {0, 33, 59}};
    for (const MatrixView<Scalar>& matrix : {MatrixView<Scalar>(by_column), MatrixView<Scalar>(by_row)}) {
        for (const std::vector<Index>& left_out : gaps) {
            std::vector<Index> cols;
            for (Index col = 0; col < 60; ++col) {
                if (std::find(left_out.begin(), left_out.end(), col) == left_out.end()) cols.push_back(col);
            }
            for (std::size_t first : {0U, 1U, 15U}) {
                for (Index count = 0; count <= 40; ++count) {
                    std::vector<Scalar> row(static_cast<std::size_t>(count) + 1, Scalar(-100));
                    detail::AnyView(matrix).copy_row(3, cols.data() + first, count, row.data());
                    CHECK(row.back() == -100);  // no more is written
                    bool same = true;
                    for (std::size_t i = 0; i + 1 < row.size(); ++i) same &= row[i] == by_column(3, cols[first + i]);
                    CHECK(same);
                }
            }
        }
    }
}

}  // namespace any_view_test
