// Exchanges in the simulated network: what is lost, late or wrong ends the run everywhere, and is named.
#include "variational/exchange_harness.h"

#include <deque>
#include <gtest/gtest.h>

#include "shoal/net/rpc.h"
#include "shoal/proto/variational.pb.h"
#include "shoal/sim/simulated_network.h"

namespace shoal::variational {
namespace {

using namespace std::chrono_literals;
using Header = proto::ExchangeHeader;

PeerId id_of(std::size_t number) {
    return KeyPair::from_seed(Bytes(32, static_cast<std::uint8_t>(number + 1))).peer_id();
}

class Swarm {
  public:
    explicit Swarm(std::size_t size = 4)
        : simulation_(1), internet_(simulation_), outcomes_(size), tasks_(simulation_.executor()) {
        for (std::size_t i = 0; i < size; ++i) {
            peers_.devices.push_back(id_of(i));
            networks_.push_back(internet_.join(id_of(i)));
        }
    }

    /// Who crashed or froze has a coroutine that still waits.
    ~Swarm() {
        tasks_.cancel();
        simulation_.run_until([this] { return tasks_.running() == 0; }, 60s);
    }

    sim::Simulation& simulation() { return simulation_; }
    sim::SimulatedInternet& internet() { return internet_; }
    net::Network& network(std::size_t i) { return *networks_[i]; }
    PeerExchangeSettings& peers() { return peers_; }
    PeerOutcome& outcome(std::size_t i) { return outcomes_[i]; }
    std::string failure(std::size_t i) {
        EXPECT_TRUE(outcomes_[i].failure) << "peer " << i << " did not fail";
        return outcomes_[i].failure ? describe(outcomes_[i].failure) : "";
    }

    void start(std::size_t i, const Problem& problem, const MethodSettings& settings, const StopRule& rule,
               const std::string& task = "test") {
        tasks_.spawn(take_part(network(i), internet_.clock(id_of(i)), peers_, problem, settings, rule, task,
                               outcomes_[i]));
    }
    void spawn(awaitable<void> task) { tasks_.spawn(std::move(task)); }
    bool has_ended(std::size_t i) const { return outcomes_[i].failure || outcomes_[i].trajectory; }

  private:
    sim::Simulation simulation_;
    sim::SimulatedInternet internet_;
    PeerExchangeSettings peers_;
    std::deque<PeerOutcome> outcomes_;
    std::vector<std::shared_ptr<net::Network>> networks_;
    TaskGroup tasks_;
};

StopRule iterations(std::uint64_t count) {
    StopRule rule;
    rule.iterations = count;
    return rule;
}

bool mentions(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

TEST(PeerExchange, peers_go_the_way_of_the_twin_with_every_method) {
    const QuadraticGame problem = small_game();
    for (const std::string_view name : method_names()) {
        SCOPED_TRACE(name);
        const bool biased = name == "masha2" || name == "error_feedback";
        MethodSettings settings = settings_of(std::string(name), biased ? "top_k:0.3" : "rand_k:0.3", 0.01);
        settings.server_codec = biased ? "top_k:0.5" : "rand_k:0.5";
        settings.batch = 2;
        settings.participants = 3;
        const Trajectory twin = run_in_process(problem, settings, iterations(30),
                                               distance_to(*problem.solution(), problem.start()));
        Swarm swarm;
        for (std::size_t i = 0; i < 4; ++i) swarm.start(i, problem, settings, iterations(30));
        swarm.simulation().run();
        for (std::size_t i = 0; i < 4; ++i) {
            ASSERT_FALSE(swarm.outcome(i).failure) << swarm.failure(i);
            expect_same_way(*swarm.outcome(i).trajectory, twin);
        }
    }
}

TEST(PeerExchange, counts_what_went_to_others) {
    const QuadraticGame problem = small_game();  // 16 coordinates: 4 shares of 4
    Swarm swarm;
    for (std::size_t i = 0; i < 4; ++i)
        swarm.start(i, problem, settings_of("extragradient", kExact, 0.01), iterations(10), "task");
    swarm.simulation().run();
    // A part of 4 doubles to each of three others, and an answer; and the task's text.
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(swarm.outcome(i).payload_sent, 20u * 3 * 2 * 32 + 3 * 4);
}

TEST(PeerExchange, larger_parts_than_a_message_may_be_go_in_pieces) {
    // 300,000 doubles a share: 2.4 MB.
    struct Wide final : Problem {
        std::string name() const override { return "wide"; }
        std::size_t dimension() const override { return 600'000; }
        std::size_t devices() const override { return 2; }
        void evaluate(std::size_t device, std::span<const double> z, std::span<double> value) const override {
            for (std::size_t i = 0; i < z.size(); ++i)
                value[i] = z[i] - static_cast<double>(i % 17) - static_cast<double>(device);
        }
        std::optional<Vector> solution() const override {
            Vector found(dimension());
            for (std::size_t i = 0; i < found.size(); ++i) found[i] = static_cast<double>(i % 17) + 0.5;
            return found;
        }
    };
    const Wide problem;
    Swarm swarm(2);
    for (std::size_t i = 0; i < 2; ++i)
        swarm.start(i, problem, settings_of("extragradient", kExact, 0.5), iterations(3));
    swarm.simulation().run();
    const Trajectory twin = run_in_process(problem, settings_of("extragradient", kExact, 0.5), iterations(3),
                                           distance_to(*problem.solution(), problem.start()));
    for (std::size_t i = 0; i < 2; ++i) {
        ASSERT_FALSE(swarm.outcome(i).failure) << swarm.failure(i);
        expect_same_way(*swarm.outcome(i).trajectory, twin);
    }
}

TEST(PeerExchange, peers_that_start_late_are_waited_for) {
    const QuadraticGame problem = small_game();
    Swarm swarm;
    const MethodSettings settings = settings_of("masha1", "rand_k:0.3", 0.01);
    swarm.start(2, problem, settings, iterations(5));
    swarm.start(3, problem, settings, iterations(5));
    swarm.simulation().run_for(20s);
    EXPECT_FALSE(swarm.has_ended(2));
    swarm.start(0, problem, settings, iterations(5));
    swarm.start(1, problem, settings, iterations(5));
    swarm.simulation().run();
    for (std::size_t i = 0; i < 4; ++i) EXPECT_FALSE(swarm.outcome(i).failure) << swarm.failure(i);
}

TEST(PeerExchange, who_never_comes_is_named) {
    const QuadraticGame problem = small_game();
    Swarm swarm;
    for (std::size_t i = 0; i < 3; ++i)
        swarm.start(i, problem, settings_of("masha1", "rand_k:0.3", 0.01), iterations(5));
    swarm.simulation().run();
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_TRUE(mentions(swarm.failure(i), "device 3 (peer " + id_of(3).short_name()))
            << swarm.failure(i);
        EXPECT_FALSE(mentions(swarm.failure(i), "device 2")) << swarm.failure(i);
    }
}

TEST(PeerExchange, a_peer_that_dies_ends_the_run_everywhere_and_is_named) {
    const QuadraticGame problem = small_game();
    Swarm swarm;
    for (std::size_t i = 0; i < 4; ++i)
        swarm.start(i, problem, settings_of("masha1", "rand_k:0.3", 0.01), iterations(100'000));
    swarm.internet().after_messages(id_of(1), 100, [&] { swarm.internet().crash(id_of(1)); });
    const auto others_ended = [&] { return swarm.has_ended(0) && swarm.has_ended(2) && swarm.has_ended(3); };
    ASSERT_TRUE(swarm.simulation().run_until(others_ended, 60s));
    for (const std::size_t i : {0, 2, 3})
        EXPECT_TRUE(mentions(swarm.failure(i), "device 1 (peer " + id_of(1).short_name()))
            << swarm.failure(i);
}

TEST(PeerExchange, a_peer_that_freezes_is_given_up_and_named) {
    const QuadraticGame problem = small_game();
    Swarm swarm;
    for (std::size_t i = 0; i < 4; ++i)
        swarm.start(i, problem, settings_of("masha1", "rand_k:0.3", 0.01), iterations(100'000));
    swarm.internet().after_messages(id_of(2), 100, [&] { swarm.internet().freeze(id_of(2)); });
    const auto others_ended = [&] { return swarm.has_ended(0) && swarm.has_ended(1) && swarm.has_ended(3); };
    ASSERT_TRUE(swarm.simulation().run_until(others_ended, 60s));
    for (const std::size_t i : {0, 1, 3})
        EXPECT_TRUE(mentions(swarm.failure(i), "device 2 (peer " + id_of(2).short_name()))
            << swarm.failure(i);
}

TEST(PeerExchange, peers_that_mean_to_run_something_else_are_refused) {
    const QuadraticGame problem = small_game();
    Swarm swarm;
    const MethodSettings settings = settings_of("masha1", "rand_k:0.3", 0.01);
    for (std::size_t i = 0; i < 4; ++i)
        swarm.start(i, problem, settings, iterations(5), i == 2 ? "seed 2\n" : "seed 1");
    swarm.simulation().run();
    for (const std::size_t i : {0, 1, 3}) {
        EXPECT_TRUE(mentions(swarm.failure(i), "device 2")) << swarm.failure(i);
        EXPECT_TRUE(mentions(swarm.failure(i), "'seed 2?'")) << swarm.failure(i);
    }
}

TEST(PeerExchange, only_devices_take_part) {
    Swarm swarm(2);
    PeerExchangeSettings others = swarm.peers();
    others.devices = {id_of(0), id_of(7)};
    EXPECT_THROW(PeerExchange(swarm.network(1), swarm.internet().clock(id_of(1)), others), Error);
    others.devices = {id_of(1), id_of(1)};
    EXPECT_THROW(PeerExchange(swarm.network(1), swarm.internet().clock(id_of(1)), others), Error);
}

// --- a peer that sends what it should not -------------------------------------------------------------

/// Device 1 of two, played by the test: says one thing after the other in place of its first exchange.
struct Wrong {
    int kind = Header::PART;
    std::uint64_t sequence = 1;
    std::size_t bytes = 64;  // 8 coordinates of 16, as doubles
    std::uint8_t fill = 0;
    Bytes control;  // in place of a header
};

awaitable<void> misbehave(net::Network& network, Wrong wrong) {
    net::StreamPointer stream = co_await network.open(id_of(0), "variational/exchange");
    co_await stream->read();  // welcome
    Header header;
    header.set_kind(Header::TASK);
    const Bytes task = net::to_control(header);
    co_await stream->write(task, as_bytes("test"));
    header.set_kind(static_cast<Header::Kind>(wrong.kind));
    header.set_sequence(wrong.sequence);
    const Bytes control = wrong.control.empty() ? net::to_control(header) : wrong.control;
    const Bytes payload(wrong.bytes, wrong.fill);
    co_await stream->write(control, payload);
    bool open = true;
    while (open) {
        try {
            const std::optional<net::Message> message = co_await stream->read();
            open = message.has_value();
        } catch (const Error&) {
            open = false;
        }
    }
}

std::string failure_with(const Wrong& wrong) {
    QuadraticGameSettings settings;
    settings.devices = 2;
    settings.dimension = 8;
    const QuadraticGame problem(settings);
    Swarm swarm(2);
    swarm.peers().patience = 5s;
    swarm.start(0, problem, settings_of("masha1", "rand_k:0.3", 0.01), iterations(5));
    swarm.spawn(misbehave(swarm.network(1), wrong));
    swarm.simulation().run_for(120s);
    return swarm.failure(0);
}

TEST(PeerExchange, what_does_not_fit_names_its_sender) {
    Wrong good;  // and then nothing more
    EXPECT_TRUE(mentions(failure_with(good), "took longer") || mentions(failure_with(good), "waiting"))
        << failure_with(good);
    Wrong longer = good, shorter = good, empty = good, other_kind = good, early = good, garbled = good,
          not_finite = good;
    longer.bytes = 65;
    shorter.bytes = 63;
    empty.bytes = 0;
    other_kind.kind = Header::ANSWER;
    early.sequence = 2;
    garbled.control = Bytes(5, 0xff);
    not_finite.fill = 0xff;
    for (const Wrong& wrong : {longer, shorter, empty, other_kind, early, garbled, not_finite}) {
        const std::string failure = failure_with(wrong);
        EXPECT_TRUE(mentions(failure, id_of(1).short_name())) << failure;
        EXPECT_FALSE(mentions(failure, "waiting")) << failure;  // it was refused at once
    }
}

TEST(PeerExchange, no_garbage_is_taken_for_a_message) {
    Random random(1);
    for (int trial = 0; trial < 100; ++trial) {
        Wrong wrong;
        wrong.control.resize(1 + random.below(20));
        for (std::uint8_t& byte : wrong.control) byte = static_cast<std::uint8_t>(random.next());
        wrong.bytes = random.below(200);
        EXPECT_TRUE(mentions(failure_with(wrong), id_of(1).short_name())) << trial;
    }
}

}  // namespace
}  // namespace shoal::variational
