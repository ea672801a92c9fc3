#include "shoal/lab/replica_swarm.h"

#include <algorithm>
#include <csignal>
#include <fmt/format.h>
#include <fstream>
#include <set>

#include "shoal/base/error.h"
#include "shoal/lab/peers_folder.h"

namespace shoal::lab {
namespace {

constexpr std::uint16_t kPort = 31337;  // everybody's: each has a machine of its own

}  // namespace

ReplicaSwarm::ReplicaSwarm(ReplicaRun run, const ShapedLines& lines) : run_(std::move(run)), lines_(lines) {
    run_.folder = std::filesystem::absolute(run_.folder);
    make_peers_folder(run_.folder);
    write_run_file();
}

void ReplicaSwarm::write_run_file() const {
    std::ofstream file(run_.folder / "run.toml");
    std::string bootstrap;
    for (const std::size_t machine : run_.bootstrap)
        bootstrap +=
            fmt::format("{}\"{}:{}\"", bootstrap.empty() ? "" : ", ", ShapedLines::address(machine), kPort);
    file << fmt::format(R"([run]
name = "{}"
target_batch_size = {}
steps = {}

# A replica has neither, but a run file must name some.
[model]
kind = "convnet"

[data]
kind = "fashion-mnist"

[averaging]
codec = "fp32"

[network]
listen_host = "0.0.0.0"
listen_port = {}
bootstrap = [{}]

[checkpoints]
every = 0
)",
                        run_.name, run_.target_batch_size, run_.steps, kPort, bootstrap);
    if (!file.flush()) throw Error(ErrorKind::system, "cannot write " + (run_.folder / "run.toml").string());
}

void ReplicaSwarm::start(std::size_t machine, const ReplicaStart& start) {
    PeerStart peer{.name = start.name,
                   .role = start.client ? "client" : "full",
                   .run_file = run_.folder / "run.toml",
                   .folder = run_.folder / "peers" / start.name};
    // The descriptor of the namespace is inherited under its number.
    peer.command = {"/usr/bin/nsenter", fmt::format("--net=/proc/self/fd/{}", lines_.descriptor(machine)),
                    (own_program().parent_path() / "shoal").string(), "replica"};
    if (start.through_peers) peer.settings.push_back("network.directory=through-peers");
    if (!start.client)
        peer.settings.push_back(fmt::format("network.announce={}:{}", ShapedLines::address(machine), kPort));
    peer.arguments = {"--speed", fmt::format("{}", start.speed), "--micro-batch",
                      std::to_string(start.micro_batch)};
    peer.arguments.insert(peer.arguments.end(), run_.arguments.begin(), run_.arguments.end());
    Replica replica;
    replica.peer = start_peer(peer);
    replica.machine = machine;
    replica.speed = start.speed;
    newest_[machine] = replicas_.size();
    replicas_.push_back(std::move(replica));
}

void ReplicaSwarm::stop(std::size_t machine, Departure how) {
    Replica& replica = at(machine);
    if (replica.told_to_go || replica.ended) return;
    replica.told_to_go = wall_seconds();
    replica.peer.killed = how == Departure::kill;
    replica.peer.process->signal(how == Departure::kill ? SIGKILL : SIGINT);
}

void ReplicaSwarm::stop_all(Departure how) {
    for (const auto& [machine, index] : newest_) stop(machine, how);
}

void ReplicaSwarm::update() {
    for (Replica& replica : replicas_) {
        if (replica.ended) continue;
        const auto status = replica.peer.process->poll();
        replica.peer.log->update();  // after the poll: of a process that has ended, this is all
        if (!status) continue;
        replica.ended = true;
        const bool well = !status->signalled && status->code == 0;
        const bool before_it_could = status->signalled && status->code == SIGINT;
        if (replica.told_to_go && (replica.peer.killed || well || before_it_could)) continue;
        if (well && replica.peer.log->step >= run_.steps) continue;
        throw Error(ErrorKind::system,
                    fmt::format("{} ended {} ({}); see {}", replica.peer.name,
                                replica.told_to_go ? "badly" : "by itself", status->to_string(),
                                (replica.peer.folder / "output.txt").string()));
    }
}

bool ReplicaSwarm::is_free(std::size_t machine) const {
    const auto found = newest_.find(machine);
    return found == newest_.end() || replicas_[found->second].ended;
}

bool ReplicaSwarm::all_ended() const {
    return std::all_of(replicas_.begin(), replicas_.end(), [](const Replica& one) { return one.ended; });
}

std::vector<const Replica*> ReplicaSwarm::present() const {
    std::vector<const Replica*> found;
    for (const Replica& replica : replicas_)
        if (!replica.told_to_go && !replica.ended) found.push_back(&replica);
    return found;
}

std::vector<const PeerLog*> ReplicaSwarm::logs() const {
    std::vector<const PeerLog*> logs;
    for (const Replica& replica : replicas_) logs.push_back(replica.peer.log.get());
    return logs;
}

std::int64_t ReplicaSwarm::step() const {
    std::int64_t step = 0;
    for (const Replica& replica : replicas_) step = std::max(step, replica.peer.log->step);
    return step;
}

bool ReplicaSwarm::all_contribute() const {
    const auto here = present();
    return std::all_of(here.begin(), here.end(),
                       [](const Replica* one) { return one->peer.log->first_contribution.has_value(); });
}

bool ReplicaSwarm::all_agree() const {
    const std::int64_t step = this->step() - 1;
    std::set<std::string> digests;
    for (const Replica* replica : present()) {
        const auto found = replica->peer.log->steps.find(step);
        if (found == replica->peer.log->steps.end()) return false;
        digests.insert(found->second.digest);
    }
    return digests.size() == 1;
}

void look_until(const std::string& what, double limit, const std::filesystem::path& logs,
                const std::function<void()>& look, const std::function<bool()>& met) {
    const double deadline = wall_seconds() + limit;
    while (!met()) {
        if (wall_seconds() > deadline)
            throw Error(ErrorKind::timed_out, fmt::format("waited {:g} s for {}; the peers' logs are in {}",
                                                          limit, what, logs.string()));
        look();
    }
}

}  // namespace shoal::lab
