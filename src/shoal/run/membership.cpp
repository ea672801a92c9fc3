#include "shoal/run/membership.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>
#include <vector>

namespace shoal::run {

using namespace std::chrono_literals;

namespace {

constexpr Duration kOutnumbered = 3s;   ///< for so long, until it is believed
constexpr Duration kUndecided = 5s;     ///< at most, for somebody to be reached
constexpr Duration kEstablished = 10s;  ///< after the first step
constexpr std::size_t kMaximumRefusals = 8192;

}  // namespace

std::optional<std::string> differing_setting(std::string_view error) {
    const std::size_t begin = error.find("the run's ");
    if (begin == std::string_view::npos) return std::nullopt;
    error.remove_prefix(begin);
    if (error.find(" differs: ours ") == std::string_view::npos) return std::nullopt;
    // Further addresses of the same peer follow after it.
    return std::string(error.substr(0, error.find("; ")));
}

/// Hands everything on, and tells of streams that could not be opened.
class Membership::Watched final : public net::Network {
  public:
    Watched(net::Network& inner, Membership& owner) : inner_(inner), owner_(owner) {}

    const PeerId& self() const override { return inner_.self(); }
    asio::any_io_executor executor() const override { return inner_.executor(); }
    awaitable<net::StreamPointer> open(PeerId peer, std::string service) override {
        try {
            co_return co_await inner_.open(peer, std::move(service));
        } catch (const Error& error) {
            owner_.note(peer, error.what());
            throw;
        }
    }
    void serve(std::string service, net::StreamHandler handler, net::Audience audience) override {
        inner_.serve(std::move(service), std::move(handler), audience);
    }
    awaitable<PeerId> dial(net::Endpoint endpoint) override { return inner_.dial(std::move(endpoint)); }
    std::vector<net::ConnectionInfo> connections() const override { return inner_.connections(); }
    bool is_connected(const PeerId& peer) const override { return inner_.is_connected(peer); }
    std::shared_ptr<void> observe(Observer observer) override { return inner_.observe(std::move(observer)); }
    void disconnect(const PeerId& peer, const std::string& reason) override {
        inner_.disconnect(peer, reason);
    }
    void mark_useful(const PeerId& peer) override { inner_.mark_useful(peer); }
    void set_resolver(net::AddressResolver resolver) override { inner_.set_resolver(std::move(resolver)); }

  private:
    net::Network& inner_;
    Membership& owner_;
};

Membership::Membership(net::Network& network, Clock& clock, std::string run, Log log)
    : clock_(clock),
      run_(std::move(run)),
      log_(std::move(log)),
      network_(std::make_shared<Watched>(network, *this)) {
    observing_ = network.observe([this](const PeerId& peer, bool connected, const std::string&) {
        if (connected) refusals_.erase(peer);
        tell();
    });
}

Membership::~Membership() = default;

net::Network& Membership::network() {
    return *network_;
}

void Membership::watch(collective::ProgressTracker& progress) {
    progress_ = &progress;
}

void Membership::note(const PeerId& peer, const std::string& error) {
    const auto setting = differing_setting(error);
    if (!setting) return;
    const auto known = refusals_.find(peer);
    if (known == refusals_.end() && refusals_.size() >= kMaximumRefusals) return;
    if (known == refusals_.end() || known->second != *setting)
        log_.warning("peer " + peer.short_name() + " of run '" + run_ + "' does not agree: " + *setting);
    refusals_[peer] = *setting;
    tell();
}

void Membership::tell() {
    if (progress_) progress_->changed().notify();
}

std::size_t Membership::accepting() const {
    std::size_t count = 0;
    for (const collective::Progress& peer : progress_->peers())
        count += peer.peer != network_->self() && network_->is_connected(peer.peer) ? 1 : 0;
    return count;
}

std::size_t Membership::refusing() const {
    std::size_t count = 0;
    for (const collective::Progress& peer : progress_->peers())
        count += refusals_.contains(peer.peer) && !network_->is_connected(peer.peer) ? 1 : 0;
    return count;
}

bool Membership::is_outnumbered() const {
    // Who trains already has a say of its own.
    return refusing() > accepting() + (first_step_ ? 1 : 0);
}

bool Membership::is_undecided() const {
    return progress_->peers().size() > 1 && accepting() == 0 && refusing() == 0;
}

bool Membership::is_established() const {
    return first_step_ && clock_.now() >= *first_step_ + kEstablished;
}

void Membership::took_step() {
    if (!first_step_) first_step_ = clock_.now();
}

void Membership::end() {
    ended_ = true;
    tell();
}

awaitable<void> Membership::until_change(TimePoint deadline) {
    awaitable<void> news = progress_->changed().wait();
    co_await shoal::detail::ends_in_time(clock_, deadline, std::move(news));
}

/// What most of them say.
std::string Membership::verdict() const {
    std::map<std::string, std::size_t> votes;
    for (const auto& [peer, setting] : refusals_) ++votes[setting];
    const auto most = std::max_element(votes.begin(), votes.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    const std::size_t against = refusing(), in_favour = accepting();
    return fmt::format(
        "{} (run '{}': {} peer{} refuse{} this one for its settings, {} accept{} it). Take the run's own run "
        "file, or give this run another name",
        most->first, run_, against, against == 1 ? "" : "s", against == 1 ? "s" : "", in_favour,
        in_favour == 1 ? "s" : "");
}

awaitable<void> Membership::until_refused() {
    std::optional<TimePoint> since;
    while (!ended_) {
        if (is_established()) {
            co_await progress_->changed().wait();
            continue;
        }
        if (!is_outnumbered())
            since.reset();
        else if (!since)
            since = clock_.now();
        if (since && clock_.now() >= *since + kOutnumbered) throw Error(ErrorKind::bad_input, verdict());
        const TimePoint believed_at = since ? *since + kOutnumbered : TimePoint::never();
        co_await until_change(believed_at);
    }
}

awaitable<void> Membership::until_admitted() {
    while (!ended_ && !is_established()) {
        TimePoint patience = TimePoint::never();
        if (!is_undecided()) {
            if (!is_outnumbered()) co_return;
        } else {
            if (!undecided_until_) undecided_until_ = clock_.now() + kUndecided;
            if (clock_.now() >= *undecided_until_) co_return;
            patience = *undecided_until_;
        }
        co_await until_change(patience);
    }
}

}  // namespace shoal::run
