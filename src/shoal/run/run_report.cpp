#include "shoal/run/run_report.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <fstream>

#include "shoal/base/error.h"
#include "shoal/run/metrics.h"

namespace shoal::run {
namespace {

using nlohmann::json;

constexpr double kMaximumCount = 9007199254740992.0;  // 2^53: up to here a double counts exactly
constexpr double kLatestTime = 32503680000.0;         // the year 3000
constexpr std::size_t kWarningsPerFile = 5, kShortName = 8, kLongestName = 64;

/// Names come from other machines and go to a terminal.
std::string printable(const std::string& text) {
    std::string result;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        const bool second_control =
            byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
        if (second_control) ++i;
        const bool begins = (byte & 0xC0) != 0x80;
        if (begins && result.size() + 4 > kLongestName) break;
        result += byte < 0x20 || byte == 0x7F || second_control ? '?' : text[i];
    }
    return result;
}

/// A record that is no record: the text says what is wrong with it.
struct Foreign {
    std::string what;
};

std::string text_of(const json& record, const char* name) {
    const auto found = record.find(name);
    if (found == record.end() || !found->is_string())
        throw Foreign{fmt::format("\"{}\" is missing or no text", name)};
    return found->get<std::string>();
}

double count_of(const json& record, const char* name) {
    const auto found = record.find(name);
    const double count = found != record.end() && found->is_number() ? found->get<double>() : -1;
    if (!(count >= 0 && count <= kMaximumCount))
        throw Foreign{fmt::format("\"{}\" is missing or no count", name)};
    return count;
}

double number_or_nan(const json& record, const char* name) {
    const auto found = record.find(name);
    return found != record.end() && found->is_number() ? found->get<double>()
                                                       : std::numeric_limits<double>::quiet_NaN();
}

std::string peer_of(const json& record, const char* name) {
    const std::string peer = text_of(record, name);
    const bool hex = peer.find_first_not_of("0123456789abcdef") == std::string::npos;
    if (!hex || peer.size() < kShortName || peer.size() > 64)
        throw Foreign{fmt::format("\"{}\" is no peer", name)};
    return peer;
}

const json& list_of(const json& record, const char* name) {
    const auto found = record.find(name);
    if (found == record.end() || !found->is_array())
        throw Foreign{fmt::format("\"{}\" is missing or no list", name)};
    return *found;
}

void add(Participant& all, const Participant& part) {
    all.micro_batches += part.micro_batches;
    all.dropped += part.dropped;
    all.samples += part.samples;
    all.bytes_sent += part.bytes_sent;
    all.bytes_received += part.bytes_received;
    all.steps.insert(part.steps.begin(), part.steps.end());
    for (const auto& [cause, count] : part.failures) all.failures[cause] += count;
}

/// One session as a participant of its own, before those of the same peer are joined.
struct Stretch {
    Participant part;
    bool only_opened = true;  ///< nothing yet but what a process writes before "started"
    std::filesystem::path folder;
    Session& session() { return part.sessions.front(); }
    const Session& session() const { return part.sessions.front(); }
};

struct Contribution {
    double time = 0, weight = 0;
    std::string role;
};

/// Everything that is read, before it is added up.
struct Records {
    std::vector<Stretch> stretches;
    std::map<std::pair<std::int64_t, std::string>, Contribution> contributions;  ///< by step and short id
    std::map<std::pair<std::string, double>, std::map<std::string, double>> state_sent;  ///< by donor
    RunReport report;
};

/// Reads one folder's files, in the order in which they were written.
class FolderReader {
  public:
    FolderReader(Records& records, std::filesystem::path folder, double away_seconds)
        : records_(records), folder_(std::move(folder)), away_seconds_(away_seconds) {}

    void read(const std::filesystem::path& file);
    /// Gives all sessions their peer; those that lost the line that says it take that of their neighbours.
    void finish();

  private:
    void line(const std::string& text);
    void record(const json& record);
    Stretch& stretch_at(double time, const std::string& event);
    void round(Participant& part, const json& record, double time);
    void synchronised(Participant& part, const json& record, double time);
    void step(Participant& part, const json& record, double time);

    Records& records_;
    std::filesystem::path folder_;
    double away_seconds_;
    std::vector<Stretch> stretches_;
};

void FolderReader::read(const std::filesystem::path& file) {
    std::vector<std::string>& warnings = records_.report.warnings;
    std::ifstream in(file, std::ios::binary);
    if (!in) {
        warnings.push_back(file.string() + ": cannot be read");
        return;
    }
    std::vector<char> buffer(kMaximumRecordBytes + 1);
    std::size_t number = 0, bad = 0;
    const auto warn = [&](const std::string& what) {
        if (++bad <= kWarningsPerFile)
            warnings.push_back(fmt::format("{}:{}: {}; skipped", file.string(), number, what));
    };
    while (in.getline(buffer.data(), static_cast<std::streamsize>(buffer.size())) || in.gcount() > 0) {
        ++number;
        if (in.fail() && !in.eof()) {
            in.clear();
            in.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
            warn("the line is too long for a record");
            continue;
        }
        const bool complete = !in.eof();  // a writer's last byte is the line's end
        const std::string text(buffer.data(), static_cast<std::size_t>(in.gcount()) - (complete ? 1 : 0));
        if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
        try {
            line(text);
        } catch (const Foreign& foreign) {
            warn(complete ? foreign.what
                          : "the last line is half-written (its process was killed, or still writes)");
        }
    }
    if (in.bad()) warnings.push_back(fmt::format("{}:{}: cannot be read any further", file.string(), number));
    if (bad > kWarningsPerFile)
        warnings.push_back(
            fmt::format("{}: {} more lines like these; skipped", file.string(), bad - kWarningsPerFile));
}

void FolderReader::line(const std::string& text) {
    const json parsed = json::parse(text, nullptr, false);
    if (parsed.is_discarded()) throw Foreign{"the line is damaged (no JSON)"};
    if (!parsed.is_object()) throw Foreign{"no record of a peer (no JSON object)"};
    record(parsed);
}

void FolderReader::record(const json& record) {
    const double time = count_of(record, "time");
    if (time > kLatestTime) throw Foreign{"\"time\" is beyond all reason"};
    const std::string event = text_of(record, "event");
    static const std::set<std::string> known = {"micro_batch",  "round",   "step",    "held_out",
                                                "synchronised", "trouble", "started", "model",
                                                "resumed",      "peer",    "stopped"};
    if (!known.contains(event)) throw Foreign{"unknown event \"" + printable(event) + "\""};
    // A record counts whole or not at all, so what can be wrong with it is found in a copy.
    Participant part;
    if (event == "started") {
        part.peer = peer_of(record, "peer");
        part.name = printable(text_of(record, "name"));
        part.role = printable(text_of(record, "role"));
        const std::string run = printable(text_of(record, "run"));
        if (!run.empty()) records_.report.runs.insert(run);  // a seed may serve any run
    } else if (event == "micro_batch") {
        part.micro_batches = count_of(record, "micro_batches");
        part.samples = count_of(record, "samples");
        part.dropped = count_of(record, "dropped");
    } else if (event == "round") {
        round(part, record, time);
    } else if (event == "step") {
        step(part, record, time);
    } else if (event == "synchronised") {
        synchronised(part, record, time);
    } else if (event == "trouble") {
        ++part.failures[printable(text_of(record, "kind"))];
    }
    const bool echo = (event == "peer" || event == "trouble") && !stretches_.empty() &&
                      stretches_.back().session().stopped;  // of a process that has said goodbye
    Stretch& stretch = echo ? stretches_.back() : stretch_at(time, event);
    Participant& all = stretch.part;
    if (event == "started") all.peer = part.peer, all.name = part.name, all.role = part.role;
    add(all, part);
    if (event == "stopped") stretch.session().stopped = true;
}

/// The session that a record belongs to: a new one where a process began, or after a silence.
Stretch& FolderReader::stretch_at(double time, const std::string& event) {
    const bool opens = event == "model" || event == "started";
    bool fresh = stretches_.empty() || stretches_.back().session().stopped;
    if (!fresh) {
        const Stretch& last = stretches_.back();
        fresh =
            time - last.session().end > away_seconds_ || (opens && !(event == "started" && last.only_opened));
    }
    if (fresh) {
        Stretch next;
        // The same process goes on after a silence.
        if (!opens && !stretches_.empty()) {
            const Participant& last = stretches_.back().part;
            next.part.peer = last.peer, next.part.name = last.name, next.part.role = last.role;
        }
        next.part.has_records = true;
        next.part.sessions.push_back({time, time, false});
        next.folder = folder_;
        stretches_.push_back(std::move(next));
    }
    Stretch& stretch = stretches_.back();
    stretch.session().end = std::max(stretch.session().end, time);
    stretch.only_opened = stretch.only_opened && (event == "model" || event == "resumed");
    return stretch;
}

void FolderReader::round(Participant& part, const json& record, double time) {
    const auto step = static_cast<std::int64_t>(count_of(record, "step"));
    const std::string outcome = text_of(record, "outcome");
    part.bytes_sent = count_of(record, "bytes_sent");
    part.bytes_received = count_of(record, "bytes_received");
    std::map<std::string, Contribution> members;
    for (const json& member : list_of(record, "members")) {
        if (!member.is_object()) throw Foreign{"a member is no object"};
        members[peer_of(member, "peer").substr(0, kShortName)] = {time, count_of(member, "weight"),
                                                                  printable(text_of(member, "role"))};
    }
    if (outcome == "averaged") {
        // Every member tells of the round. If a step was done anew from a checkpoint, the last time counts.
        for (const auto& [peer, contribution] : members) {
            Contribution& known = records_.contributions[{step, peer}];
            if (contribution.time >= known.time) known = contribution;
        }
        return;
    }
    collective::Verdict verdict;
    verdict.outcome =
        outcome == "cut_off" ? collective::Verdict::Outcome::cut_off : collective::Verdict::Outcome::failed;
    verdict.cause = text_of(record, "cause");
    verdict.contributors.resize(members.size());
    ++part.failures[std::string(cause_word(verdict))];
}

void FolderReader::step(Participant& part, const json& record, double time) {
    const auto step = static_cast<std::int64_t>(count_of(record, "step"));
    const double loss = number_or_nan(record, "swarm_loss");
    part.steps.insert(step);
    const auto [known, first] = records_.report.steps.try_emplace(step, StepOfRun{time, loss});
    if (first) return;
    known->second.time = std::min(known->second.time, time);
    if (!std::isfinite(known->second.loss)) known->second.loss = loss;
}

void FolderReader::synchronised(Participant& part, const json& record, double time) {
    const double bytes = count_of(record, "bytes");
    std::set<std::string> donors;
    for (const json& donor : list_of(record, "donors")) {
        if (!donor.is_string()) throw Foreign{"a donor is no text"};
        donors.insert(peer_of(json{{"donor", donor}}, "donor").substr(0, kShortName));
    }
    part.bytes_received = bytes;
    // By the time and the amount, so that a copied folder does not count twice.
    for (const std::string& donor : donors)
        records_.state_sent[{donor, time}][fmt::format("{}", bytes)] =
            bytes / static_cast<double>(donors.size());
}

void FolderReader::finish() {
    Participant known;
    for (const Stretch& stretch : stretches_)
        if (known.peer.empty()) known = stretch.part;
    for (Stretch& stretch : stretches_) {
        Participant& part = stretch.part;
        if (part.peer.empty()) part.peer = known.peer, part.name = known.name, part.role = known.role;
        if (part.name.empty()) part.name = printable(folder_.filename().string());
        known.peer = part.peer, known.name = part.name, known.role = part.role;
        records_.stretches.push_back(std::move(stretch));
    }
}

/// Folders that hold records, with their files, the older first.
std::map<std::filesystem::path, std::vector<std::filesystem::path>> files_of(
    const std::vector<std::filesystem::path>& folders, std::vector<std::string>& warnings) {
    namespace fs = std::filesystem;
    std::map<fs::path, std::vector<fs::path>> found;
    for (const fs::path& folder : folders) {
        std::error_code error;
        std::set<fs::path> holders = {folder};
        fs::recursive_directory_iterator entry(folder, fs::directory_options::skip_permission_denied, error);
        if (error) {
            warnings.push_back(fmt::format("{}: cannot be read ({})", folder.string(), error.message()));
            continue;
        }
        for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
            std::error_code ignored;
            if (entry->is_directory(ignored)) holders.insert(entry->path());
        }
        if (error)
            warnings.push_back(
                fmt::format("{}: cannot be read any further ({})", folder.string(), error.message()));
        const std::size_t before = found.size();
        for (const fs::path& holder : holders) {
            std::vector<fs::path> files;
            for (const char* name : {"metrics.old.jsonl", "metrics.jsonl"})
                if (std::error_code ignored; fs::is_regular_file(holder / name, ignored))
                    files.push_back(holder / name);
            const fs::path one = fs::weakly_canonical(holder, error);  // given twice, it counts once
            if (!files.empty()) found.try_emplace(error ? holder : one, std::move(files));
        }
        if (found.size() == before)
            warnings.push_back(folder.string() + ": holds no metrics.jsonl that was not read already");
    }
    return found;
}

/// Joins the sessions of each peer, without copies.
std::map<std::string, Participant> join(std::vector<Stretch> stretches, std::vector<std::string>& warnings) {
    std::stable_sort(stretches.begin(), stretches.end(), [](const Stretch& a, const Stretch& b) {
        return std::tuple(a.part.peer, a.session().start, -a.session().end) <
               std::tuple(b.part.peer, b.session().start, -b.session().end);
    });
    std::map<std::string, Participant> joined;
    const Stretch* last = nullptr;
    for (const Stretch& stretch : stretches) {
        const Participant& part = stretch.part;
        if (last && !part.peer.empty() && last->part.peer == part.peer && last->folder != stretch.folder &&
            last->session().start == stretch.session().start) {
            warnings.push_back(fmt::format("{}: holds a session of {} that {} holds, too: a copy; skipped",
                                           stretch.folder.string(), part.name, last->folder.string()));
            continue;
        }
        last = &stretch;
        Participant& all = joined[part.peer.empty() ? "folder " + stretch.folder.string() : part.peer];
        all.name = part.name, all.peer = part.peer, all.role = part.role;
        all.has_records = true;
        all.sessions.push_back(stretch.session());
        add(all, part);
    }
    return joined;
}

}  // namespace

RunReport read_run_report(const std::vector<std::filesystem::path>& folders, double away_seconds) {
    Records records;
    RunReport& report = records.report;
    for (const auto& [folder, files] : files_of(folders, report.warnings)) {
        FolderReader reader(records, folder, away_seconds);
        for (const auto& file : files) reader.read(file);
        reader.finish();
    }
    if (records.stretches.empty()) {
        std::string named;
        for (const auto& folder : folders) named += (named.empty() ? "" : ", ") + folder.string();
        throw Error(ErrorKind::system,
                    fmt::format("no record of a run can be read in {}: name folders of peers (what `shoal "
                                "train` was given as --folder), or one above them{}{}",
                                named, report.warnings.empty() ? "" : "; first problem: ",
                                report.warnings.empty() ? "" : report.warnings.front()));
    }
    std::map<std::string, Participant> joined = join(std::move(records.stretches), report.warnings);
    std::map<std::string, Participant*> by_short_name;
    for (auto& [key, part] : joined)
        if (!part.peer.empty()) by_short_name[part.peer.substr(0, kShortName)] = &part;
    const auto participant = [&](const std::string& peer, const std::string& role) -> Participant& {
        Participant*& found = by_short_name[peer];
        if (!found) {
            found = &joined[peer];
            found->name = found->peer = peer, found->role = role;
        }
        return *found;
    };
    for (const auto& [key, contribution] : records.contributions)
        participant(key.second, contribution.role).counted_samples += contribution.weight;
    for (const auto& [key, parts] : records.state_sent)
        for (const auto& [amount, bytes] : parts) participant(key.first, "-").bytes_sent += bytes;
    for (auto& [key, part] : joined) report.participants.push_back(std::move(part));
    std::stable_sort(report.participants.begin(), report.participants.end(),
                     [](const Participant& a, const Participant& b) {
                         return std::tuple(-a.counted_samples, -a.samples, a.name) <
                                std::tuple(-b.counted_samples, -b.samples, b.name);
                     });
    if (report.runs.size() > 1)
        report.warnings.push_back(fmt::format("records of {} runs are mixed here and counted together: {}",
                                              report.runs.size(), fmt::join(report.runs, ", ")));
    return report;
}

}  // namespace shoal::run
