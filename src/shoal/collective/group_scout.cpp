#include "shoal/collective/group_scout.h"

#include <utility>

#include "shoal/base/error.h"
#include "shoal/collective/group_partition.h"
#include "shoal/collective/step_group.h"

namespace shoal::collective {

using namespace std::chrono_literals;

namespace {

constexpr Duration kAtStart = 500ms;  // between readings, until this peer trains
constexpr Duration kInPeace = 10s;    // ... while all goes well
constexpr std::int64_t kFar = 4;      // steps ahead, from which on a peer asks itself why it is alone
constexpr Duration kInTrouble = 1s;   // ... while it is alone

}  // namespace

GroupScout::GroupScout(net::Network& network, dht::Directory& directory, Clock& clock,
                       ProgressSettings settings, Log log)
    : clock_(clock),
      settings_(std::move(settings)),
      self_(network.self()),
      log_(std::move(log)),
      census_(directory, clock, network.self(), settings_.run, log_),
      asks_(network.executor()) {}

void GroupScout::ask() {
    is_asking_ = true;
    asks_.notify();
}

awaitable<void> GroupScout::until_asked() {
    while (!is_asking_) co_await asks_.wait();
}

awaitable<void> GroupScout::run(Questions questions) {
    for (;;) {
        is_asking_ = false;
        try {
            co_await census_.read(questions.place().swarm_size);
            questions.looked();
            co_await look_elsewhere(questions);
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::cancelled) throw;
            log_.debug(std::string("the census could not be read: ") + error.what());
        }
        const Duration pause = questions.place().trains ? kInTrouble : kAtStart;
        co_await clock_.sleep_for(pause);
        if (!questions.place().trains) continue;
        awaitable<void> asked = until_asked();
        co_await detail::ends_in_time(clock_, clock_.now() + kInPeace, std::move(asked));
    }
}

awaitable<void> GroupScout::look_elsewhere(const Questions& questions) {
    const Place place = questions.place();
    elsewhere_.reset();
    if (!place.trains) co_return;
    const Step step = census_.step(questions.doubted);
    const bool is_alone = place.company == 0;
    const bool is_ahead = is_alone ? step > place.step : step > next(place.step);
    const bool is_far_behind = value(step) + kFar < value(place.step) && is_alone && place.long_alone;
    if (!is_ahead && !is_far_behind) co_return;
    const std::uint32_t groups = place.groups, index = group_of(self_, step, groups);
    std::function<bool(const PeerId&)> counts = [doubted = questions.doubted, step, groups,
                                                 index](const PeerId& peer) {
        return group_of(peer, step, groups) == index && !doubted(peer);
    };
    std::string key = group_key(settings_.run, step, index);
    const std::size_t seen = co_await census_.count_in_group(std::move(key), step, std::move(counts));
    const Place now = questions.place();
    if (now.step != place.step || seen <= now.company) co_return;
    from_ = place.step;
    elsewhere_ = step;
    questions.looked();
}

}  // namespace shoal::collective
