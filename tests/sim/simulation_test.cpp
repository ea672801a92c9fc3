#include "shoal/sim/simulation.h"

#include <gtest/gtest.h>

namespace shoal::sim {
namespace {

using namespace std::chrono_literals;

awaitable<void> note_after(Simulation& simulation, Duration delay, int name, std::vector<int>& order) {
    co_await simulation.clock().sleep_for(delay);
    order.push_back(name);
}

TEST(Simulation, JumpsFromOneTimerToTheNext) {
    Simulation simulation(1);
    std::vector<int> order;
    simulation.spawn(note_after(simulation, 3h, 3, order));
    simulation.spawn(note_after(simulation, 1h, 1, order));
    simulation.spawn(note_after(simulation, 2h, 2, order));
    simulation.run();
    EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
    EXPECT_EQ(simulation.clock().now().since_start, Duration(3h));
}

TEST(Simulation, WakesSleepersOfTheSameTimeInTheOrderInWhichTheyFellAsleep) {
    Simulation simulation(1);
    std::vector<int> order;
    for (int name = 0; name < 20; ++name) simulation.spawn(note_after(simulation, 1s, name, order));
    simulation.run();
    ASSERT_EQ(order.size(), 20u);
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(Simulation, RunsUntilATimeAndNoFurther) {
    Simulation simulation(1);
    std::vector<int> order;
    simulation.spawn(note_after(simulation, 2s, 2, order));
    simulation.run_for(1999ms);
    EXPECT_TRUE(order.empty());
    EXPECT_EQ(simulation.clock().now().since_start, Duration(1999ms));
    simulation.run_for(1ms);
    EXPECT_EQ(order.size(), 1u);
}

TEST(Simulation, RunsUntilAConditionHolds) {
    Simulation simulation(1);
    std::vector<int> order;
    simulation.spawn(note_after(simulation, 1s, 1, order));
    simulation.spawn(note_after(simulation, 2s, 2, order));
    EXPECT_TRUE(simulation.run_until([&] { return !order.empty(); }));
    EXPECT_EQ(simulation.clock().now().since_start, Duration(1s));
    EXPECT_FALSE(simulation.run_until([&] { return order.size() == 3; }));
}

awaitable<int> answer(Simulation& simulation) {
    co_await simulation.clock().sleep_for(1s);
    co_return 42;
}

TEST(Simulation, ReturnsWhatACoroutineReturns) {
    Simulation simulation(1);
    EXPECT_EQ(simulation.run(answer(simulation)), 42);
}

awaitable<void> wait_for_nothing(Simulation& simulation) {
    Signal never(simulation.executor());
    co_await never.wait();
}

TEST(Simulation, SaysWhenNothingIsLeftToHappen) {
    Simulation simulation(1);
    try {
        simulation.run(wait_for_nothing(simulation));
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::timed_out);
        EXPECT_NE(std::string(error.what()).find("nothing is left to happen"), std::string::npos);
    }
}

awaitable<void> fail_later(Simulation& simulation) {
    co_await simulation.clock().sleep_for(1s);
    throw Error(ErrorKind::corrupted, "on purpose");
}

TEST(Simulation, PassesOnTheFailureOfASpawnedCoroutine) {
    Simulation simulation(1);
    simulation.spawn(fail_later(simulation));
    EXPECT_THROW(simulation.run(), Error);
    EXPECT_NO_THROW(simulation.run());
}

awaitable<void> sleep_with_deadline(Simulation& simulation) {
    VirtualClock& clock = simulation.clock();
    co_await with_deadline(clock, clock.now() + 1s, clock.sleep_for(1h), "sleeping");
}

TEST(Simulation, CancelsASleepAndForgetsItsTimer) {
    Simulation simulation(1);
    EXPECT_THROW(simulation.run(sleep_with_deadline(simulation)), Error);
    EXPECT_EQ(simulation.clock().now().since_start, Duration(1s));
    EXPECT_TRUE(simulation.timeline()->empty());
}

awaitable<void> spin(Simulation& simulation, int rounds, int& count) {
    for (int i = 0; i < rounds; ++i) {
        co_await simulation.clock().sleep_until(TimePoint());
        ++count;
    }
}

TEST(Simulation, LetsOthersRunWhileSomebodySleepsUntilThePast) {
    Simulation simulation(1);
    int first = 0, second = 0;
    simulation.spawn(spin(simulation, 10, first));
    simulation.spawn(spin(simulation, 10, second));
    EXPECT_TRUE(simulation.run_until([&] { return first == 5; }));
    EXPECT_GE(second, 4);
}

TEST(VirtualClock, ShowsAWallTimeThatMayBeWrong) {
    Simulation simulation(1);
    VirtualClock& ahead = simulation.make_clock();
    ahead.set_skew(90s);
    simulation.run_for(10s);
    EXPECT_EQ(ahead.wall_now() - simulation.clock().wall_now(), 90s);
    EXPECT_EQ(ahead.now(), simulation.clock().now());
}

awaitable<void> note_on(VirtualClock& clock, Duration delay, int name, std::vector<int>& order) {
    co_await clock.sleep_for(delay);
    order.push_back(name);
}

TEST(VirtualClock, LetsAFrozenMachineOversleep) {
    Simulation simulation(1);
    VirtualClock& machine = simulation.make_clock();
    std::vector<int> order;
    simulation.spawn(note_on(machine, 2s, 2, order));
    simulation.spawn(note_on(machine, 1s, 1, order));
    simulation.spawn(note_on(machine, 10s, 10, order));
    machine.freeze();
    simulation.run_for(5s);
    EXPECT_TRUE(order.empty());
    machine.thaw();
    simulation.run_for(0s);
    EXPECT_EQ(order, (std::vector<int>{1, 2}));
    simulation.run();
    EXPECT_EQ(simulation.clock().now().since_start, Duration(10s));
}

TEST(Trace, DiffersWhenHistoriesDiffer) {
    Trace one, same, other;
    one.note({}, "sent", 1, 2, 3);
    same.note({}, "sent", 1, 2, 3);
    other.note({}, "sent", 1, 3, 2);
    EXPECT_EQ(one.hash(), same.hash());
    EXPECT_NE(one.hash(), other.hash());
}

}  // namespace
}  // namespace shoal::sim
