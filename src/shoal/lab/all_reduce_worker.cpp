#include "shoal/lab/all_reduce_worker.h"

#include <asio/io_context.hpp>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <fmt/format.h>
#include <fstream>
#include <unistd.h>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/base/error.h"
#include "shoal/collective/averager.h"
#include "shoal/compress/codec.h"
#include "shoal/net/tcp_network.h"

namespace shoal::lab {

namespace {

using collective::ExpectedPeer;
using collective::RoundRequest;
using collective::Verdict;

constexpr const char* kExchange = "bench/exchange";

/// The peers of one run: who they are and where they listen, by rank.
struct Roster {
    std::vector<PeerId> peers;
    std::vector<net::Endpoint> endpoints;
};

class Worker {
  public:
    Worker(asio::io_context& context, const AllReduceWorkerOptions& options)
        : options_(options),
          key_(KeyPair::generate()),
          network_(make_network(context)),
          arrived_(context.get_executor()) {}

    awaitable<void> run() {
        roster_ = co_await meet();
        network_->set_resolver([this](PeerId peer) { return resolve(peer); });
        network_->serve(kExchange, [this](net::StreamPointer stream) { return drain(std::move(stream)); });
        averager_ =
            collective::make_averager(*network_, clock_, Random::from_entropy(), averager_settings(), Log());
        input_.resize(options_.elements);
        output_.resize(options_.elements);
        for (std::size_t i = 0; i < input_.size(); ++i)
            input_[i] = static_cast<float>(options_.rank) + static_cast<float>(i % 1000) * 1e-3f;
        for (int round = 0; round < options_.rounds; ++round) co_await measure(round);
        co_await barrier();
        co_await net::shut_down(network_);
    }

  private:
    std::shared_ptr<net::Network> make_network(asio::io_context& context) {
        net::NetworkSettings settings;
        settings.listen_host = "127.0.0.1";
        settings.encryption = options_.encrypted ? net::Encryption::tls : net::Encryption::none;
        settings.peer_timeout = std::chrono::seconds(20);  // a loaded machine is not what is measured here
        return net::make_tcp_network(context.get_executor(), clock_, key_, settings, Log());
    }

    collective::AveragerSettings averager_settings() const {
        collective::AveragerSettings settings;
        settings.run = "bench";
        settings.codec = options_.codec;
        settings.stall_timeout = std::chrono::seconds(20);
        settings.signer = std::make_shared<KeyPair>(key_);
        return settings;
    }

    /// Leaves this worker's address in the folder and waits for those of the others.
    awaitable<Roster> meet() {
        const auto own = options_.folder / std::to_string(options_.rank);
        const auto part = options_.folder / fmt::format("{}.part", options_.rank);
        std::ofstream(part) << network_->self().hex() << " 127.0.0.1:" << net::listen_port(*network_) << '\n';
        std::filesystem::rename(part, own);
        Roster roster;
        const TimePoint deadline = clock_.now() + std::chrono::minutes(1);
        for (int rank = 0; rank < options_.size; ++rank) {
            const auto file = options_.folder / std::to_string(rank);
            while (!std::filesystem::exists(file)) {
                if (clock_.now() > deadline)
                    throw Error(ErrorKind::timed_out, fmt::format("process {} did not start", rank));
                co_await clock_.sleep_for(std::chrono::milliseconds(2));
            }
            std::string id, endpoint;
            std::ifstream(file) >> id >> endpoint;
            roster.peers.push_back(PeerId::from_hex(id));
            roster.endpoints.push_back(net::Endpoint::parse(endpoint));
        }
        co_return roster;
    }

    awaitable<std::vector<net::Endpoint>> resolve(PeerId peer) {
        std::vector<net::Endpoint> found;
        for (std::size_t i = 0; i < roster_.peers.size(); ++i)
            if (roster_.peers[i] == peer) found.push_back(roster_.endpoints[i]);
        co_return found;
    }

    std::vector<ExpectedPeer> others() const {
        std::vector<ExpectedPeer> expected;
        for (const auto& peer : roster_.peers)
            if (peer != network_->self())
                expected.push_back({peer, collective::Role::full, clock_.now() + std::chrono::seconds(60)});
        return expected;
    }

    awaitable<Verdict> average(std::span<const float> input, std::span<float> output) {
        RoundRequest request;
        request.step = static_cast<Step>(next_step_++);
        request.contribution = input;
        request.result = output;
        request.weight = 1;
        request.expected = [this] { return others(); };
        Verdict verdict = co_await averager_->average(std::move(request));
        if (verdict.outcome != Verdict::Outcome::averaged ||
            verdict.contributors.size() != roster_.peers.size())
            throw Error(ErrorKind::system, "a round did not average all peers: " + verdict.cause);
        co_return verdict;
    }

    awaitable<void> barrier() {
        const float one = 1;
        float result = 0;
        const std::span<const float> input(&one, 1);
        const std::span<float> output(&result, 1);
        co_await average(input, output);
    }

    awaitable<void> measure(int round) {
        co_await barrier();
        const TimePoint start = clock_.now();
        const std::clock_t busy = std::clock();
        const Verdict verdict = co_await average(input_, output_);
        const double whole = seconds(clock_.now() - start);
        const double cpu = static_cast<double>(std::clock() - busy) / CLOCKS_PER_SEC;
        check();
        double pure = 0;
        if (options_.pure_transfer) {
            co_await barrier();
            pure = co_await exchange(round);
        }
        fmt::print("{:.6f} {:.6f} {:.6f} {:.6f} {:.6f} {:.6f}\n", whole, cpu, verdict.report.match_seconds,
                   verdict.report.reduce_seconds, verdict.report.vote_seconds, pure);
        std::fflush(stdout);
    }

    void check() const {
        const double tolerance = options_.codec == "fp32" ? 1e-4 : 0.05 * options_.size;
        for (std::size_t i = 0; i < output_.size(); i += 977) {
            const double expected = (options_.size - 1) / 2.0 + static_cast<double>(i % 1000) * 1e-3;
            if (!(std::abs(output_[i] - expected) <= tolerance))
                throw Error(ErrorKind::corrupted,
                            fmt::format("element {} is {}, not {}", i, output_[i], expected));
        }
    }

    /// What an all-reduce must move at the least: each peer sends a share to every other one, twice.
    awaitable<double> exchange(int round) {
        const auto codec = compress::make_codec(options_.codec);
        const std::size_t share =
            2 * codec->encoded_size(options_.elements) / static_cast<std::size_t>(options_.size);
        const TimePoint start = clock_.now();
        TaskGroup group(network_->executor());
        for (const auto& peer : roster_.peers)
            if (peer != network_->self()) group.spawn(send(peer, share));
        co_await group.join();
        while (arrivals_ < (round + 1) * (options_.size - 1)) co_await arrived_.wait();
        co_return seconds(clock_.now() - start);
    }

    awaitable<void> send(PeerId peer, std::size_t bytes) {
        auto stream = co_await network_->open(peer, kExchange);
        const Bytes buffer(std::min<std::size_t>(bytes, 262144));
        for (std::size_t sent = 0; sent < bytes; sent += buffer.size())
            co_await stream->write(ByteView(), ByteView(buffer).first(std::min(buffer.size(), bytes - sent)));
        stream->finish();
        while (true) {
            const auto message = co_await stream->read();
            if (!message) break;
        }
    }

    awaitable<void> drain(net::StreamPointer stream) {
        while (true) {
            const auto message = co_await stream->read();
            if (!message) break;
        }
        stream->finish();
        ++arrivals_;
        arrived_.notify();
    }

    AllReduceWorkerOptions options_;
    RealClock clock_;
    KeyPair key_;
    std::shared_ptr<net::Network> network_;
    std::shared_ptr<collective::Averager> averager_;
    Signal arrived_;
    int arrivals_ = 0;
    Roster roster_;
    std::vector<float> input_, output_;
    std::int64_t next_step_ = 0;
};

}  // namespace

void run_all_reduce_worker(const AllReduceWorkerOptions& options) {
    setsid();  // bench_all_reduce.h says why
    asio::io_context context(1);
    Worker worker(context, options);
    std::exception_ptr failure;
    asio::co_spawn(context, worker.run(), [&](std::exception_ptr error) {
        failure = std::move(error);
        context.stop();
    });
    context.run();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace shoal::lab
