// Simulated peers that serve a state, and one that downloads it.
#pragma once

#include <gtest/gtest.h>

#include "shoal/collective/state_messages.h"
#include "shoal/collective/state_transfer.h"
#include "shoal/sim/world.h"

namespace shoal::collective {

using namespace std::chrono_literals;

inline constexpr std::size_t kElements = 40'000;  // in the larger section; about 160 KB

inline std::shared_ptr<State> some_state(std::int64_t step, float salt = 0,
                                         std::size_t elements = kElements) {
    auto state = std::make_shared<State>();
    state->step = static_cast<Step>(step);
    Random random(static_cast<std::uint64_t>(step));
    for (const auto& [name, size] :
         {std::pair{"parameters", elements}, {"optimizer/momentum", 777UL}, {"empty", 0UL}}) {
        StateSection section;
        section.name = name;
        for (std::size_t i = 0; i < size; ++i)
            section.values.push_back(static_cast<float>(random.normal()) + salt);
        state->sections.push_back(std::move(section));
    }
    return state;
}

inline awaitable<StatePointer> give(std::shared_ptr<StatePointer> held, std::shared_ptr<int> copies,
                                    Clock& clock, Duration takes) {
    ++*copies;
    co_await clock.sleep_for(takes);
    co_return *held;
}

/// Has nothing that it would pass on, for now.
inline awaitable<StatePointer> give_later() {
    throw Error(ErrorKind::timed_out, "its state is an old one");
    co_return nullptr;
}

/// A peer that serves a state.
struct Donor {
    sim::Peer peer;
    std::shared_ptr<StatePointer> held;
    std::shared_ptr<int> copies = std::make_shared<int>(0);
    std::shared_ptr<StateDonor> donor;
};

class TransferWorld {
  protected:
    explicit TransferWorld(std::uint64_t seed) : world_(seed) {}

    StateTransferSettings settings() const {
        StateTransferSettings s;
        s.run = "test";
        s.chunk_bytes = chunk_bytes_;
        return s;
    }

    Donor add_donor(StatePointer state, Duration copy_time = 10ms, sim::HostSettings host = {}) {
        Donor donor{world_.add_peer(host), std::make_shared<StatePointer>(std::move(state)),
                    std::make_shared<int>(0), nullptr};
        StateProvider provide = [held = donor.held, copies = donor.copies, clock = donor.peer.clock,
                                 copy_time] { return give(held, copies, *clock, copy_time); };
        StepTeller own_step = [held = donor.held] { return *held ? (*held)->step : Step{7}; };
        donor.donor = make_state_donor(*donor.peer.network, *donor.peer.clock, settings(), std::move(provide),
                                       std::move(own_step), Log());
        return donor;
    }

    awaitable<StatePointer> downloading(const sim::Peer& who, std::vector<PeerId> from, std::int64_t minimum,
                                        DownloadReport& report) {
        return download_state(*who.network, *who.clock, settings(), std::move(from),
                              static_cast<Step>(minimum), {}, report, Log());
    }
    StatePointer download(const sim::Peer& who, std::vector<PeerId> from, std::int64_t minimum = 7) {
        return world_.simulation().run(downloading(who, std::move(from), minimum, report_), 30min);
    }
    Error failure(const sim::Peer& who, std::vector<PeerId> from, std::int64_t minimum = 7) {
        try {
            download(who, std::move(from), minimum);
        } catch (const Error& error) {
            return error;
        }
        ADD_FAILURE() << "the download should have failed";
        return Error(ErrorKind::cancelled, "did not fail");
    }
    double now() { return seconds(world_.simulation().clock().now().since_start); }

    static void expect_same(const StatePointer& got, const StatePointer& want) {
        ASSERT_TRUE(got);
        EXPECT_EQ(got->step, want->step);
        ASSERT_EQ(got->sections.size(), want->sections.size());
        for (std::size_t i = 0; i < want->sections.size(); ++i) {
            EXPECT_EQ(got->sections[i].name, want->sections[i].name);
            EXPECT_EQ(got->sections[i].values, want->sections[i].values);
        }
    }

    sim::World world_;
    std::size_t chunk_bytes_ = 4096;
    DownloadReport report_;
};

}  // namespace shoal::collective
