#include "shoal/lab/all_reduce_worker.h"

#include <asio/io_context.hpp>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fmt/format.h>
#include <sstream>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

#include "shoal/base/async.h"
#include "shoal/base/error.h"
#include "shoal/base/run_until.h"
#include "shoal/collective/averager.h"
#include "shoal/compress/codec.h"
#include "shoal/lab/rendezvous.h"
#include "shoal/net/tcp_network.h"

namespace shoal::lab {

namespace {

using collective::ExpectedPeer;
using collective::RoundRequest;
using collective::Verdict;

constexpr const char* kExchange = "bench/exchange";
constexpr std::size_t kProbeBytes = 4 << 20;  // to each other process

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
        roster_ = co_await find_others();
        network_->set_resolver([this](PeerId peer) { return resolve(peer); });
        network_->serve(kExchange, [this](net::StreamPointer stream) { return drain(std::move(stream)); });
        averager_ =
            collective::make_averager(*network_, clock_, Random::from_entropy(), averager_settings(), Log());
        input_.resize(options_.elements);
        output_.resize(options_.elements);
        for (std::size_t i = 0; i < input_.size(); ++i)
            input_[i] = static_cast<float>(options_.rank) + static_cast<float>(i % 1000) * 1e-3f;
        measure_alone();
        co_await measure_line();
        for (int round = 0; round < options_.rounds; ++round) co_await measure();
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

    awaitable<Roster> find_others() {
        const std::string word =
            fmt::format("{} 127.0.0.1:{}", network_->self().hex(), net::listen_port(*network_));
        const auto words = co_await meet(clock_, options_.folder, options_.rank, options_.size, word);
        Roster roster;
        for (const std::string& of_peer : words) {
            std::string id, endpoint;
            std::istringstream(of_peer) >> id >> endpoint;
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

    awaitable<void> measure() {
        co_await barrier();
        const TimePoint start = clock_.now();
        const double busy = cpu_seconds(), in_kernel = system_seconds();
        const Verdict verdict = co_await average(input_, output_);
        const double whole = seconds(clock_.now() - start);
        const double cpu = cpu_seconds() - busy, system = system_seconds() - in_kernel;
        check();
        double pure = 0;
        if (options_.pure_transfer) {
            co_await barrier();
            pure = co_await exchange(share_bytes());
        }
        fmt::print("{:.6f} {:.6f} {:.6f} {:.6f} {:.6f} {:.6f} {:.6f} {:.6f} {:.6f} {:.6e}\n", whole, cpu,
                   verdict.report.match_seconds, verdict.report.reduce_seconds, verdict.report.vote_seconds,
                   pure, system, adding_, copying_, memory_rate_);
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

    /// As a newcomer's probe does in a run: how much the line carries.
    awaitable<void> measure_line() {
        const auto others = static_cast<double>(options_.size - 1);
        co_await exchange(kProbeBytes);  // connects
        const double took = co_await exchange(kProbeBytes);
        const double rate = others * static_cast<double>(kProbeBytes) / took;
        averager_->observe_line(rate, rate);
    }

    /// What adding and copying of a round take by themselves, in pieces of a chunk, as a round does them: a
    /// full peer adds its share of every member's vector; it copies all that arrives into messages, and the
    /// results of others into place.
    void measure_alone() {
        const auto codec = compress::make_codec(options_.codec);
        const std::size_t chunk = std::min<std::size_t>(options_.elements, 65536);
        const std::size_t granularity = codec->granularity();
        const std::size_t piece = std::max(granularity, chunk / granularity * granularity);
        const std::vector<float> values(piece, 1.0f);
        std::vector<float> sum(piece);
        Bytes encoded = codec->encode(values);
        const auto members = static_cast<double>(options_.size);
        const double adding = seconds_of([&] { codec->decode_scaled_add(encoded, 0.5f, sum); });
        adding_ = adding / static_cast<double>(piece) * static_cast<double>(options_.elements);
        const double vector_bytes = static_cast<double>(codec->encoded_size(options_.elements));
        const double passes = 2 * (members - 1) / members + (members - 1) / members;
        // Over the whole vector, as the copies of a round are.
        const std::size_t bytes = options_.elements * sizeof(float);
        const double copying = seconds_of([&] { std::memcpy(output_.data(), input_.data(), bytes); });
        memory_rate_ = static_cast<double>(bytes) / copying;
        copying_ = vector_bytes * passes / memory_rate_;
    }

    /// Of one call, in processor time.
    static double seconds_of(const std::function<void()>& work) {
        constexpr double kLongEnough = 0.02;
        work();  // memory is there, and in the cache what fits
        for (int calls = 1;; calls *= 2) {
            const double start = cpu_seconds();
            for (int i = 0; i < calls; ++i) work();
            const double took = cpu_seconds() - start;
            if (took >= kLongEnough) return took / calls;
        }
    }

    static double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

    static double system_seconds() {
        rusage usage{};
        getrusage(RUSAGE_SELF, &usage);
        return static_cast<double>(usage.ru_stime.tv_sec) +
               1e-6 * static_cast<double>(usage.ru_stime.tv_usec);
    }

    /// What an all-reduce must move at the least: each peer sends a share to every other one, twice.
    std::size_t share_bytes() const {
        const auto codec = compress::make_codec(options_.codec);
        return 2 * codec->encoded_size(options_.elements) / static_cast<std::size_t>(options_.size);
    }

    /// Sends so many bytes to everybody, takes as many from each, and says how long that took.
    awaitable<double> exchange(std::size_t bytes) {
        const TimePoint start = clock_.now();
        TaskGroup group(network_->executor());
        for (const auto& peer : roster_.peers)
            if (peer != network_->self()) group.spawn(send(peer, bytes));
        co_await group.join();
        ++exchanges_;
        while (arrivals_ < exchanges_ * (options_.size - 1)) co_await arrived_.wait();
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
    int exchanges_ = 0, arrivals_ = 0;
    double adding_ = 0, copying_ = 0, memory_rate_ = 0;  // RoundFigures has the meanings
    Roster roster_;
    std::vector<float> input_, output_;
    std::int64_t next_step_ = 0;
};

}  // namespace

void run_all_reduce_worker(const AllReduceWorkerOptions& options) {
    setsid();  // all_reduce_contestants.h says why
    asio::io_context context(1);
    Worker worker(context, options);
    run_until_ended(context, worker.run());
}

}  // namespace shoal::lab
