#include "otpool/simd/packet.hpp"

otpool::Index padded_elsewhere(otpool::Index size);

int main() { return padded_elsewhere(3) == otpool::detail::padded(3) ? 0 : 1; }
