#include "shoal/lab/swarm.h"

#include <algorithm>
#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <fstream>
#include <memory>
#include <set>

#include "shoal/base/async.h"
#include "shoal/base/error.h"
#include "shoal/data/vocabulary.h"
#include "shoal/lab/live_view.h"
#include "shoal/lab/peer_process.h"
#include "shoal/lab/peers_folder.h"
#include "shoal/lab/swarm_summary.h"

namespace shoal::lab {

namespace {

constexpr std::int64_t kVocabularySize = 2000;
constexpr int kTotalMinutes = 20;  ///< a swarm that takes longer is stuck

class Swarm {
  public:
    explicit Swarm(const SwarmOptions& options)
        : options_(options), view_(options.redraw), begin_(wall_seconds()) {
        std::filesystem::create_directories(options_.folder);
        options_.folder = std::filesystem::absolute(options_.folder);
        if (options_.result.json.empty()) options_.result.json = options_.folder / "summary.json";
        if (options_.result.plot.empty()) options_.result.plot = options_.folder / "loss.png";
    }

    awaitable<void> run() {
        prepare();
        start_all();
        while (!finished() && !interrupted_) {
            co_await clock_.sleep_for(std::chrono::milliseconds(200));
            read_logs();
            act();
            view_.draw(picture());
        }
        const double end = wall_seconds();
        if (interrupted_) stop_trainers();
        stop_seed();
        view_.close();
        seconds_ = end - begin_;
    }

    /// From a handler of signals, on the thread of run().
    void interrupt() { interrupted_ = true; }

    int summarise() {
        return summarise_swarm({options_, members_, marks_, timeline_, seconds_, interrupted_});
    }

  private:
    void prepare();
    void write_run_file() const;
    void start_all();
    void start(const std::string& name, const std::string& role, double load);
    void read_logs();
    void act();
    void kill_one();
    bool finished();
    void stop_trainers();
    void stop_seed();
    void event(const std::string& text);
    SwarmPicture picture();
    PeerRow row(PeerProcess& member) const;
    double share(const PeerLog& log) const;
    std::int64_t swarm_step() const;

    SwarmOptions options_;
    RealClock clock_;
    LiveView view_;
    double begin_;
    std::uint16_t port_ = 0;
    std::vector<PeerProcess> members_;
    std::deque<std::string> events_;
    std::vector<PeerEvent> timeline_;  ///< the same, with the seconds since the start
    std::set<std::string> said_;
    std::vector<run::Mark> marks_;
    bool killed_ = false, interrupted_ = false;
    double seconds_ = 0;  ///< from the start to the end
};

void Swarm::prepare() {
    if (options_.text.empty() || !std::filesystem::exists(options_.text))
        throw Error(ErrorKind::bad_input,
                    "no text to train on: pass --text FILE (./run makes one from Debian's debian-handbook)");
    options_.text = std::filesystem::absolute(options_.text);
    make_peers_folder(options_.folder);
    const auto vocabulary = options_.folder / "vocabulary.model";
    if (!std::filesystem::exists(vocabulary)) {
        fmt::print("training a vocabulary of {} pieces on {} ...\n", kVocabularySize,
                   options_.text.filename().string());
        std::fflush(stdout);
        data::train_vocabulary(options_.text, kVocabularySize, vocabulary);
    }
    port_ = free_port();
    write_run_file();
}

void Swarm::write_run_file() const {
    std::ofstream file(options_.folder / "run.toml");
    file << "# The run of `shoal lab swarm`. Join it from another terminal while it runs:\n#   shoal train "
         << (options_.folder / "run.toml").string() << " --name me\n#   shoal status "
         << (options_.folder / "run.toml").string() << " --watch\n"
         << fmt::format(R"([run]
name = "albert-demo"
target_batch_size = {}
steps = {}
evaluate_every = 10

[model]
kind = "albert"
size = "tiny"

[data]
kind = "text"
path = "{}"
vocabulary = "{}"
sequence_length = 64
micro_batch_size = 8
held_out = 0.05

[optimizer]
name = "lamb"
weight_decay = 0.01
clip_gradient_norm = 1.0

[schedule]
kind = "linear"
learning_rate = 0.05
warmup_steps = {}

[averaging]
codec = "fp16"

[network]
listen_host = "127.0.0.1"
bootstrap = ["127.0.0.1:{}"]

[peer]
threads = 1
metrics_port = 0

[checkpoints]
every = 20
)",
                        options_.target_batch_size, options_.steps, options_.text.string(),
                        (options_.folder / "vocabulary.model").string(), options_.warmup_steps, port_);
    if (!file.flush())
        throw Error(ErrorKind::system, "cannot write " + (options_.folder / "run.toml").string());
}

void Swarm::start(const std::string& name, const std::string& role, double load) {
    PeerStart peer{.name = name,
                   .role = role,
                   .run_file = options_.folder / "run.toml",
                   .folder = options_.folder / "peers" / name};
    peer.settings.push_back(fmt::format("peer.load={}", load));
    if (role == "auxiliary") peer.settings.push_back(fmt::format("network.listen_port={}", port_));
    event(fmt::format("{} starts ({})", name, role));
    members_.push_back(start_peer(peer));
}

void Swarm::start_all() {
    start("auxiliary-1", "auxiliary", 1);
    start("full-1", "full", 1);
    start("full-2", "full", 0.8);
    start("full-3", "full", 0.35);
    start("client-1", "client", 0.6);
}

void Swarm::event(const std::string& text) {
    const double at = wall_seconds() - begin_;
    events_.push_back(fmt::format("{:>6}  {}", human_time(at), text));
    timeline_.push_back({at, text});
}

void Swarm::read_logs() {
    for (auto& member : members_) {
        const bool contributed = member.log->first_contribution.has_value();
        for (const auto& news : member.log->update()) {
            // All members tell of the same failed round: once is enough.
            if (said_.insert(news.text).second) event(member.name + ": " + news.text);
        }
        if (!contributed && member.log->first_contribution)
            event(fmt::format("{} contributes, {:.1f} s after its start", member.name,
                              *member.log->first_contribution - member.spawned));
    }
}

std::int64_t Swarm::swarm_step() const {
    std::int64_t step = 0;
    for (const auto& member : members_) step = std::max(step, member.log->step);
    return step;
}

void Swarm::act() {
    if (!killed_ && swarm_step() >= options_.steps * 2 / 5) kill_one();
    for (auto& member : members_) {
        const auto status = member.process->poll();
        if (!status || member.killed || member.role == "auxiliary") continue;
        if (status->signalled || status->code != 0)
            throw Error(
                ErrorKind::system,
                fmt::format("{} ended early ({}); its output is in {}", member.name, status->to_string(),
                            (options_.folder / "peers" / member.name / "output.txt").string()));
    }
    if (wall_seconds() - begin_ > kTotalMinutes * 60)
        throw Error(ErrorKind::timed_out,
                    "the swarm has not finished in time; see " + options_.folder.string());
}

void Swarm::kill_one() {
    killed_ = true;
    const auto victim = std::find_if(members_.begin(), members_.end(),
                                     [](const PeerProcess& m) { return m.name == "full-2"; });
    victim->process->signal(SIGKILL);
    victim->killed = true;
    event("full-2 is killed (kill -9)");
    marks_.push_back({static_cast<double>(swarm_step()), "full-2 killed, full-4 joins"});
    start("full-4", "full", 0.8);
}

bool Swarm::finished() {
    return std::all_of(members_.begin(), members_.end(),
                       [](PeerProcess& m) { return m.role == "auxiliary" || m.process->poll(); });
}

/// They write what they have and say goodbye; who takes too long for that is killed with this object.
void Swarm::stop_trainers() {
    event("ended early");
    for (auto& member : members_)
        if (member.trains()) member.process->signal(SIGTERM);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(15);
    for (auto& member : members_)
        if (member.trains()) member.process->wait_until(deadline);
}

void Swarm::stop_seed() {
    for (auto& member : members_) {
        if (member.role != "auxiliary") continue;
        member.process->signal(SIGTERM);
        member.process->wait();
    }
    read_logs();
}

/// The part that a peer had in the samples of the last ten averaged rounds.
double Swarm::share(const PeerLog& log) const {
    const PeerLog* reference = most_advanced(members_);
    if (!reference || log.peer.empty()) return 0;
    double own = 0, all = 0;
    int counted = 0;
    for (auto round = reference->rounds.rbegin(); round != reference->rounds.rend() && counted < 10;
         ++round) {
        if (round->outcome != "averaged") continue;
        ++counted;
        for (const auto& [peer, weight] : round->weights) {
            all += weight;
            if (peer == log.peer) own += weight;
        }
    }
    return all > 0 ? own / all : 0;
}

PeerRow Swarm::row(PeerProcess& member) const {
    const PeerLog& log = *member.log;
    PeerRow row;
    row.name = member.name;
    row.role = member.role;
    row.alive = !member.killed;
    row.step = log.step;
    if (member.role == "auxiliary" && !log.rounds.empty()) row.step = log.rounds.back().step + 1;
    row.samples_per_second = row.alive ? log.samples_per_second : 0;
    row.share = share(log);
    row.loss = log.loss;
    row.bytes_sent = log.bytes_sent();
    row.bytes_received = log.bytes_received();
    if (member.killed)
        row.state = "killed";
    else if (member.process->poll())
        row.state = "finished";
    else if (member.role == "auxiliary")
        row.state = log.started ? "helping" : "starting";
    else
        row.state = log.first_micro_batch ? "training" : "starting";
    return row;
}

SwarmPicture Swarm::picture() {
    SwarmPicture picture;
    picture.title =
        "shoal: five peers train one ALBERT (masked words + sentence order) on The Debian Administrator's "
        "Handbook";
    picture.step = swarm_step();
    picture.last_step = options_.steps;
    picture.seconds = wall_seconds() - begin_;
    picture.remaining_seconds = picture.step >= options_.steps ? 0 : -1;
    double speed = 0;
    for (auto& member : members_) {
        picture.peers.push_back(row(member));
        speed += picture.peers.back().samples_per_second;
    }
    if (const PeerLog* log = most_advanced(members_); log && !log->steps.empty()) {
        for (const auto& [step, line] : log->steps) picture.loss_curve.push_back(line.swarm_loss);
        picture.loss = picture.loss_curve.back();
        if (!log->held_out.empty()) picture.held_out_loss = log->held_out.rbegin()->second;
        const double since_step = wall_seconds() - log->steps.rbegin()->second.time;
        picture.batch_fill =
            std::min(1.0, since_step * speed / static_cast<double>(options_.target_batch_size));
        const double first = log->steps.begin()->second.time;
        const auto done = static_cast<double>(log->steps.size() - 1);
        if (done >= 3 && picture.step < options_.steps)
            picture.remaining_seconds = (log->steps.rbegin()->second.time - first) / done *
                                            static_cast<double>(options_.steps - picture.step) -
                                        since_step;
    }
    picture.events = events_;
    return picture;
}

}  // namespace

void make_quick(SwarmOptions& options) {
    options.result.quick = true;
    options.steps = 40;
    options.target_batch_size = 64;
    options.warmup_steps = 5;
}

int run_swarm(const SwarmOptions& options) {
    Swarm swarm(options);
    asio::io_context context(1);
    std::exception_ptr failure;
    asio::signal_set signals(context, SIGINT, SIGTERM, SIGHUP);
    signals.async_wait([&](std::error_code error, int number) {
        if (error) return;
        // The terminal is gone: what is printed must not be the end of it.
        if (number == SIGHUP && !std::freopen("/dev/null", "w", stdout)) return;
        swarm.interrupt();
    });
    asio::co_spawn(context, swarm.run(), [&](std::exception_ptr error) {
        failure = std::move(error);
        signals.cancel();
    });
    context.run();
    if (failure) std::rethrow_exception(failure);
    return swarm.summarise();
}

}  // namespace shoal::lab
