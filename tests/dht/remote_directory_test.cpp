// In simulation: two peers lend one directory, a third has none. Real sockets are in
// directory_over_tcp_test.cpp.
#include "shoal/dht/remote_directory.h"

#include "dht/store_directory.h"

#include <gtest/gtest.h>
#include <shoal/proto/dht.pb.h>

#include "shoal/base/random.h"
#include "shoal/dht/directory_service.h"
#include "shoal/dht/fallback_directory.h"
#include "shoal/net/rpc.h"
#include "shoal/sim/world.h"

namespace shoal::dht {
namespace {

using namespace std::chrono_literals;
using Values = std::vector<std::string>;

class RemoteDirectoryTest : public testing::Test {
  protected:
    RemoteDirectoryTest() : client_(world_.add_peer()), servers_{world_.add_peer(), world_.add_peer()} {
        for (const sim::Peer& server : servers_) {
            directories_.push_back(directory_of(server));
            serve(server, directories_.back());
            connect(server);
        }
        remote_ = make_remote_directory(client_.network, *client_.clock,
                                        std::make_shared<KeyPair>(client_.key), false, Log());
        until([&] { return remote_->server().has_value(); });
    }
    ~RemoteDirectoryTest() override {
        remote_->shut_down();
        world_.simulation().run_for(1s);
    }

    std::shared_ptr<StoreDirectory> directory_of(const sim::Peer& peer) {
        return std::make_shared<StoreDirectory>(world_.executor(), peer.key, *peer.clock, store_);
    }
    void serve(const sim::Peer& peer, std::shared_ptr<SignedDirectory> directory, ServiceLimits limits = {}) {
        tokens_[peer.id] = nullptr;
        tokens_[peer.id] = serve_directory(
            peer.network, *peer.clock, std::move(directory), [this] { return neighbours_; }, limits);
    }
    awaitable<void> open(const sim::Peer& server) { co_await client_.network->open(server.id, "nothing"); }
    void connect(const sim::Peer& server) { run(open(server)); }
    template <typename T>
    T run(awaitable<T> work) {
        return world_.simulation().run(std::move(work), 60s);
    }
    void until(const std::function<bool()>& condition) {
        EXPECT_TRUE(world_.simulation().run_until(condition, 60s));
    }
    sim::Peer& used() { return servers_[*remote_->server() == servers_[0].id ? 0 : 1]; }

    void publish(Directory& directory, const std::string& value, const std::string& key = "key") {
        run(directory.publish(key, "", to_bytes(value), 300s));
    }
    Values read(Directory& directory, const std::string& key = "key") {
        Values values;
        for (const Record& record : run(directory.read(key))) values.emplace_back(as_text(record.value));
        std::sort(values.begin(), values.end());
        return values;
    }
    /// A call as a hostile client would make it; the text of the refusal.
    std::string refusal(const SignedRecord& record, const KeyHash& key) {
        proto::PublishRequest request;
        request.set_key(std::string(as_text(key.bytes)));
        request.set_record(std::string(as_text(encode_record(record))));
        net::Message message(net::to_control(request));
        try {
            run(net::call(*client_.network, *client_.clock, servers_[0].id, kPublishService,
                          std::move(message), client_.clock->now() + 5s));
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    }
    SignedRecord sign(const KeyPair& owner, Duration life = 60s, std::string subkey = "") {
        return sign_record(owner, kKey, std::move(subkey), ++sequence_,
                           client_.clock->wall_now() + std::chrono::floor<std::chrono::milliseconds>(life),
                           Bytes(3));
    }

    const KeyHash kKey = KeyHash::of("key");
    sim::World world_{1};
    sim::Peer client_;
    std::vector<sim::Peer> servers_;
    std::shared_ptr<SharedStore> store_ = std::make_shared<SharedStore>();
    std::vector<std::shared_ptr<StoreDirectory>> directories_;
    std::map<PeerId, std::shared_ptr<void>> tokens_;
    std::size_t neighbours_ = 3;
    std::uint64_t sequence_ = 0;
    std::shared_ptr<RemoteDirectory> remote_;
};

TEST_F(RemoteDirectoryTest, PublishesReadsAndWatchesThroughAPeer) {
    Values seen;
    const auto token =
        remote_->watch("key", [&](const Record& record) { seen.emplace_back(as_text(record.value)); });
    publish(*remote_, "mine");
    EXPECT_EQ(read(*directories_[0]), Values{"mine"});
    publish(*directories_[1], "theirs");
    EXPECT_EQ(read(*remote_), (Values{"mine", "theirs"}));
    until([&] { return seen == (Values{"mine", "theirs"}); });
    publish(*remote_, "changed");
    EXPECT_EQ(read(*directories_[1]), (Values{"changed", "theirs"}));
    until([&] { return seen.back() == "changed"; });
}

TEST_F(RemoteDirectoryTest, ChangesToAnotherPeerWhenItsServerGoes) {
    std::map<std::string, int> seen;
    const auto token =
        remote_->watch("key", [&](const Record& record) { ++seen[std::string(as_text(record.value))]; });
    publish(*directories_[0], "before");
    until([&] { return seen["before"] == 1; });
    const PeerId first = used().id;
    world_.internet().crash(first);
    until([&] { return remote_->server() && *remote_->server() != first; });
    publish(*remote_, "mine");
    until([&] { return seen["mine"] == 1; });
    EXPECT_EQ(seen["before"], 1) << "what is known already is not told again";
    EXPECT_EQ(read(*remote_), (Values{"before", "mine"}));
}

TEST_F(RemoteDirectoryTest, BringsItsRecordsToTheNextServer) {
    publish(*remote_, "mine");
    *store_ = SharedStore();  // all of that is lost
    world_.internet().crash(used().id);
    until([&] { return !store_->records.read(kKey, client_.clock->wall_now()).empty(); });
}

TEST_F(RemoteDirectoryTest, KeepsWhatIsPublishedWhileNobodyIsConnected) {
    for (const sim::Peer& server : servers_) client_.network->disconnect(server.id, "test");
    until([&] { return !remote_->server(); });
    publish(*remote_, "mine");
    EXPECT_EQ(read(*remote_), Values{"mine"});
    EXPECT_TRUE(read(*directories_[0]).empty());
    connect(servers_[0]);
    until([&] { return !store_->records.read(kKey, client_.clock->wall_now()).empty(); });
}

TEST_F(RemoteDirectoryTest, TakesNothingFromALyingServer) {
    const KeyPair owner = KeyPair::generate();
    SignedRecord forged = sign(owner);
    forged.value = to_bytes("forged");
    store_->records.offer(kKey, forged, client_.clock->wall_now());
    store_->records.offer(kKey, sign_record(owner, KeyHash::of("other"), "x", 1, forged.expires, Bytes(1)),
                          client_.clock->wall_now());
    store_->records.offer(kKey, sign(servers_[0].key), client_.clock->wall_now());
    int seen = 0;
    const auto token = remote_->watch("key", [&](const Record&) { ++seen; });
    until([&] { return seen > 0; });
    world_.simulation().run_for(5s);
    EXPECT_EQ(seen, 1);
    EXPECT_EQ(run(remote_->read("key")).size(), 1u);
}

TEST_F(RemoteDirectoryTest, AServerStoresOnlyWhatItsClientMayPublish) {
    EXPECT_NE(refusal(sign(servers_[1].key), kKey).find("of its own only"), std::string::npos);
    EXPECT_NE(refusal(sign(client_.key), KeyHash::of("other")).find("forged"), std::string::npos);
    EXPECT_NE(refusal(sign(client_.key, -1s), kKey).find("expired"), std::string::npos);
    EXPECT_NE(refusal(sign(client_.key, 1h), kKey).find("too_far_ahead"), std::string::npos);
    SignedRecord unsigned_record = sign(client_.key);
    unsigned_record.signature = {};
    EXPECT_NE(refusal(unsigned_record, kKey).find("forged"), std::string::npos);
    EXPECT_TRUE(read(*directories_[0]).empty());
    EXPECT_EQ(refusal(sign(client_.key), kKey), "");
}

TEST_F(RemoteDirectoryTest, AServerHoldsAClientToItsLimitsAtTheBound) {
    ServiceLimits limits;
    limits.records_per_client = 2;
    limits.watches_per_client = 1;
    serve(servers_[0], directories_[0], limits);
    EXPECT_EQ(refusal(sign(client_.key, 60s, "a"), kKey), "");
    EXPECT_EQ(refusal(sign(client_.key, 60s, "b"), kKey), "");
    EXPECT_NE(refusal(sign(client_.key, 60s, "c"), kKey).find("may have 2 records"), std::string::npos);
    EXPECT_EQ(refusal(sign(client_.key, 60s, "a"), kKey), "") << "its own again";
    world_.simulation().run_for(61s);
    EXPECT_EQ(refusal(sign(client_.key, 60s, "c"), kKey), "") << "the others have expired";
}

TEST_F(RemoteDirectoryTest, AServerRefusesAClientThatCallsWithoutPause) {
    ServiceLimits limits;
    limits.calls_at_once = 3;
    limits.calls_per_second = 1;
    serve(servers_[0], directories_[0], limits);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(refusal(sign(client_.key), kKey), "");
    EXPECT_NE(refusal(sign(client_.key), kKey).find("too many calls"), std::string::npos);
    world_.simulation().run_for(1s);
    EXPECT_EQ(refusal(sign(client_.key), kKey), "");
}

TEST_F(RemoteDirectoryTest, AServerHoldsEachOfManyClientsToItsOwnLimits) {
    ServiceLimits limits;
    limits.records_per_client = 1;
    serve(servers_[0], directories_[0], limits);
    std::vector<sim::Peer> clients;
    for (int i = 0; i < 20; ++i) clients.push_back(world_.add_peer());
    const auto call = [&](const sim::Peer& peer, const std::string& subkey) {
        const WallTime expires = std::chrono::floor<std::chrono::milliseconds>(peer.clock->wall_now()) + 60s;
        proto::PublishRequest request;
        request.set_key(std::string(as_text(kKey.bytes)));
        request.set_record(std::string(
            as_text(encode_record(sign_record(peer.key, kKey, subkey, ++sequence_, expires, Bytes(3))))));
        net::Message message(net::to_control(request));
        try {
            run(net::call(*peer.network, *peer.clock, servers_[0].id, kPublishService, std::move(message),
                          peer.clock->now() + 5s));
            return true;
        } catch (const Error&) {
            return false;
        }
    };
    for (const sim::Peer& peer : clients) EXPECT_TRUE(call(peer, "a"));
    for (const sim::Peer& peer : clients) EXPECT_FALSE(call(peer, "b")) << "nobody was forgotten";
    world_.simulation().run_for(61s);
    for (const sim::Peer& peer : clients) EXPECT_TRUE(call(peer, "b")) << "its first has expired";
    for (const sim::Peer& peer : clients) EXPECT_FALSE(call(peer, "c"));
}

awaitable<std::string> watch_all(net::Network& network, PeerId server, int watches) {
    std::vector<net::StreamPointer> streams;
    proto::WatchRequest request;
    request.set_key(std::string(20, 'k'));
    const Bytes control = net::to_control(request);
    for (int i = 0; i < watches; ++i) {
        streams.push_back(co_await network.open(server, kWatchService));
        co_await streams.back()->write(control, ByteView());
    }
    try {
        co_await streams.back()->read();
    } catch (const Error& error) {
        co_return error.what();
    }
    co_return "";
}

TEST_F(RemoteDirectoryTest, AServerRefusesTooManyWatches) {
    ServiceLimits limits;
    limits.watches_per_client = 2;
    serve(servers_[0], directories_[0], limits);
    EXPECT_NE(run(watch_all(*client_.network, servers_[0].id, 3)).find("too many watches"),
              std::string::npos);
}

awaitable<void> send_garbage(net::Network& network, PeerId server, std::string service, Bytes bytes) {
    try {
        const net::StreamPointer stream = co_await network.open(server, service);
        co_await stream->write(bytes, ByteView());
        stream->finish();
        co_await stream->read();
    } catch (const Error&) {
    }
}

TEST_F(RemoteDirectoryTest, AServerBearsAnyBytes) {
    proto::PublishRequest valid;
    valid.set_key(std::string(as_text(kKey.bytes)));
    valid.set_record(std::string(as_text(encode_record(sign(client_.key)))));
    const Bytes original = net::to_control(valid);
    Random random(3);
    for (int i = 0; i < 600; ++i) {
        Bytes bytes = original;
        for (std::uint64_t changes = 1 + random.below(3); changes > 0; --changes)
            bytes[random.below(bytes.size())] ^= static_cast<std::uint8_t>(1 + random.below(255));
        if (i % 4 == 0) bytes.resize(random.below(bytes.size()));
        const char* service = i % 3 == 0 ? kPublishService : i % 3 == 1 ? kReadService : kWatchService;
        run(send_garbage(*client_.network, servers_[0].id, service, std::move(bytes)));
        world_.simulation().run_for(50ms);  // not to be refused for the number of calls
    }
    EXPECT_TRUE(read(*directories_[0]).empty());
    publish(*remote_, "still here");
    EXPECT_EQ(read(*directories_[0]), Values{"still here"});
}

TEST_F(RemoteDirectoryTest, WaitsNoLongerOnceItIsShutDown) {
    world_.internet().freeze(used().id);
    bool cancelled = false;
    const auto publishing = [&]() -> awaitable<void> {
        try {
            co_await remote_->publish("key", "", Bytes(1), 60s);
        } catch (const Error& error) {
            cancelled = error.kind() == ErrorKind::cancelled;
        }
    };
    world_.simulation().spawn(publishing());
    world_.simulation().run_for(10ms);
    remote_->shut_down();
    world_.simulation().run_for(10ms);
    EXPECT_TRUE(cancelled);
}

// --- where UDP gets no answer ---

/// Fails when the test says so.
class FailingDirectory final : public SignedDirectory {
  public:
    FailingDirectory(asio::any_io_executor executor, const sim::Peer& peer,
                     std::shared_ptr<SharedStore> store)
        : SignedDirectory(std::make_shared<KeyPair>(peer.key), *peer.clock),
          store_(std::move(executor), peer.key, *peer.clock, std::move(store)) {}
    bool fails = false;

    awaitable<void> publish_signed(KeyHash key, SignedRecord record) override {
        if (fails) throw Error(ErrorKind::timed_out, "nobody answers");
        co_await store_.publish_signed(key, std::move(record));
    }
    awaitable<std::vector<SignedRecord>> read_signed(KeyHash key) override {
        if (fails) throw Error(ErrorKind::timed_out, "nobody answers");
        co_return co_await store_.read_signed(key);
    }
    std::shared_ptr<void> watch_signed(KeyHash key, SignedWatcher watcher) override {
        return store_.watch_signed(key, std::move(watcher));
    }

  private:
    StoreDirectory store_;
};

class FallbackDirectoryTest : public RemoteDirectoryTest {
  protected:
    FallbackDirectoryTest() {
        own_store_ = std::make_shared<SharedStore>();
        FallbackParts parts;
        parts.own = own_ = std::make_shared<FailingDirectory>(world_.executor(), client_, own_store_);
        parts.neighbours = [this] { return own_neighbours_; };
        parts.remote = remote_;
        parts.signer = std::make_shared<KeyPair>(client_.key);
        directory_ = make_fallback_directory(world_.executor(), *client_.clock, std::move(parts), Log());
    }
    ~FallbackDirectoryTest() override { directory_->shut_down(); }

    std::shared_ptr<SharedStore> own_store_;
    std::shared_ptr<FailingDirectory> own_;
    std::size_t own_neighbours_ = 1;
    std::shared_ptr<FallbackDirectory> directory_;
};

TEST_F(FallbackDirectoryTest, NeedsNobodyWhileUdpIsAnswered) {
    world_.simulation().run_for(60s);
    publish(*directory_, "mine");
    EXPECT_FALSE(directory_->through());
    EXPECT_TRUE(read(*directories_[0]).empty());
}

TEST_F(FallbackDirectoryTest, GoesThroughAPeerWhenNobodyAnswersAndBackAgain) {
    Values seen;
    const auto token =
        directory_->watch("key", [&](const Record& record) { seen.emplace_back(as_text(record.value)); });
    publish(*directory_, "mine");
    publish(*directories_[0], "theirs");
    until([&] { return seen == Values{"mine"}; });
    own_neighbours_ = 0;
    until([&] { return seen == (Values{"mine", "theirs"}); });
    EXPECT_EQ(directory_->through(), remote_->server());
    until([&] { return read(*directories_[0]) == (Values{"mine", "theirs"}); });
    EXPECT_EQ(read(*directory_), (Values{"mine", "theirs"}));
    own_neighbours_ = 1;
    until([&] { return !directory_->through(); });
    publish(*directory_, "later");
    until([&] { return seen == (Values{"mine", "theirs", "later"}); });
}

TEST_F(FallbackDirectoryTest, AnErrorOfItsOwnKeepsNothingFromTheOtherPeer) {
    own_neighbours_ = 0;
    until([&] { return directory_->through().has_value(); });
    own_->fails = true;
    publish(*directory_, "mine");
    EXPECT_EQ(read(*directories_[0]), Values{"mine"});
    EXPECT_EQ(read(*directory_), Values{"mine"});
    own_neighbours_ = 1;
    until([&] { return !directory_->through(); });
    EXPECT_THROW(publish(*directory_, "alone"), Error) << "nobody else has it";
}

TEST_F(FallbackDirectoryTest, BearsAShortSilence) {
    own_neighbours_ = 0;
    world_.simulation().run_for(kFallbackPatience - 1s);
    own_neighbours_ = 1;
    world_.simulation().run_for(10s);
    EXPECT_FALSE(directory_->through());
}

TEST(ServerChoice, WhereNobodyHasUdpGoesToLowerIdsOnly) {
    sim::World world(1);
    const auto none = [] { return std::size_t{0}; };
    std::vector<sim::Peer> peers;
    for (int i = 0; i < 5; ++i) peers.push_back(world.add_peer());
    std::vector<std::shared_ptr<void>> tokens;
    std::vector<std::shared_ptr<RemoteDirectory>> remotes;
    const auto open = [&](net::Network& from, PeerId to) -> awaitable<void> {
        co_await from.open(to, "nothing");
    };
    for (sim::Peer& peer : peers) {
        auto directory = std::make_shared<StoreDirectory>(world.executor(), peer.key, *peer.clock,
                                                          std::make_shared<SharedStore>());
        tokens.push_back(serve_directory(peer.network, *peer.clock, directory, none));
        for (const sim::Peer& other : peers)
            if (peer.id < other.id) world.simulation().run(open(*peer.network, other.id));
        remotes.push_back(make_remote_directory(peer.network, *peer.clock,
                                                std::make_shared<KeyPair>(peer.key), true, Log()));
    }
    world.simulation().run_for(30s);
    const auto lowest = std::min_element(peers.begin(), peers.end(),
                                         [](const auto& a, const auto& b) { return a.id < b.id; });
    for (std::size_t i = 0; i < peers.size(); ++i) {
        if (peers[i].id == lowest->id)
            EXPECT_FALSE(remotes[i]->server());
        else
            EXPECT_EQ(remotes[i]->server(), lowest->id);
        remotes[i]->shut_down();
    }
    world.simulation().run_for(1s);
}

}  // namespace
}  // namespace shoal::dht
