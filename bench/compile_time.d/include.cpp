// The bare include.
#include <otpool/otpool.hpp>

int main() {}
