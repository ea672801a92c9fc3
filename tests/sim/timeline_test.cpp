#include "shoal/sim/timeline.h"

#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <vector>

#include "shoal/base/random.h"

namespace shoal::sim {
namespace {

using namespace std::chrono_literals;

TEST(Timeline, FiresInTheOrderOfTimeAndThenOfInsertionWhateverIsCancelledOrAddedMeanwhile) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        Random random(seed);
        Timeline timeline;
        std::map<std::pair<TimePoint, int>, Timeline::EventId> expected;  // by time and order of insertion
        std::vector<int> fired;
        int inserted = 0;
        const auto insert = [&] {
            // From now on to some buckets away, and often at the same time as another.
            const Duration delay =
                random.below(4) == 0 ? Duration(random.below(5) * 1s) : Duration(random.below(4) * 3ms);
            const int number = inserted++;
            const TimePoint when = timeline.now() + delay;
            expected[{when, number}] = timeline.at(when, [&fired, number] { fired.push_back(number); });
        };
        for (int i = 0; i < 2000; ++i) {
            if (expected.empty() || random.below(5) < 2) {
                insert();
            } else if (random.below(3) == 0) {
                auto any = expected.begin();
                std::advance(any, static_cast<std::ptrdiff_t>(random.below(expected.size())));
                timeline.cancel(any->second);
                timeline.cancel(any->second);  // nothing more happens
                expected.erase(any);
            } else {
                const auto [when, number] = expected.begin()->first;
                const Timeline::EventId id = expected.begin()->second;
                ASSERT_EQ(timeline.next(), when);
                timeline.fire_next();
                ASSERT_EQ(fired.back(), number);
                ASSERT_EQ(timeline.now(), when);
                timeline.cancel(id);  // it has fired
                expected.erase(expected.begin());
            }
            ASSERT_EQ(timeline.empty(), expected.empty());
        }
    }
}

TEST(Timeline, HasNothingNextWhenAllIsCancelled) {
    Timeline timeline;
    const auto soon = timeline.after(1ms, [] {});
    const auto later = timeline.after(1h, [] {});
    timeline.cancel(soon);
    EXPECT_EQ(timeline.next(), TimePoint{1h});
    timeline.cancel(later);
    EXPECT_TRUE(timeline.empty());
    EXPECT_EQ(timeline.next(), TimePoint::never());
}

TEST(Timeline, AnActionMayInsertAndCancelOthers) {
    Timeline timeline;
    int fired = 0;
    const auto other = timeline.after(2ms, [&] { fired += 100; });
    timeline.after(1ms, [&] {
        timeline.cancel(other);
        timeline.after(0ms, [&] { ++fired; });
        timeline.at(TimePoint{}, [&] { ++fired; });  // which is past: next
    });
    while (!timeline.empty()) timeline.fire_next();
    EXPECT_EQ(fired, 2);
    EXPECT_EQ(timeline.now(), TimePoint{1ms});
}

/// Cancels one event and inserts another when it is destroyed.
struct Meddler {
    Timeline* timeline;
    Timeline::EventId other;
    Meddler(Timeline& of, const Timeline::EventId& id) : timeline(&of), other(id) {}
    Meddler(const Meddler&) = delete;
    Meddler& operator=(const Meddler&) = delete;
    ~Meddler() {
        timeline->cancel(other);
        timeline->after(1ms, [] {});
    }
};

TEST(Timeline, ForgetsEverythingAlsoWhatIsInsertedMeanwhile) {
    Timeline timeline;
    const auto other = timeline.after(1h, [] {});
    timeline.after(1s, [meddler = std::make_shared<Meddler>(timeline, other)] {});
    timeline.clear();
    EXPECT_TRUE(timeline.empty());
    EXPECT_EQ(timeline.next(), TimePoint::never());
}

}  // namespace
}  // namespace shoal::sim
