// State transfer among simulated peers: honest, dying, stalling and lying donors.
#include "collective/transfer_support.h"

#include <cstring>
#include <gtest/gtest.h>
#include <limits>

#include "shoal/collective/donor_limits.h"
#include "shoal/net/rpc.h"

namespace shoal::collective {
namespace {

using namespace std::chrono_literals;

class Transfer : public ::testing::TestWithParam<std::uint64_t>, protected TransferWorld {
  protected:
    Transfer() : TransferWorld(GetParam()) {}
};

TEST_P(Transfer, BringsEveryBitFromASingleDonor) {
    Donor donor = add_donor(some_state(7));
    const sim::Peer joiner = world_.add_peer();
    expect_same(download(joiner, {donor.peer.id}), *donor.held);
    EXPECT_EQ(report_.bytes, (kElements + 777) * 4);
    EXPECT_EQ(report_.donors, std::vector<PeerId>{donor.peer.id});
    EXPECT_GT(report_.seconds, 0);
}

TEST_P(Transfer, UsesSeveralDonorsAtOnce) {
    sim::HostSettings slow_line;
    slow_line.upload_rate = 100e3;  // 160 KB take 1.6 s from one
    std::vector<Donor> donors;
    std::vector<PeerId> names;
    for (int i = 0; i < 4; ++i) {
        donors.push_back(add_donor(some_state(7), 10ms, slow_line));
        names.push_back(donors.back().peer.id);
    }
    const sim::Peer joiner = world_.add_peer();
    expect_same(download(joiner, names), *donors[0].held);
    EXPECT_EQ(report_.donors.size(), 4U);
    EXPECT_LT(report_.seconds, 0.7);
}

TEST_P(Transfer, SlowDonorDoesNotHoldUpTheEnd) {
    sim::HostSettings fast, slow;
    fast.upload_rate = 1e6;
    slow.upload_rate = 5e3;  // a chunk takes it 0.8 s
    Donor a = add_donor(some_state(7), 10ms, fast), b = add_donor(some_state(7), 10ms, slow);
    const sim::Peer joiner = world_.add_peer();
    expect_same(download(joiner, {a.peer.id, b.peer.id}), *a.held);
    EXPECT_LT(report_.seconds, 0.5);
}

TEST_P(Transfer, SurvivesDonorsThatDieAndFreezeMidway) {
    Donor a = add_donor(some_state(7)), b = add_donor(some_state(7)), c = add_donor(some_state(7));
    const sim::Peer joiner = world_.add_peer();
    auto& internet = world_.internet();
    internet.after_messages(a.peer.id, 5, [&] { internet.crash(a.peer.id); }, "test/state");
    internet.after_messages(b.peer.id, 4, [&] { internet.freeze(b.peer.id); }, "test/state");
    expect_same(download(joiner, {a.peer.id, b.peer.id, c.peer.id}), *c.held);
    EXPECT_LT(report_.seconds, 2.5);
}

TEST_P(Transfer, LosesNothingButTheRestWhenADonorDiesAfterAnyMessage) {
    const StatePointer state = some_state(7);
    for (std::uint64_t message = 1; message < 45; ++message) {
        Donor a = add_donor(state), b = add_donor(state);
        const sim::Peer joiner = world_.add_peer();
        auto& internet = world_.internet();
        internet.after_messages(a.peer.id, message, [&] { internet.crash(a.peer.id); }, "test/state");
        expect_same(download(joiner, {a.peer.id, b.peer.id}), state);
    }
}

TEST_P(Transfer, NamesEveryDonorAndItsReasonWhenNoneIsLeft) {
    Donor a = add_donor(some_state(7)), b = add_donor(some_state(5));
    const sim::Peer joiner = world_.add_peer(), stranger = world_.add_peer();
    world_.internet().after_messages(a.peer.id, 5, [&] { world_.internet().crash(a.peer.id); }, "test/state");
    const Error error = failure(joiner, {a.peer.id, b.peer.id, stranger.id});
    EXPECT_EQ(error.kind(), ErrorKind::unreachable);
    const std::string text = error.what();
    EXPECT_NE(text.find(a.peer.id.short_name()), std::string::npos) << text;
    EXPECT_NE(text.find(b.peer.id.short_name()), std::string::npos) << text;
    EXPECT_NE(text.find("has step 5, not yet 7"), std::string::npos) << text;
    EXPECT_NE(text.find(stranger.id.short_name()), std::string::npos) << text;
}

TEST_P(Transfer, FailsAtOnceWithoutDonors) {
    const sim::Peer joiner = world_.add_peer();
    EXPECT_EQ(failure(joiner, {}).kind(), ErrorKind::unreachable);
    EXPECT_EQ(failure(joiner, {joiner.id}).kind(), ErrorKind::unreachable);
}

TEST_P(Transfer, TakesTheStateOnWhichMostDonorsAgree) {
    Donor liar = add_donor(some_state(7, 1.0F)), a = add_donor(some_state(7), 400ms),
          b = add_donor(some_state(7), 600ms);
    const sim::Peer joiner = world_.add_peer();
    expect_same(download(joiner, {liar.peer.id, a.peer.id, b.peer.id}), *a.held);
    EXPECT_EQ(std::count(report_.donors.begin(), report_.donors.end(), liar.peer.id), 0);
}

TEST_P(Transfer, LowestPeerDecidesATie) {
    Donor a = add_donor(some_state(7, 1.0F)), b = add_donor(some_state(7, 2.0F));
    const sim::Peer joiner = world_.add_peer();
    const Donor& lowest = a.peer.id < b.peer.id ? a : b;
    expect_same(download(joiner, {a.peer.id, b.peer.id}), *lowest.held);
}

TEST_P(Transfer, WaitsForADonorThatHasToEndALongMicroBatchFirst) {
    Donor donor = add_donor(some_state(7), 20s);
    const sim::Peer joiner = world_.add_peer();
    expect_same(download(joiner, {donor.peer.id}), *donor.held);
    EXPECT_NEAR(report_.seconds, 20, 1);
}

TEST_P(Transfer, CopiesTheStateOnceForManyNewcomers) {
    Donor donor = add_donor(some_state(7), 300ms);
    std::vector<sim::Peer> joiners;
    int done = 0;
    for (int i = 0; i < 6; ++i) joiners.push_back(world_.add_peer());
    std::vector<std::unique_ptr<DownloadReport>> reports;
    auto one = [&](const sim::Peer& who, DownloadReport& report) -> awaitable<void> {
        const std::vector<PeerId> from(1, donor.peer.id);
        const StatePointer state = co_await downloading(who, from, 7, report);
        expect_same(state, *donor.held);
        ++done;
    };
    for (const sim::Peer& joiner : joiners) {
        reports.push_back(std::make_unique<DownloadReport>());
        world_.simulation().spawn(one(joiner, *reports.back()));
    }
    EXPECT_TRUE(world_.simulation().run_until([&] { return done == 6; }, 30s));
    EXPECT_EQ(*donor.copies, 1);
}

TEST_P(Transfer, CopiesAgainForALaterStep) {
    Donor donor = add_donor(some_state(7));
    const sim::Peer joiner = world_.add_peer();
    download(joiner, {donor.peer.id}, 7);
    *donor.held = some_state(9);
    expect_same(download(joiner, {donor.peer.id}, 8), *donor.held);
    EXPECT_EQ(*donor.copies, 2);
}

TEST_P(Transfer, DonorThatFailsToCopySaysWhy) {
    Donor donor = add_donor(nullptr);
    const sim::Peer joiner = world_.add_peer();
    const Error error = failure(joiner, {donor.peer.id});
    EXPECT_NE(std::string(error.what()).find("could not copy its state"), std::string::npos) << error.what();
}

TEST_P(Transfer, DonorThatHasNoneForNowIsPassedOverAndNotDoubted) {
    Donor good = add_donor(some_state(7)), late = add_donor(some_state(7));
    late.donor.reset();
    late.donor = make_state_donor(
        *late.peer.network, *late.peer.clock, settings(), give_later, [] { return Step{7}; }, Log());
    const sim::Peer newcomer = world_.add_peer();
    const Error error = failure(newcomer, {late.peer.id});
    EXPECT_NE(std::string(error.what()).find("busy: its state is an old one"), std::string::npos)
        << error.what();
    EXPECT_TRUE(report_.pretenders.empty());
    expect_same(download(newcomer, {late.peer.id, good.peer.id}), *good.held);
    EXPECT_TRUE(report_.pretenders.empty());
    EXPECT_EQ(report_.donors, std::vector<PeerId>{good.peer.id});
}

TEST_P(Transfer, DonorThatEndsStopsServing) {
    Donor donor = add_donor(some_state(7), 5s);
    const sim::Peer joiner = world_.add_peer();
    bool failed = false;
    auto one = [&]() -> awaitable<void> {
        const std::vector<PeerId> from(1, donor.peer.id);
        try {
            co_await downloading(joiner, from, 7, report_);
        } catch (const Error&) {
            failed = true;
        }
    };
    world_.simulation().spawn(one());
    world_.simulation().run_for(1s);
    donor.donor.reset();
    EXPECT_TRUE(world_.simulation().run_until([&] { return failed; }, 5s));
}

TEST_P(Transfer, RefusesStatesThatAreNotFinite) {
    auto broken = some_state(7);
    broken->sections[1].values[5] = std::numeric_limits<float>::infinity();
    Donor donor = add_donor(broken);
    const sim::Peer joiner = world_.add_peer();
    EXPECT_EQ(failure(joiner, {donor.peer.id}).kind(), ErrorKind::corrupted);
}

TEST_P(Transfer, RefusesMoreBytesThanTheRunAllows) {
    Donor donor = add_donor(some_state(7));
    const sim::Peer joiner = world_.add_peer();
    const std::size_t exact = (kElements + 777) * 4;
    StateTransferSettings limited = settings();
    limited.maximum_state_bytes = exact;
    auto attempt = [&] {
        return world_.simulation().run(download_state(*joiner.network, *joiner.clock, limited,
                                                      {donor.peer.id}, Step{7}, {}, report_, Log()),
                                       1min);
    };
    EXPECT_NO_THROW(attempt());
    limited.maximum_state_bytes = exact - 1;
    EXPECT_THROW(attempt(), Error);
}

/// A donor that follows the protocol but for one lie.
struct Liar {
    enum class Lie {
        damaged_chunk,
        short_chunk,
        wrong_chunk,
        foreign_manifest,
        foreign_digests,
        too_many_digests,
        no_digests,
        silence,
        garbage,
        no_end
    };
    Lie lie = Lie::garbage;
};

awaitable<void> answer_with_a_lie(Liar::Lie lie, StatePointer state, Clock& clock,
                                  net::StreamPointer stream) {
    StateManifest manifest = manifest_of(*state, 4096);
    std::vector<Digest> leaves;
    for (std::size_t i = 0; i < manifest.chunks(); ++i) {
        Bytes chunk(manifest.size_of_chunk(i));
        copy_out(*state, i * manifest.chunk_bytes, chunk);
        leaves.push_back(merkle_leaf(chunk));
    }
    StateAnswer answer;
    answer.what = StateAnswer::What::offer;
    answer.offer = {state->step, manifest.root(leaves), manifest.total_bytes()};
    StateAnswer digests;
    digests.what = StateAnswer::What::digests;
    digests.digests = leaves;
    if (lie == Liar::Lie::foreign_digests) digests.digests[0].bytes[0] ^= 1;
    if (lie == Liar::Lie::too_many_digests) digests.digests.push_back(leaves[0]);
    if (lie == Liar::Lie::no_digests) digests.digests.pop_back();
    for (;;) {
        const auto message = co_await stream->read();
        if (!message) break;
        const StateRequest request = decode_state_request(*message, stream->peer());
        Bytes payload;
        if (request.what == StateRequest::What::manifest) {
            answer.what = StateAnswer::What::manifest;
            answer.manifest = manifest;
            if (lie == Liar::Lie::foreign_manifest) answer.manifest.sections[0].name = "other";
        } else if (request.what == StateRequest::What::chunk) {
            if (lie == Liar::Lie::silence) co_await clock.sleep_for(1h);
            answer.what = StateAnswer::What::chunk;
            answer.chunk = request.number + (lie == Liar::Lie::wrong_chunk ? 1 : 0);
            payload.resize(manifest.size_of_chunk(request.number));
            copy_out(*state, request.number * manifest.chunk_bytes, payload);
            if (lie == Liar::Lie::damaged_chunk) payload[9] ^= 1;
            if (lie == Liar::Lie::short_chunk) payload.pop_back();
            if (lie == Liar::Lie::garbage) {
                const Bytes garbage(100, 0xFF);
                co_await stream->write(garbage, garbage);
                continue;
            }
            if (lie == Liar::Lie::no_end) co_return;
        }
        const Bytes control = encode_state_answer(answer);
        co_await stream->write(control, payload);
        if (request.what == StateRequest::What::manifest) {
            const Bytes more = encode_state_answer(digests);
            co_await stream->write(more, ByteView());
        }
    }
}

TEST_P(Transfer, GivesUpALyingDonorAndTakesNothingWrong) {
    using Lie = Liar::Lie;
    const StatePointer state = some_state(7);
    for (const Lie lie :
         {Lie::damaged_chunk, Lie::short_chunk, Lie::wrong_chunk, Lie::foreign_manifest, Lie::foreign_digests,
          Lie::too_many_digests, Lie::no_digests, Lie::silence, Lie::garbage, Lie::no_end}) {
        const sim::Peer liar = world_.add_peer(), joiner = world_.add_peer();
        liar.network->serve("test/state", [lie, state, clock = liar.clock](net::StreamPointer stream) {
            return answer_with_a_lie(lie, state, *clock, std::move(stream));
        });
        const Error alone = failure(joiner, {liar.id});
        EXPECT_NE(std::string(alone.what()).find(liar.id.short_name()), std::string::npos) << alone.what();
        const bool hash_fails = lie == Lie::damaged_chunk || lie == Lie::short_chunk ||
                                lie == Lie::foreign_manifest || lie == Lie::foreign_digests;
        EXPECT_EQ(alone.kind(), hash_fails ? ErrorKind::corrupted : ErrorKind::unreachable) << alone.what();

        Donor honest = add_donor(state);
        expect_same(download(joiner, {liar.id, honest.peer.id}), state);
    }
}

TEST_P(Transfer, GarbageFromReceiversHarmsNoDonor) {
    Donor donor = add_donor(some_state(7));
    const sim::Peer stranger = world_.add_peer(), joiner = world_.add_peer();
    Random random(GetParam());
    for (int i = 0; i < 50; ++i) {
        const net::StreamPointer stream =
            world_.simulation().run(stranger.network->open(donor.peer.id, "test/state"), 5s);
        StateRequest begin;
        begin.number = 7;
        Bytes control = encode_state_request(begin);
        if (i % 2 == 1) {
            world_.simulation().run(stream->write(control, {}), 5s);
            StateRequest chunk;
            chunk.what = StateRequest::What::chunk;
            chunk.number = random.next();
            control = encode_state_request(chunk);
        } else {
            for (auto& byte : control) byte = static_cast<std::uint8_t>(random.next());
        }
        world_.simulation().run(stream->write(control, Bytes(random.below(1000), 1)), 5s);
        world_.simulation().run_for(50ms);
    }
    expect_same(download(joiner, {donor.peer.id}), *donor.held);
}

INSTANTIATE_TEST_SUITE_P(Seeds, Transfer, ::testing::Range<std::uint64_t>(1, 6));

TEST(TransferSettings, OtherCodecsThanFp32AreRefused) {
    StateTransferSettings settings;
    EXPECT_NO_THROW(check_transfer_settings(settings));
    settings.codec = "fp16";
    EXPECT_THROW(check_transfer_settings(settings), Error);
}

TEST(TransferSettings, ChunkSizesAreBounded) {
    StateTransferSettings settings;
    for (const std::size_t good : {kMinimumChunkBytes, kMaximumChunkBytes}) {
        settings.chunk_bytes = good;
        EXPECT_NO_THROW(check_transfer_settings(settings));
    }
    for (const std::size_t bad :
         {std::size_t{0}, kMinimumChunkBytes - 4, kMinimumChunkBytes + 1, kMaximumChunkBytes + 4}) {
        settings.chunk_bytes = bad;
        EXPECT_THROW(check_transfer_settings(settings), Error);
    }
}

TEST(StateManifest, RootCoversTheStepTheNamesAndTheSizes) {
    const auto state = some_state(7);
    const StateManifest manifest = manifest_of(*state, 4096);
    const std::vector<Digest> leaves(manifest.chunks());
    const Digest root = manifest.root(leaves);
    StateManifest other = manifest;
    other.step = Step{8};
    EXPECT_NE(other.root(leaves), root);
    other = manifest;
    other.sections[0].name = "Parameters";
    EXPECT_NE(other.root(leaves), root);
    other = manifest;
    --other.sections[0].elements;
    ++other.sections[1].elements;
    EXPECT_NE(other.root(leaves), root);
    other = manifest;
    other.chunk_bytes = 8192;
    EXPECT_NE(other.root(leaves), root);
}

TEST(StateManifest, WithImpossibleShapesIsRefused) {
    const PeerId from;
    const StateManifest good = manifest_of(*some_state(7), 4096);
    const auto refused = [&](auto change) {
        StateAnswer answer;
        answer.what = StateAnswer::What::manifest;
        answer.manifest = good;
        change(answer.manifest);
        try {
            decode_state_answer(net::Message(encode_state_answer(answer)), from, std::size_t{1} << 30);
            return false;
        } catch (const Error& error) {
            return error.kind() == ErrorKind::protocol_violation;
        }
    };
    EXPECT_FALSE(refused([](StateManifest&) {}));
    EXPECT_TRUE(refused([](StateManifest& m) { m.sections.clear(); }));
    EXPECT_TRUE(refused([](StateManifest& m) { m.sections[1].name = m.sections[0].name; }));
    EXPECT_TRUE(refused([](StateManifest& m) { m.sections[0].name.clear(); }));
    EXPECT_TRUE(refused([](StateManifest& m) { m.sections[0].name.assign(kMaximumSectionName + 1, 'n'); }));
    EXPECT_FALSE(refused([](StateManifest& m) { m.sections[0].name.assign(kMaximumSectionName, 'n'); }));
    EXPECT_TRUE(refused([](StateManifest& m) { m.sections[0].elements = std::uint64_t{1} << 62; }));
    EXPECT_TRUE(refused(
        [](StateManifest& m) { m.sections[0].elements = m.sections[1].elements = std::uint64_t{1} << 63; }));
    EXPECT_TRUE(refused([](StateManifest& m) { m.chunk_bytes = 0; }));
    EXPECT_TRUE(refused([](StateManifest& m) { m.chunk_bytes = kMaximumChunkBytes + 4; }));
    EXPECT_TRUE(refused([](StateManifest& m) { m.sections.resize(kMaximumSections + 1); }));
}

awaitable<StatePointer> count_states(std::shared_ptr<std::int64_t> step,
                                     std::shared_ptr<std::vector<std::weak_ptr<const State>>> made) {
    StatePointer state = some_state(*step, 0, 1000);
    made->push_back(state);
    co_return state;
}

/// Takes an offer, and then asks for a chunk now and then, for ever.
awaitable<void> linger(net::Network& network, Clock& clock, PeerId donor, std::int64_t step) {
    const net::StreamPointer stream = co_await network.open(donor, "test/state");
    StateRequest request;
    request.number = static_cast<std::uint64_t>(step);
    Bytes bytes = encode_state_request(request);
    co_await stream->write(bytes, ByteView());
    co_await stream->read();
    request.what = StateRequest::What::chunk;
    request.number = 0;
    bytes = encode_state_request(request);
    for (;;) {
        co_await clock.sleep_for(20s);
        co_await stream->write(bytes, ByteView());
        co_await stream->read();
    }
}

class LingeringReceivers : public TransferWorld, public ::testing::Test {
  protected:
    LingeringReceivers() : TransferWorld(3) {
        provide_ = [step = step_, made = made_] { return count_states(step, made); };
        StepTeller own_step = [step = step_] { return static_cast<Step>(*step); };
        donor_ = make_state_donor(*giver_.network, *giver_.clock, settings(), provide_, std::move(own_step),
                                  Log());
    }
    ~LingeringReceivers() override {
        tasks_.cancel();
        world_.simulation().run_for(1s);
    }
    /// One more session, of the state of a step of its own.
    void begin(const sim::Peer& receiver) {
        ++*step_;
        tasks_.spawn(linger(*receiver.network, *receiver.clock, giver_.id, *step_));
        world_.simulation().run_for(kCopyEvery + 1s);
    }
    std::size_t states_in_memory() const {
        return static_cast<std::size_t>(
            std::count_if(made_->begin(), made_->end(), [](const auto& weak) { return !weak.expired(); }));
    }

    std::shared_ptr<std::int64_t> step_ = std::make_shared<std::int64_t>(0);
    std::shared_ptr<std::vector<std::weak_ptr<const State>>> made_ =
        std::make_shared<std::vector<std::weak_ptr<const State>>>();
    sim::Peer giver_ = world_.add_peer();
    StateProvider provide_;
    std::shared_ptr<StateDonor> donor_;
    TaskGroup tasks_{world_.executor()};
};

TEST_F(LingeringReceivers, KeepAtMostFourStatesInMemory) {
    std::vector<sim::Peer> receivers;
    for (int i = 0; i < 10; ++i) receivers.push_back(world_.add_peer());
    for (const sim::Peer& receiver : receivers) begin(receiver);
    EXPECT_EQ(made_->size(), 10U);
    EXPECT_EQ(states_in_memory(), 4U);
}

TEST_F(LingeringReceivers, OneOfThemDoesNotShutOthersOut) {
    const sim::Peer receiver = world_.add_peer(), newcomer = world_.add_peer();
    for (int i = 0; i < 64; ++i) begin(receiver);
    world_.simulation().run_for(60s);
    EXPECT_LE(states_in_memory(), 3U);  // two sessions, and the newest
    EXPECT_TRUE(download(newcomer, {giver_.id}, 1));
}

}  // namespace
}  // namespace shoal::collective
