// State transfer over slow lines, from silent donors, and in pieces: what a receiver waits for, and what not.
#include "collective/transfer_support.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <set>

#include "shoal/collective/donor_watch.h"

namespace shoal::collective {
namespace {

class SlowTransfer : public ::testing::TestWithParam<std::uint64_t>, protected TransferWorld {
  protected:
    SlowTransfer() : TransferWorld(GetParam()) { chunk_bytes_ = 256 * 1024; }

    std::vector<Donor> add_donors(int count, const StatePointer& state, double upload_rate) {
        sim::HostSettings host;
        host.upload_rate = upload_rate;
        std::vector<Donor> donors;
        for (int i = 0; i < count; ++i) donors.push_back(add_donor(state, 10ms, host));
        return donors;
    }
    static std::vector<PeerId> ids_of(const std::vector<Donor>& donors) {
        std::vector<PeerId> ids;
        for (const Donor& donor : donors) ids.push_back(donor.peer.id);
        return ids;
    }
    sim::Peer add_joiner(double download_rate) {
        sim::HostSettings host;
        host.download_rate = download_rate;
        return world_.add_peer(host);
    }
};

constexpr std::size_t kMegabyte = 1'000'000 / sizeof(float);  // elements

TEST_P(SlowTransfer, ALoneDonorOnALineOf30KilobytesASecondIsWaitedFor) {
    const StatePointer state = some_state(7, 0, kMegabyte);
    const std::vector<Donor> donors = add_donors(1, state, 30e3);
    const sim::Peer joiner = world_.add_peer();
    expect_same(download(joiner, ids_of(donors)), state);
    EXPECT_NEAR(report_.seconds, 1e6 / 30e3, 2);
}

TEST_P(SlowTransfer, SixteenDonorsAreNotTooManyForALineOf100KilobytesASecond) {
    const StatePointer state = some_state(7, 0, 5 * kMegabyte);
    for (const double upload_rate : {0.0, 1e6, 50e3}) {
        const std::vector<Donor> donors = add_donors(16, state, upload_rate);
        const sim::Peer joiner = add_joiner(100e3);
        expect_same(download(joiner, ids_of(donors)), state);
        // Hardly anything comes twice.
        EXPECT_LT(report_.seconds, 5e6 / 100e3 * 1.15) << upload_rate;
        EXPECT_LE(report_.donors.size(), 8U);
    }
}

TEST_P(SlowTransfer, ALineOf30KilobytesASecondHasTimeForEveryDonor) {
    const StatePointer state = some_state(7, 0, 4 * kMegabyte);
    for (const double upload_rate : {0.0, 1e6}) {
        const std::vector<Donor> donors = add_donors(16, state, upload_rate);
        const sim::Peer joiner = add_joiner(30e3);
        expect_same(download(joiner, ids_of(donors)), state);
        EXPECT_LT(report_.seconds, 4e6 / 30e3 * 1.15) << upload_rate;
        EXPECT_EQ(report_.donors.size(), 8U) << "nobody was given up";
    }
}

TEST_P(SlowTransfer, DonorsThatWaitForTheirTurnTakeOverAfterALongTime) {
    chunk_bytes_ = 64 * 1024;
    const StatePointer state = some_state(7, 0, 8 * kMegabyte);
    const std::vector<Donor> donors = add_donors(16, state, 1e6);
    const sim::Peer joiner = add_joiner(100e3);
    std::vector<PeerId> first;
    const auto crash_those_who_deliver = [&] {
        for (const Donor& donor : donors) {
            const PeerId& id = donor.peer.id;
            if (world_.internet().traffic(id).bytes_sent < 100'000) continue;
            first.push_back(id);
            world_.internet().crash(id);
        }
    };
    world_.simulation().timeline()->after(50s, crash_those_who_deliver);
    expect_same(download(joiner, ids_of(donors)), state);
    EXPECT_EQ(first.size(), 8U);
    EXPECT_EQ(report_.donors.size(), 16U);
    EXPECT_LT(report_.seconds, 100);
}

TEST_P(SlowTransfer, NewcomersSpreadOverTheDonors) {
    const StatePointer state = some_state(7, 0, 2 * kMegabyte);
    const std::vector<Donor> donors = add_donors(32, state, 1e6);
    std::set<PeerId> used;
    for (int i = 0; i < 6; ++i) {
        const sim::Peer joiner = world_.add_peer();
        expect_same(download(joiner, ids_of(donors)), state);
        EXPECT_LE(report_.donors.size(), 8U);
        used.insert(report_.donors.begin(), report_.donors.end());
    }
    EXPECT_GT(used.size(), 12U);
}

TEST_P(SlowTransfer, ASlowReceiverDoesNotHoldUpAnother) {
    const StatePointer state = some_state(7, 0, 2 * kMegabyte);
    const std::vector<Donor> donors = add_donors(1, state, 1e6);
    const sim::Peer slow = add_joiner(30e3), fast = add_joiner(10e6);
    DownloadReport of_slow;
    StatePointer got;
    auto downloads = [&]() -> awaitable<void> {
        const std::vector<PeerId> from(1, donors[0].peer.id);
        got = co_await downloading(slow, from, 7, of_slow);
    };
    world_.simulation().spawn(downloads());
    world_.simulation().run_for(5s);
    expect_same(download(fast, ids_of(donors)), state);
    EXPECT_LT(report_.seconds, 3);
    ASSERT_TRUE(world_.simulation().run_until([&] { return got != nullptr; }, 5min));
    expect_same(got, state);
}

/// A donor that follows the protocol until it is asked for its n-th chunk.
struct Odd {
    enum class Way { silent, empty_piece, small_pieces, one_byte_more, endless, chunk_again, piece_first };
    Way way = Way::silent;
    int good_chunks = 0;
    std::optional<TimePoint> left;  ///< when the receiver had left it
};

// Not inline: there g++ 12 warns of how Asio frees a coroutine's frame, without cause.
[[gnu::noinline]] awaitable<void> answer_oddly(Odd& odd, StatePointer state, std::size_t chunk_bytes,
                                               Clock& clock, net::StreamPointer stream) {
    const StateManifest manifest = manifest_of(*state, chunk_bytes);
    std::vector<Digest> leaves;
    for (std::size_t i = 0; i < manifest.chunks(); ++i) {
        Bytes chunk(manifest.size_of_chunk(i));
        copy_out(*state, i * chunk_bytes, chunk);
        leaves.push_back(merkle_leaf(chunk));
    }
    const auto send = [&stream](StateAnswer answer, Bytes payload) -> awaitable<void> {
        const Bytes control = encode_state_answer(answer);
        co_await stream->write(control, payload);
    };
    int chunks = 0;
    try {
        for (;;) {
            const auto message = co_await stream->read();
            if (!message) break;
            const StateRequest request = decode_state_request(*message, stream->peer());
            StateAnswer answer;
            if (request.what == StateRequest::What::begin) {
                answer.what = StateAnswer::What::offer;
                answer.offer = {state->step, manifest.root(leaves), manifest.total_bytes()};
                co_await send(answer, Bytes());
            } else if (request.what == StateRequest::What::manifest) {
                answer.what = StateAnswer::What::manifest;
                answer.manifest = manifest;
                co_await send(answer, Bytes());
                answer.what = StateAnswer::What::digests;
                answer.digests = leaves;
                co_await send(answer, Bytes());
            }
            if (request.what != StateRequest::What::chunk) continue;
            const bool good = ++chunks <= odd.good_chunks;
            if (!good && odd.way == Odd::Way::silent) continue;
            Bytes chunk(manifest.size_of_chunk(request.number));
            copy_out(*state, request.number * chunk_bytes, chunk);
            if (!good && odd.way == Odd::Way::one_byte_more) chunk.push_back(0);
            if (!good && odd.way == Odd::Way::endless) chunk.resize(chunk.size() + (4U << 20U));
            const std::size_t piece = !good && odd.way == Odd::Way::small_pieces ? 4 : kPieceBytes;
            for (std::size_t at = 0; at < chunk.size(); at += piece) {
                const auto from = chunk.begin() + static_cast<std::ptrdiff_t>(at);
                const std::size_t size = std::min(piece, chunk.size() - at);
                Bytes payload(from, from + static_cast<std::ptrdiff_t>(size));
                const bool begins = good || odd.way != Odd::Way::piece_first;
                const bool again = !good && odd.way == Odd::Way::chunk_again;
                answer.what =
                    (at == 0 && begins) || again ? StateAnswer::What::chunk : StateAnswer::What::piece;
                answer.chunk = request.number;
                if (!good && odd.way == Odd::Way::empty_piece && at > 0) payload.clear();
                co_await send(answer, payload);
            }
        }
    } catch (const Error&) {
    }
    odd.left = clock.now();
}

class OddTransfer : public SlowTransfer {
  protected:
    PeerId add_odd(Odd& odd, const StatePointer& state, double upload_rate = 0) {
        sim::HostSettings host;
        host.upload_rate = upload_rate;
        const sim::Peer peer = world_.add_peer(host);
        peer.network->serve("test/state",
                            [&odd, state, chunk = chunk_bytes_, clock = peer.clock](net::StreamPointer s) {
                                return answer_oddly(odd, state, chunk, *clock, std::move(s));
                            });
        kept_.push_back(peer);
        return peer.id;
    }
    std::vector<PeerId> add_kept_donors(int count, const StatePointer& state, double upload_rate) {
        for (Donor& donor : add_donors(count, state, upload_rate)) donors_.push_back(std::move(donor));
        return ids_of(donors_);
    }
    std::vector<sim::Peer> kept_;
    std::vector<Donor> donors_;
};

TEST_P(OddTransfer, PiecesThatAreNotWhatIsDueAreRefused) {
    using Way = Odd::Way;
    chunk_bytes_ = 2 * kPieceBytes + 4;
    const StatePointer state = some_state(7);
    for (const Way way : {Way::empty_piece, Way::small_pieces, Way::one_byte_more, Way::endless,
                          Way::chunk_again, Way::piece_first}) {
        Odd odd;
        odd.way = way;
        odd.good_chunks = 1;
        const PeerId id = add_odd(odd, state);
        const sim::Peer joiner = world_.add_peer();
        const double begin = now();
        const Error error = failure(joiner, {id});
        EXPECT_NE(std::string(error.what()).find(" chunk"), std::string::npos) << error.what();
        EXPECT_LT(now() - begin, 1) << "refused at the first wrong piece";
        const Donor honest = add_donor(state);
        expect_same(download(joiner, {id, honest.peer.id}), state);
        world_.simulation().run_for(1s);
    }
}

TEST_P(OddTransfer, ALoneSilentDonorIsLeftAfterAPieceOnTheSlowestLine) {
    const StatePointer state = some_state(7);
    Odd odd;
    const PeerId id = add_odd(odd, state);
    const sim::Peer joiner = world_.add_peer();
    const double begin = now(), longest = 1.5 + kPieceBytes / kSlowestLine;
    const Error error = failure(joiner, {id});
    EXPECT_EQ(error.kind(), ErrorKind::unreachable);
    EXPECT_NE(std::string(error.what()).find("nothing came for"), std::string::npos) << error.what();
    EXPECT_GE(now() - begin, longest);
    EXPECT_LE(now() - begin, longest + 0.3);
}

TEST_P(OddTransfer, ADonorThatFallsSilentAmongGoodOnesIsLeftWhileTheyDeliver) {
    chunk_bytes_ = 64 * 1024;
    const StatePointer state = some_state(7, 0, 12 * kMegabyte);
    std::vector<PeerId> ids = add_kept_donors(3, state, 1e6);
    Odd odd;
    odd.good_chunks = 2;
    ids.push_back(add_odd(odd, state, 1e6));
    const sim::Peer joiner = world_.add_peer();
    const double begin = now();
    expect_same(download(joiner, ids), state);
    EXPECT_LT(now() - begin, 12.0 / 3 + 0.3);
    ASSERT_TRUE(odd.left);
    EXPECT_GE(seconds(odd.left->since_start) - begin, 1.5);
    EXPECT_LE(seconds(odd.left->since_start) - begin, 2.2);
}

TEST_P(OddTransfer, ASilentDonorHoldsUpNeitherTheManifestNorTheEnd) {
    const StatePointer state = some_state(7, 0, kMegabyte);
    std::vector<PeerId> ids = add_kept_donors(1, state, 1e6);
    Odd odd;
    ids.push_back(add_odd(odd, state));
    for (int i = 0; i < 4; ++i) {
        const sim::Peer joiner = world_.add_peer();  // now the one, now the other is asked first
        expect_same(download(joiner, ids), state);
        EXPECT_LT(report_.seconds, 1 + 1.5 + 0.3);
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, SlowTransfer, ::testing::Range<std::uint64_t>(1, 4));
INSTANTIATE_TEST_SUITE_P(Seeds, OddTransfer, ::testing::Range<std::uint64_t>(1, 4));

TEST(StateDigests, OfAMessageAreOneToAThousandAndWhole) {
    const PeerId from;
    const auto refused = [&](std::size_t count) {
        StateAnswer answer;
        answer.what = StateAnswer::What::digests;
        answer.digests.resize(count);
        const net::Message message(encode_state_answer(answer));
        EXPECT_LT(message.control.size(), net::kMaximumControlBytes);
        try {
            return decode_state_answer(message, from, std::size_t{1} << 30).digests.size() != count;
        } catch (const Error& error) {
            return error.kind() == ErrorKind::protocol_violation;
        }
    };
    EXPECT_TRUE(refused(0));
    EXPECT_FALSE(refused(1));
    EXPECT_FALSE(refused(kDigestsOfMessage));
    EXPECT_TRUE(refused(kDigestsOfMessage + 1));
}

}  // namespace
}  // namespace shoal::collective
