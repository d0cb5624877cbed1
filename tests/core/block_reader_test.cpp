#include "otpool/core/block_reader.hpp"

#include <vector>

#include "support/catch.hpp"

using otpool::Index;
using otpool::detail::ColumnBlocks;

namespace block_reader_test {

TEST_CASE("A pass takes the parts in rising or falling order, and the blocks of a part in rising order") {
    for (const Index rows : {1, 1000, 1 << 18}) {
        for (const Index cols : {1, 130, 131, 700, 34000}) {
            const ColumnBlocks blocks(rows, cols);
            CAPTURE(rows, cols);
            Index columns = 0;
            for (Index b = 0; b < blocks.count(); ++b) {
                CHECK(blocks.first(b) == columns);
                columns += blocks.size(b);
                CHECK(blocks.size(b) <= blocks.width());
            }
            CHECK(columns == cols);
            CHECK(blocks.parts() <= 128);
            for (const bool falling : {false, true}) {
                std::vector<int> times(static_cast<std::size_t>(blocks.count()), 0);
                for (Index i = 0; i < blocks.count(); ++i) {
                    const Index b = blocks.in_order(i, falling);
                    REQUIRE((b >= 0 && b < blocks.count()));
                    ++times[static_cast<std::size_t>(b)];
                    if (i == 0) continue;
                    const Index last = blocks.in_order(i - 1, falling);
                    if (blocks.part_of(last) == blocks.part_of(b)) {
                        CHECK(b == last + 1);
                    } else {
                        CHECK(blocks.part_of(b) - blocks.part_of(last) == (falling ? -1 : 1));
                    }
                }
                CHECK(times == std::vector<int>(times.size(), 1));
            }
        }
    }
}

}  // namespace block_reader_test
