#include "otpool/gradient/differentiable_slot_pooling.hpp"
#include "otpool/gradient/implicit.hpp"
#include "otpool/pooling/pooling.hpp"
#include "otpool/slots/slot_pooling.hpp"
#include "otpool/solver/newton.hpp"
#include "support/catch.hpp"

// Poolings hand their regulariser's settings to the problem.

namespace limited_pooling_test {

using namespace otpool;

TEST_CASE("A pooling's problem has its regulariser's limit") {
    const Matrix<double> bag = Matrix<double>::Random(6, 9);
    Pooling<double, Newton, KSparse> pool{.regularizer = {.most = 4}};
    CHECK(pool.problem(Bag<double>{bag}).regularizer.most == 4);
    pool.parameters.features.alpha = 1;
    pool.parameters.instances.alpha = hard;
    const Matrix<double> plan = pool.solve(Bag<double>{bag}).plan();
    for (Index n = 0; n < 9; ++n) CHECK((plan.col(n).array() > 0).count() <= 4);

    const DifferentiableSlotPooling<double, GivenReward, Implicit<Newton>, ConditionalSlots, NoDummySlot, KSparse>
        slots{.regularizer = {.most = 3}};
    CHECK(slots.without_tapes().problem({.instances = bag, .reward = bag}).regularizer.most == 3);
}

}  // namespace limited_pooling_test
