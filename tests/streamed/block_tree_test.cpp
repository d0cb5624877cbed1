#include "otpool/streamed/passes/block_tree.hpp"

#include <algorithm>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "support/catch.hpp"

using otpool::Index;
using otpool::detail::BlockTree;
using otpool::detail::ColumnBlocks;

namespace block_tree_test {

/// Sums as text, which says what was added to what.
void join(std::string& sum, const std::string& next) { sum = "(" + sum + next + ")"; }

/// What the tree makes of blocks a, b, c, ... by its definition: the left part has the largest power of two of them.
std::string expected_sum(Index first, Index count) {
    if (count == 1) return {static_cast<char>('a' + first)};
    Index left = 1;
    while (2 * left < count) left *= 2;
    return "(" + expected_sum(first, left) + expected_sum(first + left, count - left) + ")";
}

TEST_CASE("A tree of blocks adds them pair by pair, in whichever order they come") {
    constexpr Index width = 4;
    std::mt19937 random(1);
    for (Index count = 1; count <= 26; ++count) {
        const ColumnBlocks blocks((1 << 17) / width, count * width - 3);
        REQUIRE(blocks.count() == count);
        std::vector<Index> order(static_cast<std::size_t>(count));
        std::iota(order.begin(), order.end(), Index{0});
        for (int round = 0; round < 20; ++round) {
            BlockTree<std::string> tree(blocks);
            for (const Index b : order) {
                std::string sum(1, static_cast<char>('a' + b));
                tree.add(0, b, blocks.size(b), sum, join);
            }
            REQUIRE(tree.nodes().size() == 1);
            CHECK(tree.nodes()[0].sums == expected_sum(0, count));
            std::shuffle(order.begin(), order.end(), random);
        }
    }
}

TEST_CASE("Sums of some blocks each, from several trees, make the same tree") {
    constexpr Index width = 4;
    std::mt19937 random(2);
    for (Index count = 1; count <= 26; ++count) {
        const Index cols = count * width - 1;
        const ColumnBlocks all((1 << 17) / width, cols);
        for (int round = 0; round < 50; ++round) {
            std::vector<Index> borders = {0, cols};
            for (int i = 0; i < 3; ++i) borders.push_back(static_cast<Index>(random()) % (count + 1) * width);
            for (Index& border : borders) border = std::clamp(border, Index{0}, cols);
            std::sort(borders.begin(), borders.end());
            BlockTree<std::string> total(all);
            for (std::size_t i = 0; i + 1 < borders.size(); ++i) {
                const ColumnBlocks blocks((1 << 17) / width, cols, borders[i], borders[i + 1]);
                BlockTree<std::string> part(blocks);
                for (Index b = 0; b < blocks.count(); ++b) {
                    std::string sum(1, static_cast<char>('a' + blocks.number(b)));
                    part.add(0, blocks.number(b), blocks.size(b), sum, join);
                }
                CHECK(std::ssize(part.nodes()) == BlockTree<std::string>::nodes_left(blocks));
                for (auto& node : part.nodes()) total.add(node.level, node.place, node.columns, node.sums, join);
            }
            REQUIRE(total.nodes().size() == 1);
            CHECK(total.nodes()[0].sums == expected_sum(0, count));
        }
    }
}

TEST_CASE("The sums that a tree keeps are as few as it says, also where blocks are cut") {
    std::mt19937 random(3);
    const auto sum = [](double& a, double b) { a += b; };
    for (int round = 0; round < 300; ++round) {
        const Index cols = 1 + static_cast<Index>(random()) % 3000;
        Index begin = static_cast<Index>(random()) % (cols + 1);
        Index end = static_cast<Index>(random()) % (cols + 1);
        if (begin > end) std::swap(begin, end);
        const ColumnBlocks blocks((1 << 17) / 3, cols, begin, end);
        CAPTURE(cols, begin, end);
        for (const bool falling : {false, true}) {
            BlockTree<double> tree(blocks);
            Index most = 0;
            for (Index i = 0; i < blocks.count(); ++i) {
                const Index b = blocks.in_order(i, falling);
                auto columns = static_cast<double>(blocks.size(b));
                tree.add(0, blocks.number(b), blocks.size(b), columns, sum);
                most = std::max<Index>(most, std::ssize(tree.nodes()));
            }
            CHECK(std::ssize(tree.nodes()) == BlockTree<double>::nodes_left(blocks));
            CHECK(most < BlockTree<double>::most_nodes(blocks));
            double total = 0;
            for (const auto& node : tree.nodes()) {
                CHECK(node.sums == static_cast<double>(node.columns));
                total += node.sums;
            }
            CHECK(total == static_cast<double>(end - begin));
        }
    }
}

}  // namespace block_tree_test
