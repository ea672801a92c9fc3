// A peer for tests with real processes (real_peers.h): it averages over real sockets as its parent says, and
// meets the fault that its parent has chosen, at the byte or phase that its parent has chosen.
//
//     fault_peer INDEX ROLE,ROLE,... ELEMENTS
//
// Lines of the parent, on descriptor 3:             what it says there:
//   book PORT PORT ...     where it dials the others    port PORT
//   fault AT AFTER ACT MS  arms one (below)             struck ACT
//   round STEP             averages, and tries again    verdict ... after each attempt, over STEP at the end
//                          while a round has failed
//   past STEP              the others have taken that step
//   cancel                 gives the round up
// AT is sending, reducing or taking, AFTER so many bytes; or match, send, reduce or vote, the phase that
// begins. ACT is kill, stop, cut, cancel, pause (for MS), or jump (of the wall clock, by MS).
#include "collective/fault_matrix.h"
#include "collective/struck_network.h"
#include "collective/test_vector.h"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/read_until.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <atomic>
#include <csignal>
#include <ctime>
#include <fmt/format.h>
#include <iostream>
#include <map>
#include <sstream>
#include <sys/syscall.h>
#include <unistd.h>

#include "shoal/base/async.h"
#include "shoal/base/error.h"
#include "shoal/net/tcp_network.h"

namespace {
/// What this process believes the wall clock to be ahead.
std::atomic<std::int64_t> wall_clock_jump{0};  // nanoseconds
}  // namespace

/// Takes the place of the C library's, for all code of this process: so the wall clock of this machine stays
/// as it is.
extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
    const long result = ::syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && clock == CLOCK_REALTIME) {
        const std::int64_t now = time->tv_sec * 1'000'000'000 + time->tv_nsec + wall_clock_jump.load();
        time->tv_sec = now / 1'000'000'000;
        time->tv_nsec = now % 1'000'000'000;
    }
    return static_cast<int>(result);
}

namespace shoal::collective {
namespace {

using Lines = asio::local::stream_protocol::socket;

constexpr Duration kAllAreReadyWithin = std::chrono::minutes(2);  // of a busy machine; they come at once

class FaultPeer {
  public:
    FaultPeer(std::size_t index, std::vector<Role> roles, std::size_t elements)
        : index_(index),
          roles_(std::move(roles)),
          ports_(roles_.size(), 0),
          parent_(context_, asio::local::stream_protocol(), 3),
          key_(std::make_shared<KeyPair>(test_key(index))) {
        net::NetworkSettings settings;
        settings.listen_host = "127.0.0.1";
        settings.accept_connections = roles_[index] != Role::client;
        real_ = net::make_tcp_network(context_.get_executor(), clock_, *key_, settings, Log());
        real_->set_resolver([this](PeerId id) { return find(*this, id); });
        watching_ = real_->observe([this](const PeerId& peer, bool up, const std::string&) {
            if (up)
                gone_.erase(peer);
            else
                gone_[peer] = clock_.now();
        });
        strike_->disarm();  // nothing is armed yet
        network_ = struck(real_, strike_, clock_);
        AveragerSettings averaging;
        averaging.run = "faults";
        averaging.codec = "fp32";
        averaging.role = roles_[index];
        averaging.chunk_elements = matrix::kChunkElements;
        averaging.signer = key_;
        averaging.probe = [this](Phase phase, Step) {
            if (to_string(phase) == phase_) strike();
        };
        averager_ = make_averager(*network_, clock_, Random(index), averaging, Log());
        if (roles_[index] == Role::auxiliary) return;
        contribution_ = test_vector(elements, kVectorSeed + index);
        result_.resize(elements);
    }

    void run() {
        say(fmt::format("port {}", roles_[index_] == Role::client ? 0 : net::listen_port(*real_)));
        asio::co_spawn(context_, obey(*this), [this](const std::exception_ptr&) { context_.stop(); });
        context_.run();
    }

  private:
    void say(const std::string& line) { asio::write(parent_, asio::buffer(line + "\n")); }

    static awaitable<void> obey(FaultPeer& self) {
        std::string buffer;
        auto place = asio::dynamic_buffer(buffer);
        for (;;) {
            const std::size_t length =
                co_await asio::async_read_until(self.parent_, place, '\n', asio::use_awaitable);
            std::istringstream words(buffer.substr(0, length));
            buffer.erase(0, length);
            self.obey(words);
        }
    }

    void obey(std::istringstream& words) {
        std::string word;
        words >> word;
        if (word == "book") {
            for (std::uint16_t& port : ports_) words >> port;
        } else if (word == "fault") {
            arm(words);
        } else if (word == "round") {
            std::int64_t step = 0;
            words >> step;
            begin(static_cast<Step>(step), 0, {});
        } else if (word == "past") {
            words >> past_;
        } else if (word == "cancel") {
            cancel_.emit(asio::cancellation_type::terminal);
        }
    }

    void arm(std::istringstream& words) {
        std::string at;
        std::int64_t milliseconds = 0;
        *strike_ = Strike();
        phase_.clear();
        words >> at >> strike_->after >> act_ >> milliseconds;
        pause_ = std::chrono::milliseconds(milliseconds);
        if (at == "sending" || at == "reducing" || at == "taking") {
            strike_->part = at == "sending"    ? Part::sending
                            : at == "reducing" ? Part::reducing
                                               : Part::taking;
            if (act_ == "pause") strike_->pause = pause_;
            strike_->act = [this] { strike(); };
        } else {
            strike_->disarm();  // not by bytes
            phase_ = at;
        }
    }

    void strike() {
        phase_.clear();
        say("struck " + act_);
        if (act_ == "kill") std::raise(SIGKILL);
        if (act_ == "stop") std::raise(SIGSTOP);
        if (act_ == "jump") wall_clock_jump = pause_.count();
        if (act_ == "cut")
            for (const auto& connection : real_->connections())
                real_->disconnect(connection.peer, "cut by the test");
        if (act_ == "cancel")
            asio::post(context_, [this] { cancel_.emit(asio::cancellation_type::terminal); });
    }

    void begin(Step step, unsigned attempt, std::vector<PeerId> excluded) {
        RoundRequest request;
        request.step = step;
        request.attempt = attempt;
        request.contribution = contribution_;
        request.result = result_;
        if (!contribution_.empty()) request.tensors = tensors_of(contribution_.size());
        request.weight = contribution_.empty() ? 0 : test_weight(index_);
        request.excluded = std::move(excluded);
        request.is_over = [this, step] { return past_ >= value(step); };
        request.expected = [this, ready_by = clock_.now() + kAllAreReadyWithin] {
            return expected(ready_by);
        };
        asio::co_spawn(context_, averager_->average(std::move(request)),
                       asio::bind_cancellation_slot(
                           cancel_.slot(), [this, step](const std::exception_ptr& error, Verdict verdict) {
                               ended(step, error, verdict);
                           }));
    }

    static std::span<const std::size_t> tensors_of(std::size_t elements) {
        return elements == matrix::kElements ? std::span<const std::size_t>(matrix::kTensors)
                                             : std::span<const std::size_t>();
    }

    /// As training does: whose connection broke is not waited for, but counts where most are asked for.
    std::vector<ExpectedPeer> expected(TimePoint ready_by) const {
        std::vector<ExpectedPeer> all;
        for (std::size_t i = 0; i < roles_.size(); ++i) {
            const PeerId peer = test_key(i).peer_id();
            const auto gone = gone_.find(peer);
            if (i != index_) all.push_back({peer, roles_[i], gone == gone_.end() ? ready_by : gone->second});
        }
        return all;
    }

    void ended(Step step, const std::exception_ptr& error, const Verdict& verdict) {
        if (error) {
            say(fmt::format("error {}", describe(error)));
        } else {
            const bool cut_off = verdict.outcome == Verdict::Outcome::cut_off;
            const std::string outcome = cut_off ? "cut_off" : std::string(to_string(verdict.outcome));
            std::string members, lost;
            for (std::size_t i = 0; i < roles_.size(); ++i) {
                const PeerId peer = test_key(i).peer_id();
                for (const Contributor& contributor : verdict.contributors)
                    if (contributor.peer == peer) members += std::to_string(i);
                for (const PeerId& one : verdict.lost)
                    if (one == peer) lost += std::to_string(i);
            }
            const auto wall = clock_.wall_now().time_since_epoch() / std::chrono::seconds(1);
            say(fmt::format("verdict {} {} {} {} members={} lost={} digest={} contribution={} result={} {}",
                            value(step), verdict.attempt, outcome, wall, members, lost, verdict.digest.hex(),
                            text_of(contribution_), text_of(result_), verdict.cause));
            if (verdict.outcome == Verdict::Outcome::failed && verdict.attempt < 10)
                return begin(step, verdict.attempt + 1, verdict.lost);
        }
        say(fmt::format("over {}", value(step)));
    }

    static awaitable<std::vector<net::Endpoint>> find(FaultPeer& self, PeerId id) {
        std::vector<net::Endpoint> found;
        for (std::size_t i = 0; i < self.ports_.size(); ++i) {
            if (self.ports_[i] == 0 || test_key(i).peer_id() != id) continue;
            net::Endpoint endpoint;
            endpoint.host = "127.0.0.1";
            endpoint.port = self.ports_[i];
            found.push_back(endpoint);
        }
        co_return found;
    }

    asio::io_context context_;
    RealClock clock_;
    std::size_t index_;
    std::vector<Role> roles_;
    std::vector<std::uint16_t> ports_;
    Lines parent_;
    std::shared_ptr<KeyPair> key_;
    std::shared_ptr<Strike> strike_ = std::make_shared<Strike>();
    std::string phase_, act_;
    std::int64_t past_ = 0;
    Duration pause_{0};
    std::map<PeerId, TimePoint> gone_;
    std::shared_ptr<net::Network> real_, network_;
    std::shared_ptr<void> watching_;
    std::shared_ptr<Averager> averager_;
    std::vector<float> contribution_, result_;
    asio::cancellation_signal cancel_;
};

int run_fault_peer(int count, char** words) {
    if (count != 4) return std::cerr << "usage: fault_peer INDEX ROLE,ROLE,... ELEMENTS\n", 2;
    std::vector<Role> roles;
    std::istringstream names(words[2]);
    for (std::string name; std::getline(names, name, ',');)
        roles.push_back(name == "client" ? Role::client : name == "auxiliary" ? Role::auxiliary : Role::full);
    FaultPeer(std::stoul(words[1]), roles, std::stoul(words[3])).run();
    return 0;
}

}  // namespace
}  // namespace shoal::collective

int main(int count, char** words) {
    return shoal::collective::run_fault_peer(count, words);
}
