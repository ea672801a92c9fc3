// Real processes that average over real sockets (peer/fault_peer.cpp), started, watched and harmed by a test.
#pragma once

#include "collective/middleman.h"
#include "collective/plain_average.h"
#include "collective/test_vector.h"

#include <asio/local/stream_protocol.hpp>
#include <asio/read_until.hpp>
#include <csignal>
#include <deque>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <sstream>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace shoal::collective {

/// Only a hang takes so long, however busy the machine.
inline constexpr std::chrono::seconds kRealPatience(100);

/// A verdict as a peer has said it.
struct RealVerdict {
    std::int64_t step = 0, wall_seconds = 0;
    unsigned attempt = 0;
    std::string outcome, members, lost;  ///< peers by number: "0234"
    std::string digest, contribution, result, cause;
};

/// One child process. It dies with the test.
class RealPeer {
  public:
    RealPeer(asio::io_context& context, std::size_t index, const std::string& roles, std::size_t elements)
        : index_(index), socket_(context) {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
            throw std::runtime_error("socketpair");
        const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe");
        const std::string program = (self.parent_path() / "fault_peer").string();
        std::vector<std::string> words{program, std::to_string(index), roles, std::to_string(elements)};
        std::vector<char*> arguments;
        for (std::string& word : words) arguments.push_back(word.data());
        arguments.push_back(nullptr);
        process_ = ::fork();
        if (process_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (::dup2(ends[1], 3) != 3) ::_exit(126);
            ::execv(program.c_str(), arguments.data());
            ::_exit(127);
        }
        ::close(ends[1]);
        socket_.assign(asio::local::stream_protocol(), ends[0]);
        asio::co_spawn(context, listen(*this), [this](const std::exception_ptr&) { ended_ = true; });
    }
    ~RealPeer() { kill(); }
    RealPeer(const RealPeer&) = delete;
    RealPeer& operator=(const RealPeer&) = delete;

    void say(const std::string& line) {
        asio::error_code ignored;  // it may just have been killed
        asio::write(socket_, asio::buffer(line + "\n"), ignored);
    }
    void signal(int number) const { ::kill(process_, number); }
    void kill() {
        if (killed_) return;
        signal(SIGKILL);
        int status = 0;
        ::waitpid(process_, &status, 0);
        killed_ = true;
    }
    /// True if it has stopped itself since the last call; does not wait.
    bool has_stopped() const {
        int status = 0;
        return ::waitpid(process_, &status, WNOHANG | WUNTRACED) == process_ && WIFSTOPPED(status);
    }

    bool ended() const { return ended_; }
    std::uint16_t port() const { return port_; }
    bool has_port() const { return has_port_; }
    bool struck() const { return struck_; }
    std::int64_t over() const { return over_; }  ///< the last step that it is done with
    bool cancelled() const { return cancelled_; }
    const std::vector<RealVerdict>& verdicts() const { return verdicts_; }
    const RealVerdict* last(std::int64_t step) const {
        for (auto verdict = verdicts_.rbegin(); verdict != verdicts_.rend(); ++verdict)
            if (verdict->step == step) return &*verdict;
        return nullptr;
    }

  private:
    static awaitable<void> listen(RealPeer& self) {
        std::string buffer;
        auto place = asio::dynamic_buffer(buffer);
        for (;;) {
            const std::size_t length =
                co_await asio::async_read_until(self.socket_, place, '\n', asio::use_awaitable);
            std::istringstream words(buffer.substr(0, length - 1));
            buffer.erase(0, length);
            self.hear(words);
        }
    }

    void hear(std::istringstream& words) {
        std::string word;
        words >> word;
        if (word == "port") {
            words >> port_;
            has_port_ = true;
        } else if (word == "struck") {
            struck_ = true;
        } else if (word == "over") {
            words >> over_;
        } else if (word == "error") {
            std::string text;
            std::getline(words, text);
            cancelled_ = text.find("cancelled") != std::string::npos;
            EXPECT_TRUE(cancelled_) << "peer " << index_ << ":" << text;
        } else if (word == "verdict") {
            RealVerdict verdict;
            words >> verdict.step >> verdict.attempt >> verdict.outcome >> verdict.wall_seconds;
            for (std::string* field :
                 {&verdict.members, &verdict.lost, &verdict.digest, &verdict.contribution, &verdict.result}) {
                words >> *field;
                field->erase(0, field->find('=') + 1);
            }
            std::getline(words, verdict.cause);
            verdicts_.push_back(std::move(verdict));
        }
    }

    std::size_t index_;
    asio::local::stream_protocol::socket socket_;
    pid_t process_ = -1;
    bool killed_ = false, ended_ = false, has_port_ = false, struck_ = false, cancelled_ = false;
    std::uint16_t port_ = 0;
    std::int64_t over_ = 0;
    std::vector<RealVerdict> verdicts_;
};

class RealSwarm {
  public:
    /// @param between  with a Middleman in each connection
    RealSwarm(std::vector<std::string> roles, std::size_t elements, bool between) : roles_(std::move(roles)) {
        std::string all;
        for (const std::string& role : roles_) all += (all.empty() ? "" : ",") + role;
        for (std::size_t i = 0; i < roles_.size(); ++i) {
            peers_.emplace_back(context_, i, all, elements);
            if (roles_[i] != "auxiliary")
                vectors_.push_back(test_vector(elements, kVectorSeed + i));
            else
                vectors_.emplace_back();
        }
        wait("all to listen", [this] {
            for (const RealPeer& peer : peers_)
                if (!peer.has_port()) return false;
            return true;
        });
        for (std::size_t i = 0; i < peers_.size(); ++i) introduce(i, between);
    }

    RealPeer& operator[](std::size_t index) { return peers_[index]; }
    std::size_t size() const { return peers_.size(); }

    /// Runs until the condition holds; fails the test if that takes too long.
    bool wait(const std::string& what, const std::function<bool()>& condition) {
        const auto deadline = std::chrono::steady_clock::now() + kRealPatience;
        while (!condition()) {
            if (std::chrono::steady_clock::now() > deadline) {
                ADD_FAILURE() << "waited too long for " << what << "\n" << story();
                return false;
            }
            context_.restart();
            context_.run_one_for(std::chrono::milliseconds(20));
        }
        return true;
    }

    void start(std::int64_t step, const std::string& who) {
        for (const char c : who) peers_[number(c)].say(fmt::format("round {}", step));
    }
    /// As the records of the others would tell them.
    void tell_past(std::int64_t step, const std::string& who) {
        for (const char c : who) peers_[number(c)].say(fmt::format("past {}", step));
    }
    bool wait_until_over(std::int64_t step, const std::string& who) {
        return wait(fmt::format("step {} to be over for {}", step, who), [this, step, who] {
            return std::all_of(who.begin(), who.end(),
                               [&](char c) { return peers_[number(c)].over() >= step; });
        });
    }
    bool wait_until_stopped(std::size_t peer) {
        return wait(fmt::format("peer {} to stop", peer), [&] { return peers_[peer].has_stopped(); });
    }

    /// Between two peers, whoever dialled: each way that leads from one to the other.
    void on_way(std::size_t from, std::size_t to,
                const std::function<void(Middleman&, Middleman::Way)>& action) {
        if (const auto found = between_.find({from, to}); found != between_.end())
            action(*found->second, Middleman::there);
        if (const auto found = between_.find({to, from}); found != between_.end())
            action(*found->second, Middleman::back);
    }

    /// All members of a round that have a verdict have the same; who has an average, has that of the members
    /// named, bit by bit; nobody's contribution has changed.
    void expect_one_verdict(std::int64_t step) {
        std::map<std::pair<std::string, unsigned>, const RealVerdict*> rounds;
        const RealVerdict* averaged = nullptr;
        for (std::size_t i = 0; i < peers_.size(); ++i) {
            for (const RealVerdict& verdict : peers_[i].verdicts()) {
                EXPECT_EQ(verdict.contribution, text_of(vectors_[i])) << i;
                if (verdict.step != step || verdict.outcome == "cut_off" || verdict.members.empty()) continue;
                const auto [first, is_new] = rounds.try_emplace({verdict.members, verdict.attempt}, &verdict);
                expect_same(*first->second, verdict);
                if (verdict.outcome != "averaged") continue;
                if (averaged != nullptr) expect_same(*averaged, verdict);
                averaged = &verdict;
                if (!vectors_[i].empty()) {
                    EXPECT_EQ(verdict.result, average_of(verdict.members)) << i;
                }
            }
        }
    }

    std::string average_of(const std::string& members) {
        std::string& known = averages_[members];
        if (!known.empty()) return known;
        std::vector<std::pair<PeerId, std::size_t>> order;
        for (const char c : members) order.emplace_back(test_key(number(c)).peer_id(), number(c));
        std::sort(order.begin(), order.end());
        std::vector<WeightedVector> contributions;
        for (const auto& [id, peer] : order)
            contributions.push_back({vectors_[peer].empty() ? 0 : test_weight(peer), vectors_[peer]});
        return known = text_of(plain_average(contributions, "fp32"));
    }

    std::string story() const {
        std::string text;
        for (std::size_t i = 0; i < peers_.size(); ++i) {
            text += fmt::format("peer {}{}{}, done with step {}\n", i, peers_[i].struck() ? ", struck" : "",
                                peers_[i].ended() ? ", ended" : "", peers_[i].over());
            for (const RealVerdict& verdict : peers_[i].verdicts())
                text += fmt::format("    step {} attempt {}: {} members={} lost={}{}\n", verdict.step,
                                    verdict.attempt, verdict.outcome, verdict.members, verdict.lost,
                                    verdict.cause);
        }
        return text;
    }

  private:
    static std::size_t number(char c) { return static_cast<std::size_t>(c - '0'); }

    void introduce(std::size_t peer, bool between) {
        std::string book = "book";
        for (std::size_t other = 0; other < peers_.size(); ++other) {
            std::uint16_t port = other == peer ? 0 : peers_[other].port();
            if (port != 0 && between) {
                auto& middleman = between_[{peer, other}];
                middleman = std::make_unique<Middleman>(context_, port);
                port = middleman->port();
            }
            book += fmt::format(" {}", port);
        }
        peers_[peer].say(book);
    }

    static void expect_same(const RealVerdict& a, const RealVerdict& b) {
        EXPECT_EQ(a.outcome, b.outcome) << a.cause << " / " << b.cause;
        EXPECT_EQ(a.cause, b.cause);
        EXPECT_EQ(a.lost, b.lost);
        EXPECT_EQ(a.members, b.members);
        EXPECT_EQ(a.attempt, b.attempt);
        EXPECT_EQ(a.digest, b.digest);
    }

    asio::io_context context_;
    std::vector<std::string> roles_;
    std::deque<RealPeer> peers_;
    std::vector<std::vector<float>> vectors_;
    std::map<std::pair<std::size_t, std::size_t>, std::unique_ptr<Middleman>> between_;
    std::map<std::string, std::string> averages_;
};

}  // namespace shoal::collective
