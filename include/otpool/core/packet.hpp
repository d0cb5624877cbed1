// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include <Eigen/Core>

#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

// Products of a matrix and a vector, on Eigen's packets: the vector registers of whatever machine it is compiled for.
// Matrices are column-major with a number of rows, `lanes`, that is a multiple of register_lanes. Eigen's own products do
// the same, and take longer to compile than all the rest of the library.

template <BagScalar Scalar>
using Packet = typename Eigen::internal::packet_traits<Scalar>::type;

template <BagScalar Scalar>
inline constexpr Index packet_size = Eigen::internal::unpacket_traits<Packet<Scalar>>::size;

/// A multiple of every packet's size.
inline constexpr Index register_lanes = 16;

/// The smallest multiple of register_lanes that holds `size` numbers.
inline Index padded(Index size) { return (size + register_lanes - 1) / register_lanes * register_lanes; }

/// visit(i) of the constants 0 to count - 1: registers that they index stay registers where loops are not unrolled.
template <int count, class Visit>
void for_each_constant(const Visit& visit) {
    [&]<int... i>(std::integer_sequence<int, i...>) { (visit(std::integral_constant<int, i>()), ...); }
    (std::make_integer_sequence<int, count>());
}

// NOLINTBEGIN(modernize-avoid-c-arrays): std::array drops the alignment of P, with a warning

/// sums_i = sum_l M_li weight_l
template <BagScalar Scalar>
void multiply_transposed(const Scalar* M, Index lanes, Index items, const Scalar* weight, Scalar* sums) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
    using P = Packet<Scalar>;
    const auto dot = [&]<int count>(std::integral_constant<int, count>, Index first) {
        P sum[count];
        for_each_constant<count>([&](auto c) { sum[c] = pset1<P>(Scalar(0)); });
        for (Index l = 0; l < lanes; l += packet_size<Scalar>) {
            const P w = ploadu<P>(weight + l);
            for_each_constant<count>(
                [&](auto c) { sum[c] = pmadd(ploadu<P>(M + (first + c) * lanes + l), w, sum[c]); });
        }
        for_each_constant<count>([&](auto c) { sums[first + c] = predux(sum[c]); });
    };
    Index first = 0;
    for (; first + 4 <= items; first += 4) dot(std::integral_constant<int, 4>(), first);
    for (; first < items; ++first) dot(std::integral_constant<int, 1>(), first);
}

/// sums_l = sum_i M_li weight_i
template <BagScalar Scalar>
void multiply(const Scalar* M, Index lanes, Index items, const Scalar* weight, Scalar* sums) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
    using P = Packet<Scalar>;
    // Eight sums at a time, of several items where there are fewer registers to an item: each waits for its last addition.
    const auto add = [&]<int count>(std::integral_constant<int, count>, Index first) {
        constexpr int together = 8 / count;
        P sum[together * count];
        for_each_constant<together * count>([&](auto s) { sum[s] = pset1<P>(Scalar(0)); });
        const auto add_item = [&](Index item, auto t) {
            const P w = pset1<P>(weight[item]);
            const Scalar* lane = M + item * lanes + first;
            for_each_constant<count>([&](auto c) {
                P& of_lanes = sum[t * count + c];
                of_lanes = pmadd(ploadu<P>(lane + c * packet_size<Scalar>), w, of_lanes);
            });
        };
        Index i = 0;
        for (; i + together <= items; i += together) for_each_constant<together>([&](auto t) { add_item(i + t, t); });
        for (; i < items; ++i) add_item(i, std::integral_constant<int, 0>());
        for_each_constant<count>([&](auto c) {
            for_each_constant<together - 1>([&](auto t) { sum[c] = padd(sum[c], sum[(t + 1) * count + c]); });
            pstoreu(sums + first + c * packet_size<Scalar>, sum[c]);
        });
    };
    Index first = 0;
    constexpr Index four = 4 * packet_size<Scalar>;
    for (; first + four <= lanes; first += four) add(std::integral_constant<int, 4>(), first);
    for (; first < lanes; first += packet_size<Scalar>) add(std::integral_constant<int, 1>(), first);
}

// NOLINTEND(modernize-avoid-c-arrays)

/// to_i = matrix(row, cols[i]), of rising cols; fastest where they are consecutive.
template <BagScalar Scalar>
void copy_row(const MatrixView<Scalar>& matrix, Index row, const Index* cols, Index count, Scalar* to) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
    using P = Packet<Scalar>;
    Index i = 0;
    if (count > 0 && are_consecutive(cols, cols + count)) {
        const auto all = matrix.matrix();
        const Index stride = all.outerStride();
        const Scalar* from = all.data() + row * all.innerStride() + cols[0] * stride;
        for (; i + packet_size<Scalar> <= count; i += packet_size<Scalar>) {
            pstoreu(to + i, pgather<Scalar, P>(from + i * stride, stride));
        }
    }
    for (; i < count; ++i) to[i] = matrix(row, cols[i]);
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"  // those of P, as a template's argument; Eigen knows them
#endif
/// to[row * count + c] = columns[c][row] - anchor[row], of so many rows; rows and the number of columns, `count`, are multiples of
/// packet_size.
template <BagScalar Scalar, std::size_t count>
void transpose_differences(const std::array<const Scalar*, count>& columns, const Scalar* anchor, Index rows,
                           Scalar* to) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
    using P = Packet<Scalar>;
    constexpr auto size = packet_size<Scalar>;
    for (Index row = 0; row < rows; row += size) {
        const P of_rows = ploadu<P>(anchor + row);
        for (std::size_t first = 0; first < count; first += size) {
            PacketBlock<P, size> block;
            for (std::size_t c = 0; c < size; ++c) block.packet[c] = psub(ploadu<P>(columns[first + c] + row), of_rows);
            ptranspose(block);
            for (std::size_t r = 0; r < size; ++r) {
                pstoreu(to + (static_cast<std::size_t>(row) + r) * count + first, block.packet[r]);
            }
        }
    }
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

}  // namespace otpool::detail
