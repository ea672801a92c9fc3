// A server of the directory that refuses, is silent, or answers nonsense, while its connection lives: it is
// left for another one, and what is watched moves along.
#include "dht/store_directory.h"

#include <gtest/gtest.h>
#include <shoal/proto/dht.pb.h>

#include "shoal/dht/directory_service.h"
#include "shoal/dht/remote_directory.h"
#include "shoal/dht/server_choice.h"
#include "shoal/net/rpc.h"
#include "shoal/sim/world.h"

namespace shoal::dht {
namespace {

using namespace std::chrono_literals;

constexpr Duration kMargin = 1s;  // for what travels

awaitable<net::Message> refuse(PeerId, net::Message) {
    throw Error(ErrorKind::refused, "not for you");
    co_return net::Message();
}

awaitable<void> refuse_stream(net::StreamPointer) {
    throw Error(ErrorKind::refused, "not for you");
    co_return;
}

class BadServerTest : public testing::Test {
  protected:
    BadServerTest() : client_(world_.add_peer()), servers_{world_.add_peer(), world_.add_peer()} {
        for (const sim::Peer& server : servers_) {
            serve(server);
            world_.simulation().run(open(server.id), 60s);
        }
        remote_ = make_remote_directory(client_.network, *client_.clock,
                                        std::make_shared<KeyPair>(client_.key), false, Log());
        until([&] { return remote_->server().has_value(); });
        bad_ = *remote_->server();
    }
    ~BadServerTest() override {
        remote_->shut_down();
        world_.simulation().run_for(1s);
    }

    void serve(const sim::Peer& server, ServiceLimits limits = {}) {
        tokens_[server.id].reset();
        const auto directory =
            std::make_shared<StoreDirectory>(world_.executor(), server.key, *server.clock, store_);
        tokens_[server.id] =
            serve_directory(server.network, *server.clock, directory, [] { return std::size_t{3}; }, limits);
    }
    awaitable<void> open(PeerId server) { co_await client_.network->open(server, "nothing"); }
    void until(const std::function<bool()>& condition, Duration patience = 60s) {
        EXPECT_TRUE(world_.simulation().run_until(condition, patience));
    }
    sim::Peer& bad() { return servers_[bad_ == servers_[0].id ? 0 : 1]; }
    bool has_left() const { return remote_->server() && *remote_->server() != bad_; }

    net::CallHandler silence() {
        return [this](PeerId, net::Message) -> awaitable<net::Message> {
            co_await client_.clock->sleep_for(24h);
            co_return net::Message();
        };
    }
    void answer(const char* service, net::CallHandler handler) {
        net::serve_calls(*bad().network, *bad().clock, service, std::move(handler));
    }
    void watch() {
        watching_ = remote_->watch(
            "key", [this](const Record& record) { ++seen_[std::string(as_text(record.value))]; });
    }
    void publish(const std::string& key, const std::string& value) {
        world_.simulation().run(remote_->publish(key, "", to_bytes(value), 300s), 60s);
    }
    /// Into what the servers share, by somebody else.
    void others_publish(const std::string& value) {
        const sim::Peer& server = servers_[0];
        StoreDirectory directory(world_.executor(), KeyPair::generate(), *server.clock, store_);
        world_.simulation().run(directory.publish("key", "", to_bytes(value), 300s), 60s);
    }

    sim::World world_{1};
    sim::Peer client_;
    std::vector<sim::Peer> servers_;
    std::shared_ptr<SharedStore> store_ = std::make_shared<SharedStore>();
    std::map<PeerId, std::shared_ptr<void>> tokens_;
    std::shared_ptr<RemoteDirectory> remote_;
    PeerId bad_;
    std::map<std::string, int> seen_;
    std::shared_ptr<void> watching_;
};

TEST_F(BadServerTest, IsLeftWhenItRefusesARecordThatAnotherOneTakes) {
    answer(kPublishService, refuse);
    publish("key", "mine");
    until([&] { return has_left(); }, kMargin);
    EXPECT_EQ(store_->records.read(KeyHash::of("key"), client_.clock->wall_now()).size(), 1U);
}

TEST_F(BadServerTest, IsLeftWhenItRefusesAReadThatAnotherOneAnswers) {
    others_publish("theirs");
    answer(kReadService, refuse);
    EXPECT_EQ(world_.simulation().run(remote_->read("key"), 60s).size(), 1U);
    until([&] { return has_left(); }, kMargin);
}

TEST_F(BadServerTest, IsLeftWhenItsAnswerCannotBeRead) {
    others_publish("theirs");
    const auto garble = [](PeerId, net::Message) -> awaitable<net::Message> {
        net::Message message(Bytes(100, 0xff));
        co_return message;
    };
    answer(kReadService, garble);
    EXPECT_EQ(world_.simulation().run(remote_->read("key"), 60s).size(), 1U);
    until([&] { return has_left(); }, kMargin);
}

TEST_F(BadServerTest, StaysWhenTheOtherOneRefusesAsWell) {
    ServiceLimits limits;
    limits.records_per_client = 1;
    for (const sim::Peer& server : servers_) serve(server, limits);
    for (const sim::Peer& server : servers_) {  // the bound is used up at both
        const SignedRecord record = sign_record(
            client_.key, KeyHash::of("first"), "", 1,
            std::chrono::floor<std::chrono::milliseconds>(client_.clock->wall_now()) + 60s, Bytes(1));
        proto::PublishRequest request;
        request.set_key(std::string(as_text(KeyHash::of("first").bytes)));
        request.set_record(std::string(as_text(encode_record(record))));
        *store_ = SharedStore();
        net::Message message(net::to_control(request));
        world_.simulation().run(net::call(*client_.network, *client_.clock, server.id, kPublishService,
                                          std::move(message), client_.clock->now() + 5s),
                                60s);
    }
    try {
        publish("key", "one too many");
        FAIL() << "should have been refused";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::refused);
    }
    EXPECT_EQ(remote_->server(), bad_) << "the fault is ours";
}

TEST_F(BadServerTest, IsLeftInTimeWhenItIsSilentThoughNobodyAsksItForAnything) {
    // It takes the watch on, and is silent ever after.
    bad().network->serve(kWatchService, [this](net::StreamPointer stream) -> awaitable<void> {
        co_await stream->write(ByteView(), ByteView());
        co_await client_.clock->sleep_for(24h);
    });
    watch();
    world_.simulation().run_for(1s);
    answer(kReadService, silence());
    answer(kPublishService, silence());
    others_publish("meanwhile");
    until([&] { return has_left(); }, kServerChange);
    until([&] { return seen_["meanwhile"] == 1; }, kMargin);
}

TEST_F(BadServerTest, IsLeftInTimeWhenItDoesNotAnswerACall) {
    answer(kPublishService, silence());
    const TimePoint begin = client_.clock->now();
    publish("key", "mine");
    EXPECT_LE(client_.clock->now() - begin, kServerTimeout + kAnswerTime + kMargin);
    until([&] { return has_left(); }, kMargin);
}

TEST_F(BadServerTest, IsLeftWithAllWatchesWhenItRefusesOne) {
    watch();
    others_publish("before");
    until([&] { return seen_["before"] == 1; });
    bad().network->serve(kWatchService, refuse_stream);
    int others = 0;
    const auto second = remote_->watch("key 2", [&](const Record&) { ++others; });
    until([&] { return has_left(); }, kAnswerTime + kMargin);
    tokens_[bad_].reset();
    publish("key", "after");
    publish("key 2", "after");
    until([&] { return seen_["after"] == 1 && others == 1; }, kMargin);
    EXPECT_EQ(seen_["before"], 1) << "what is known already is not told again";
}

TEST_F(BadServerTest, IsLeftWhenItDoesNotAcknowledgeAWatch) {
    bad().network->serve(kWatchService, [this](net::StreamPointer) -> awaitable<void> {
        co_await client_.clock->sleep_for(24h);
    });
    others_publish("theirs");
    watch();
    until([&] { return seen_["theirs"] == 1; }, kServerTimeout + kAnswerTime + kMargin);
    until([&] { return has_left(); }, kMargin);
}

TEST_F(BadServerTest, IsLeftWhenItEndsAWatchAtOnce) {
    bad().network->serve(kWatchService, [](net::StreamPointer stream) -> awaitable<void> {
        co_await stream->write(ByteView(), ByteView());
        stream->finish();
    });
    others_publish("theirs");
    watch();
    until([&] { return seen_["theirs"] == 1; }, kAnswerTime + kMargin);
    until([&] { return has_left(); }, kMargin);
}

TEST_F(BadServerTest, MovesItsWatchesWhenACallFindsItSilent) {
    // The watch goes on as if all were well, and tells nothing.
    bad().network->serve(kWatchService, [this](net::StreamPointer stream) -> awaitable<void> {
        co_await stream->write(ByteView(), ByteView());
        co_await client_.clock->sleep_for(24h);
    });
    watch();
    world_.simulation().run_for(1s);
    answer(kPublishService, silence());
    publish("key", "mine");
    until([&] { return seen_["mine"] == 1; }, kMargin);
}

TEST_F(BadServerTest, KeepsTheOnlyOneThereIsThoughItRefuses) {
    for (const sim::Peer& server : servers_)
        if (server.id != bad_) client_.network->disconnect(server.id, "test");
    answer(kPublishService, refuse);
    EXPECT_THROW(publish("key", "mine"), Error);
    EXPECT_EQ(remote_->server(), bad_);
}

TEST_F(BadServerTest, IsAvoidedLongerEachTime) {
    for (const sim::Peer& server : servers_)
        if (server.id != bad_) client_.network->disconnect(server.id, "test");
    const auto choice = std::make_shared<ServerChoice>(client_.network, *client_.clock, false, Log());
    choice->start();
    for (const Duration rejection : {kRejection, 2 * kRejection, 4 * kRejection, 8 * kRejection,
                                     16 * kRejection, kLongestRejection, kLongestRejection}) {
        until([&] { return choice->server() == bad_; });
        choice->reject(bad_);
        choice->reject(bad_);  // the same fault, found twice
        world_.simulation().run_for(rejection - 1s);
        EXPECT_FALSE(choice->server());
        world_.simulation().run_for(1s + kLookAgain + kMargin);
        EXPECT_EQ(choice->server(), bad_);
    }
    choice->stop();
}

}  // namespace
}  // namespace shoal::dht
