#include "otpool/streamed/column_blocks.hpp"

#include <vector>

#include "support/catch.hpp"

using otpool::Index;
using otpool::detail::ColumnBlocks;

namespace column_blocks_test {

TEST_CASE("A pass takes every block once, in runs that rise") {
    for (const Index rows : {1, 1000, 1 << 18}) {
        for (const Index cols : {1, 130, 131, 700, 34000}) {
            for (const Index cut : {0, 1, 3}) {  // what other processes have on both sides
                const ColumnBlocks blocks(rows, cols, cols * cut / 11, cols - cols * cut / 7);
                CAPTURE(rows, cols, cut);
                Index columns = 0;
                for (Index b = 0; b < blocks.count(); ++b) {
                    CHECK(blocks.first(b) == columns);
                    columns += blocks.size(b);
                    CHECK(blocks.size(b) >= 1);
                    CHECK(blocks.size(b) <= blocks.width());
                    CHECK((cols * cut / 11 + blocks.first(b)) / blocks.width() == blocks.number(b));
                }
                CHECK(columns == cols - cols * cut / 7 - cols * cut / 11);
                for (const bool falling : {false, true}) {
                    std::vector<int> times(static_cast<std::size_t>(blocks.count()), 0);
                    Index runs = 1;
                    for (Index i = 0; i < blocks.count(); ++i) {
                        const Index b = blocks.in_order(i, falling);
                        REQUIRE((b >= 0 && b < blocks.count()));
                        ++times[static_cast<std::size_t>(b)];
                        if (i > 0 && b != blocks.in_order(i - 1, falling) + 1) {
                            CHECK(b < blocks.in_order(i - 1, falling));
                            ++runs;
                        }
                    }
                    CHECK(times == std::vector<int>(times.size(), 1));
                    CHECK(runs <= (falling ? (blocks.count() + 31) / 32 : 1));
                }
            }
        }
    }
}

}  // namespace column_blocks_test
