#include "shoal/lab/faults.h"

#include <algorithm>
#include <asio/io_context.hpp>
#include <cmath>
#include <csignal>
#include <fmt/format.h>
#include <fstream>
#include <map>
#include <set>

#include "shoal/base/async.h"
#include "shoal/base/error.h"
#include "shoal/base/random.h"
#include "shoal/lab/peer_process.h"
#include "shoal/lab/peers_folder.h"

namespace shoal::lab {

namespace {

using namespace std::chrono_literals;

constexpr int kPeers = 6;
constexpr int kCalmSteps = 4;           ///< between two episodes
constexpr double kEpisodeSeconds = 60;  ///< an episode that takes longer has failed
constexpr double kOrderSeconds = 5;     ///< until another peer is chosen as the victim
constexpr std::array kFaults = {"kill", "stop", "cut"};
constexpr std::array kPhases = {"compute", "match", "send", "reduce", "vote", "share_state"};

struct Episode {
    std::string fault, phase, victim;
    double lost_seconds =
        0;  ///< longest time without a step around the fault, minus the usual time of a step
    double join_seconds = 0;    ///< of the newcomer, where one was started
    double return_seconds = 0;  ///< until a victim that lives contributed again
};

class Faults {
  public:
    explicit Faults(const FaultsOptions& options) : options_(options), random_(options.seed) {
        options_.folder = std::filesystem::absolute(options_.folder);
        make_peers_folder(options_.folder);
    }

    awaitable<void> run() {
        for (int i = 0; i < kPeers; ++i) ports_.push_back(free_port());
        write_run_file();
        for (int i = 0; i < kPeers; ++i)
            start(i == kPeers - 1 ? "client" : "full", ports_[static_cast<std::size_t>(i)]);
        co_await steps_more(kCalmSteps * 2, "the start");
        int number = 0;
        const auto plan = episodes();
        for (const auto& [fault, phase] : plan) {
            Episode episode{.fault = fault, .phase = phase, .victim = {}};
            co_await play(episode);
            ++number;
            fmt::print("{:>2}/{}  {:<5} while it {:<12} {:<8} lost {:.2f} s{}{}\n", number, plan.size(),
                       fault, verb(phase), episode.victim, episode.lost_seconds,
                       episode.join_seconds > 0
                           ? fmt::format(", newcomer trains after {:.2f} s", episode.join_seconds)
                           : "",
                       episode.return_seconds > 0
                           ? fmt::format(", victim back after {:.2f} s", episode.return_seconds)
                           : "");
            std::fflush(stdout);
            episodes_.push_back(episode);
        }
        co_await steps_more(kCalmSteps, "the end");
    }

    int report();

  private:
    std::vector<std::pair<std::string, std::string>> episodes() const;
    static std::string verb(const std::string& phase);
    void write_run_file() const;
    PeerProcess& start(const std::string& role, std::uint16_t port);
    void read_logs();
    std::int64_t swarm_step() const;
    std::vector<double> step_times() const;
    awaitable<void> steps_more(std::int64_t steps, std::string what);
    awaitable<void> wait_until(std::function<bool()> condition, std::string what);
    awaitable<void> play(Episode& episode);
    static void dismiss(PeerProcess& peer);
    std::vector<std::size_t> candidates(const Episode& episode) const;
    static std::filesystem::path order(const PeerProcess& victim, const Episode& episode);
    awaitable<std::size_t> strike(const Episode& episode, std::size_t& newcomer);
    double usual_step(double before) const;
    double longest_pause(double from, double to) const;
    std::size_t count_disagreements(std::size_t& compared) const;

    FaultsOptions options_;
    RealClock clock_;
    Random random_;
    std::vector<std::uint16_t> ports_;
    std::vector<PeerProcess> peers_;
    std::vector<Episode> episodes_;
    int started_ = 0;
};

std::vector<std::pair<std::string, std::string>> Faults::episodes() const {
    std::vector<std::pair<std::string, std::string>> plan;
    for (const char* fault : kFaults)
        for (const char* phase : kPhases) plan.emplace_back(fault, phase);
    if (options_.result.quick)
        return {plan[3], plan[8], plan[13]};  // kill in reduce, stop in send, cut in match
    return plan;
}

std::string Faults::verb(const std::string& phase) {
    static const std::map<std::string, std::string> verbs = {
        {"compute", "computes"}, {"match", "matches"}, {"send", "sends"},
        {"reduce", "reduces"},   {"vote", "votes"},    {"share_state", "shares state"}};
    return verbs.at(phase);
}

void Faults::write_run_file() const {
    std::ofstream file(options_.folder / "run.toml");
    std::string bootstrap;
    for (const auto port : ports_)
        bootstrap += fmt::format("{}\"127.0.0.1:{}\"", bootstrap.empty() ? "" : ", ", port);
    file << fmt::format(R"([run]
name = "faults"
target_batch_size = 192
steps = 1000000

[model]
kind = "convnet"
size = "tiny"

[data]
kind = "fashion-mnist"
{}
micro_batch_size = 8

[optimizer]
name = "adamw"

[schedule]
kind = "constant"
learning_rate = 0.001

[averaging]
codec = "fp32"

[network]
listen_host = "127.0.0.1"
bootstrap = [{}]

[peer]
threads = 1

[checkpoints]
every = 0
)",
                        options_.images.empty()
                            ? std::string()
                            : "path = \"" + std::filesystem::absolute(options_.images).string() + "\"",
                        bootstrap);
    if (!file.flush())
        throw Error(ErrorKind::system, "cannot write " + (options_.folder / "run.toml").string());
}

PeerProcess& Faults::start(const std::string& role, std::uint16_t port) {
    const std::string name = fmt::format("peer-{}", ++started_);
    PeerStart peer{.name = name,
                   .role = role,
                   .run_file = options_.folder / "run.toml",
                   .folder = options_.folder / "peers" / name};
    peer.settings = {"peer.load=0.6"};
    if (role != "client" && port != 0) peer.settings.push_back(fmt::format("network.listen_port={}", port));
    peer.arguments = {"--inject", (peer.folder / "order").string()};
    peers_.push_back(start_peer(peer));
    return peers_.back();
}

void Faults::read_logs() {
    for (auto& peer : peers_) {
        peer.log->update();
        const auto status = peer.process->poll();
        if (status && !peer.killed && !(status->signalled && status->code == SIGKILL))
            throw Error(ErrorKind::system,
                        fmt::format("{} ended by itself ({}); see {}", peer.name, status->to_string(),
                                    (peer.folder / "output.txt").string()));
    }
}

std::int64_t Faults::swarm_step() const {
    std::int64_t step = 0;
    for (const auto& peer : peers_) step = std::max(step, peer.log->step);
    return step;
}

/// When each step was first taken by anybody, ascending.
std::vector<double> Faults::step_times() const {
    std::map<std::int64_t, double> first;
    for (const auto& peer : peers_) {
        for (const auto& [step, line] : peer.log->steps) {
            const auto known = first.find(step);
            if (known == first.end() || line.time < known->second) first[step] = line.time;
        }
    }
    std::vector<double> times;
    for (const auto& [step, time] : first) times.push_back(time);
    std::sort(times.begin(), times.end());
    return times;
}

awaitable<void> Faults::wait_until(std::function<bool()> condition, std::string what) {
    const TimePoint deadline = clock_.now() + from_seconds(kEpisodeSeconds);
    while (!condition()) {
        if (clock_.now() > deadline)
            throw Error(ErrorKind::timed_out,
                        "waited too long for " + what + "; see " + options_.folder.string());
        co_await clock_.sleep_for(20ms);
        read_logs();
    }
}

awaitable<void> Faults::steps_more(std::int64_t steps, std::string what) {
    const std::int64_t target = swarm_step() + steps;
    std::function<bool()> reached = [this, target] { return swarm_step() >= target; };
    co_await wait_until(std::move(reached), fmt::format("{} steps after {}", steps, what));
}

/// Without a word.
void Faults::dismiss(PeerProcess& peer) {
    peer.killed = true;
    peer.process->signal(SIGKILL);
}

/// The file that is there until the fault has struck.
std::filesystem::path Faults::order(const PeerProcess& victim, const Episode& episode) {
    const auto part = victim.folder / "order.part", whole = victim.folder / "order";
    std::ofstream(part) << episode.fault << '@' << episode.phase << ":0\n";
    std::filesystem::rename(part, whole);
    return whole;
}

/// Median time of a step in the ten steps before a moment.
double Faults::usual_step(double before) const {
    const auto times = step_times();
    std::vector<double> gaps;
    for (std::size_t i = times.size(); i-- > 1 && gaps.size() < 10;)
        if (times[i] <= before) gaps.push_back(times[i] - times[i - 1]);
    if (gaps.empty()) return 0;
    std::sort(gaps.begin(), gaps.end());
    return gaps[gaps.size() / 2];
}

/// Longest time between two steps of the swarm that overlaps [from, to].
double Faults::longest_pause(double from, double to) const {
    const auto times = step_times();
    double longest = 0;
    for (std::size_t i = 1; i < times.size(); ++i)
        if (times[i] >= from && times[i - 1] <= to) longest = std::max(longest, times[i] - times[i - 1]);
    return longest;
}

/// Peers that can meet the fault: a client neither reduces nor shares state.
std::vector<std::size_t> Faults::candidates(const Episode& episode) const {
    const bool serves = episode.phase == "reduce" || episode.phase == "share_state";
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < peers_.size(); ++i) {
        const PeerProcess& peer = peers_[i];
        if (!peer.killed && peer.log->first_contribution && !(serves && peer.role == "client"))
            all.push_back(i);
    }
    return all;
}

/// Orders the fault from one peer after the other until it strikes: not everybody has a share of the vector
/// to reduce, and a newcomer takes its chunks from whoever answers first. Returns the victim.
/// @param newcomer  out: the last one that was started, to be given state
awaitable<std::size_t> Faults::strike(const Episode& episode, std::size_t& newcomer) {
    const bool shares = episode.phase == "share_state";
    const TimePoint deadline = clock_.now() + from_seconds(kEpisodeSeconds);
    while (clock_.now() < deadline) {
        if (newcomer != 0) dismiss(peers_[newcomer]);
        const std::vector<std::size_t> all = candidates(episode);
        const std::size_t victim = all[random_.below(all.size())];
        const auto order_file = order(peers_[victim], episode);
        if (shares) {
            start("full", 0);
            newcomer = peers_.size() - 1;
        }
        const TimePoint patience = clock_.now() + from_seconds(kOrderSeconds);
        std::function<bool()> is_over = [this, order_file, shares, newcomer, patience] {
            const bool came_too_late = shares && peers_[newcomer].log->first_micro_batch;
            return !std::filesystem::exists(order_file) || came_too_late ||
                   (!shares && clock_.now() >= patience);
        };
        co_await wait_until(std::move(is_over), "the fault to strike");
        const bool withdrawn = std::filesystem::remove(order_file);
        if (!withdrawn) co_return victim;
    }
    throw Error(ErrorKind::timed_out, "nobody could be made to meet the fault '" + episode.fault +
                                          "' while it " + verb(episode.phase) + "; see " +
                                          options_.folder.string());
}

awaitable<void> Faults::play(Episode& episode) {
    const bool shares = episode.phase == "share_state";
    const double usual = usual_step(wall_seconds());
    std::size_t newcomer = 0;
    const std::size_t victim = co_await strike(episode, newcomer);
    episode.victim = peers_[victim].name;
    const double when = wall_seconds();
    if (episode.fault == "kill") {
        peers_[victim].killed = true;
        if (!shares) start(peers_[victim].role, 0), newcomer = peers_.size() - 1;
    }
    co_await steps_more(kCalmSteps, episode.fault + " in " + episode.phase);
    if (episode.fault == "stop") {
        episode.lost_seconds = longest_pause(when, wall_seconds()) - usual;
        peers_[victim].process->signal(SIGCONT);
    }
    const double resumed = wall_seconds();
    if (episode.fault != "kill") {
        std::function<bool()> back = [this, victim, resumed] {
            const auto& rounds = peers_[victim].log->rounds;
            return !rounds.empty() && rounds.back().time > resumed && rounds.back().outcome == "averaged";
        };
        co_await wait_until(std::move(back), peers_[victim].name + " to contribute again");
        episode.return_seconds = peers_[victim].log->rounds.back().time - resumed;
    }
    if (newcomer != 0) {
        std::function<bool()> joined = [this, newcomer] {
            return peers_[newcomer].log->first_micro_batch.has_value();
        };
        co_await wait_until(std::move(joined), "the newcomer to train");
        episode.join_seconds = *peers_[newcomer].log->first_micro_batch - peers_[newcomer].spawned;
    }
    co_await steps_more(kCalmSteps, "the recovery");
    if (episode.fault != "stop") episode.lost_seconds = longest_pause(when, wall_seconds()) - usual;
    episode.lost_seconds = std::max(0.0, episode.lost_seconds);
    if (shares && episode.fault != "kill") {
        // The swarm stays six: the newcomer leaves again, without a word.
        dismiss(peers_[newcomer]);
        co_await steps_more(kCalmSteps, "the newcomer's end");
    }
}

/// Steps at which two peers logged different parameters.
std::size_t Faults::count_disagreements(std::size_t& compared) const {
    std::map<std::int64_t, std::set<std::string>> digests;
    std::map<std::int64_t, int> holders;
    for (const auto& peer : peers_)
        for (const auto& [step, line] : peer.log->steps) digests[step].insert(line.digest), ++holders[step];
    std::size_t different = 0;
    compared = 0;
    for (const auto& [step, values] : digests) {
        compared += holders[step] > 1;
        different += values.size() > 1;
    }
    return different;
}

int Faults::report() {
    run::Result result("lab faults", options_.result);
    double worst_lost = 0, worst_join = 0, lost_sum = 0;
    for (const auto& episode : episodes_) {
        worst_lost = std::max(worst_lost, episode.lost_seconds);
        worst_join = std::max(worst_join, episode.join_seconds);
        lost_sum += episode.lost_seconds;
        result.json()["episodes"].push_back({{"fault", episode.fault},
                                             {"phase", episode.phase},
                                             {"victim", episode.victim},
                                             {"lost_seconds", episode.lost_seconds},
                                             {"join_seconds", episode.join_seconds},
                                             {"return_seconds", episode.return_seconds}});
    }
    std::size_t compared = 0;
    const std::size_t different = count_disagreements(compared);
    fmt::print(
        "{} faults, {} steps; lost {:.2f} s per fault on average, {:.2f} s at most; a newcomer trains after "
        "{:.2f} s at most;\n"
        "parameters compared at {} steps, different at {}\n",
        episodes_.size(), swarm_step(),
        lost_sum / static_cast<double>(std::max<std::size_t>(1, episodes_.size())), worst_lost, worst_join,
        compared, different);
    result.json().update(
        {{"steps", swarm_step()}, {"compared_steps", compared}, {"different_steps", different}});
    result.demand_at_most("seconds lost per fault, worst", worst_lost, 3, "s");
    result.demand_at_most("a newcomer trains after, worst", worst_join, 5, "s");
    result.demand_at_most("steps with different parameters", static_cast<double>(different), 0);
    result.demand_at_least("steps compared", static_cast<double>(compared),
                           static_cast<double>(episodes_.size()));
    return result.finish();
}

}  // namespace

int run_faults(const FaultsOptions& options) {
    Faults faults(options);
    asio::io_context context(1);
    std::exception_ptr failure;
    asio::co_spawn(context, faults.run(), [&](std::exception_ptr error) { failure = std::move(error); });
    context.run();
    if (failure) std::rethrow_exception(failure);
    return faults.report();
}

}  // namespace shoal::lab
