// Copyright (c) 2026 the otpool authors. MIT licence.
#pragma once

#include "otpool/core/compiler.hpp"  // before Eigen

#include <Eigen/Core>

#include <algorithm>
#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "otpool/core/matrix.hpp"

namespace otpool::detail {

// Products of a matrix and a vector on Eigen's packets, the vector registers of the machine. Matrices are column-major
// with `lanes` rows, a multiple of register_lanes. Eigen's own products do the same, but take longer to compile than
// the rest of the library.

template <BagScalar Scalar>
using Packet = typename Eigen::internal::packet_traits<Scalar>::type;

template <BagScalar Scalar>
inline constexpr Index packet_size = Eigen::internal::unpacket_traits<Packet<Scalar>>::size;

#if defined(__ELF__)
/// Makes linkers refuse files that are compiled for registers of different sizes, for instance only one of them with
/// -march=native: memory from one file's version of an inline function, ours or Eigen's, would be freed by another's.
/// A symbol can have only one value. Linkers print its name.
[[gnu::used]] inline void mark_register_size() {
    asm(".globl otpool_needs_the_same_vector_flags_in_every_file\n"
        ".hidden otpool_needs_the_same_vector_flags_in_every_file\n"
        ".set otpool_needs_the_same_vector_flags_in_every_file, %c0"
        :
        : "i"(EIGEN_MAX_ALIGN_BYTES + packet_size<float>));  // small, as some machines want it
}
#endif

/// A multiple of every packet size.
inline constexpr Index register_lanes = 16;

/// The smallest multiple of register_lanes that holds `size` numbers.
inline Index padded(Index size) { return (size + register_lanes - 1) / register_lanes * register_lanes; }

/// Calls visit(i) with the constants 0 to count - 1: arrays indexed by them stay in registers without loop unrolling.
template <int count, class Visit>
void for_each_constant(const Visit& visit) {
    [&]<int... i>(std::integer_sequence<int, i...>) { (visit(std::integral_constant<int, i>()), ...); }
    (std::make_integer_sequence<int, count>());
}

/// Whether sums replace the numbers in memory or are added to them.
enum class Assign { set, add };

// NOLINTBEGIN(modernize-avoid-c-arrays): std::array drops the alignment of P, with a warning

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"  // P loses its attributes as a template argument, as in Eigen
#endif
/// Adds a register's halves, then theirs, down to four numbers; or leaves it, if this Eigen has neither name for it.
template <class P>
auto add_halves(const P& sum) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
    if constexpr (unpacket_traits<P>::size <= 4) {
        return sum;
    } else if constexpr (requires { predux_half_dowto4(sum); }) {
        return add_halves(predux_half_dowto4(sum));
    } else if constexpr (requires { predux_half(sum); }) {
        return add_halves(predux_half(sum));
    } else {
        return sum;
    }
}

/// Stores a register of sums.
template <Assign assign, class P, class Scalar>
EIGEN_ALWAYS_INLINE void store(const P& sums, Scalar* to) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
    pstoreu(to, assign == Assign::add ? padd(ploadu<P>(to), sums) : sums);
}

/// Stores the sums of four registers, with fewer instructions than one by one.
template <Assign assign, class P, class Scalar>
EIGEN_ALWAYS_INLINE void store_sums(P a, P b, P c, P d, Scalar* to) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
    using Part = decltype(add_halves(a));
    if constexpr (unpacket_traits<Part>::size == 4) {
        PacketBlock<Part, 4> parts = {{add_halves(a), add_halves(b), add_halves(c), add_halves(d)}};
        ptranspose(parts);
        store<assign>(padd(padd(parts.packet[0], parts.packet[1]), padd(parts.packet[2], parts.packet[3])), to);
    } else {
        store<assign>(predux(a), to);
        store<assign>(predux(b), to + 1);
        store<assign>(predux(c), to + 2);
        store<assign>(predux(d), to + 3);
    }
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

/// Weights as they are.
struct AsIs {
    template <class P>
    P operator()(const P& weights, Index, Index) const {
        return weights;
    }
};

/// Weights times (values[item][lane] - reference), with one reference per item or per lane.
template <BagScalar Scalar, bool of_items>
struct TimesExcess {
    const Scalar* const* values;
    const Scalar* reference;

    EIGEN_ALWAYS_INLINE Packet<Scalar> operator()(const Packet<Scalar>& weights, Index lane, Index item) const {
        using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
        using P = Packet<Scalar>;
        const P from = of_items ? pset1<P>(reference[item]) : ploadu<P>(reference + lane);
        return pmul(weights, psub(ploadu<P>(values[item] + lane), from));
    }
};

/// multiply_transposed() for `count` items from `first`.
template <int count, Assign assign, BagScalar Scalar, class Weigh>
EIGEN_ALWAYS_INLINE void sum_over_lanes(const Scalar* M, Index lanes, Index first, const Scalar* weight, Scalar* sums,
                                        const Weigh& weigh) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
    using P = Packet<Scalar>;
    P sum[std::size_t{count}];
    for_each_constant<count>([&](auto c) { sum[c] = pset1<P>(Scalar(0)); });
    for (Index l = 0; l < lanes; l += packet_size<Scalar>) {
        const P w = ploadu<P>(weight + l);
        for_each_constant<count>(
            [&](auto c) { sum[c] = pmadd(ploadu<P>(M + (first + c) * lanes + l), weigh(w, l, first + c), sum[c]); });
    }
    if constexpr (count == 1) {
        store<assign>(predux(sum[0]), sums + first);
    } else {
        store_sums<assign>(sum[0], sum[1], sum[2], sum[3], sums + first);
        if constexpr (count == 8) store_sums<assign>(sum[4], sum[5], sum[6], sum[7], sums + first + 4);
    }
}

/// sums_i = sum_l M_li weigh(weight_l, l, i). weigh() takes a register of weights, whose first lane is l.
template <BagScalar Scalar, Assign assign = Assign::set, class Weigh = AsIs>
void multiply_transposed(const Scalar* M, Index lanes, Index items, const Scalar* weight, Scalar* sums,
                         const Weigh& weigh = {}) {
    Index first = 0;
    for (; first + 8 <= items; first += 8) sum_over_lanes<8, assign>(M, lanes, first, weight, sums, weigh);
    for (; first + 4 <= items; first += 4) sum_over_lanes<4, assign>(M, lanes, first, weight, sums, weigh);
    for (; first < items; ++first) sum_over_lanes<1, assign>(M, lanes, first, weight, sums, weigh);
}

/// multiply() for `count` registers from lane `first`.
template <int count, Assign assign, BagScalar Scalar, class Weigh>
EIGEN_ALWAYS_INLINE void sum_over_items(const Scalar* M, Index lanes, Index items, Index first, const Scalar* weight,
                                        Scalar* sums, const Weigh& weigh) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
    using P = Packet<Scalar>;
    // Eight sums at a time, from several items if needed, as each addition waits for the one before.
    constexpr int together = 8 / count;
    P sum[std::size_t{together * count}];
    for_each_constant<together * count>([&](auto s) { sum[s] = pset1<P>(Scalar(0)); });
    const auto add_item = [&](Index item, auto t) {
        const P w = pset1<P>(weight[item]);
        const Scalar* lane = M + item * lanes + first;
        for_each_constant<count>([&](auto c) {
            P& of_lanes = sum[t * count + c];
            constexpr Index offset = c * packet_size<Scalar>;
            of_lanes = pmadd(ploadu<P>(lane + offset), weigh(w, first + offset, item), of_lanes);
        });
    };
    Index i = 0;
    for (; i + together <= items; i += together) for_each_constant<together>([&](auto t) { add_item(i + t, t); });
    for (; i < items; ++i) add_item(i, std::integral_constant<int, 0>());
    for_each_constant<count>([&](auto c) {
        for_each_constant<together - 1>([&](auto t) { sum[c] = padd(sum[c], sum[(t + 1) * count + c]); });
        store<assign>(sum[c], sums + first + c * packet_size<Scalar>);
    });
}

/// Likewise sums_l = sum_i M_li weigh(weight_i, l, i).
template <BagScalar Scalar, Assign assign = Assign::set, class Weigh = AsIs>
void multiply(const Scalar* M, Index lanes, Index items, const Scalar* weight, Scalar* sums, const Weigh& weigh = {}) {
    Index first = 0;
    constexpr Index four = 4 * packet_size<Scalar>;
    for (; first + four <= lanes; first += four) sum_over_items<4, assign>(M, lanes, items, first, weight, sums, weigh);
    for (; first < lanes; first += packet_size<Scalar>)
        sum_over_items<1, assign>(M, lanes, items, first, weight, sums, weigh);
}

// NOLINTEND(modernize-avoid-c-arrays)

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wignored-attributes"  // P loses its attributes as a template argument, as in Eigen
#endif
/// to[row * stride + c] = columns[c][row] - anchor[row] for all rows. Columns and anchor are padded to whole registers;
/// `count` is a multiple of packet_size.
template <BagScalar Scalar, std::size_t count>
void transpose_differences(const std::array<const Scalar*, count>& columns, const Scalar* anchor, Index rows,
                           Scalar* to, Index stride) {
    using namespace Eigen::internal;  // NOLINT(google-build-using-namespace)
    using P = Packet<Scalar>;
    constexpr Index size = packet_size<Scalar>;
    for (Index row = 0; row < rows; row += size) {
        const P of_rows = ploadu<P>(anchor + row);
        const Index stored = (std::min)(size, rows - row);
        for (Index first = 0; first < static_cast<Index>(count); first += size) {
            PacketBlock<P, size> block;
            for (Index c = 0; c < size; ++c) {
                block.packet[c] = psub(ploadu<P>(columns[static_cast<std::size_t>(first + c)] + row), of_rows);
            }
            ptranspose(block);
            for (Index r = 0; r < stored; ++r) pstoreu(to + (row + r) * stride + first, block.packet[r]);
        }
    }
}
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

}  // namespace otpool::detail
