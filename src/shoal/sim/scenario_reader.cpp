#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <limits>
#include <sstream>
#include <toml++/toml.h>

#include "shoal/base/error.h"
#include "shoal/run/schema.h"
#include "shoal/sim/scenario.h"

namespace shoal::sim {

using collective::Role;

namespace {

constexpr double kBytesPerMegabit = 1e6 / 8;
constexpr double kLongest = 1e8;  ///< seconds
constexpr std::int64_t kMostPeers = 10'000;

[[noreturn]] void fail(const std::string& file, const toml::node& where, const std::string& what) {
    throw Error(ErrorKind::bad_input, fmt::format("{}:{}: {}", file, where.source().begin.line, what));
}

/// One value of the file on its way into a T.
struct Reading {
    const std::string& file;
    const std::string& key;
    const toml::node& node;

    [[noreturn]] void fail(const std::string& what) const { sim::fail(file, node, key + " " + what); }

    double number(double low, double high) const {
        const auto value = node.is_number() ? node.value<double>() : std::nullopt;
        if (!value) fail("must be a number");
        if (!(*value >= low && *value <= high))
            fail(fmt::format("must lie between {} and {}, not be {}", low, high, *value));
        return *value;
    }
    std::int64_t whole(std::int64_t low, std::int64_t high) const {
        const auto value = node.is_integer() ? node.value<std::int64_t>() : std::nullopt;
        if (!value) fail("must be a whole number");
        if (*value < low || *value > high)
            fail(fmt::format("must lie between {} and {}, not be {}", low, high, *value));
        return *value;
    }
    bool flag() const {
        const auto value = node.is_boolean() ? node.value<bool>() : std::nullopt;
        if (!value) fail("must be true or false");
        return *value;
    }
    std::string text() const {
        const auto value = node.is_string() ? node.value<std::string>() : std::nullopt;
        if (!value) fail("must be a text");
        return *value;
    }
    std::vector<std::string> texts() const {
        std::vector<std::string> all;
        const toml::array* array = node.as_array();
        if (array == nullptr) fail("must be a list of texts");
        for (const toml::node& element : *array) all.push_back(Reading{file, key, element}.text());
        return all;
    }
    std::vector<double> numbers(double low, double high) const {
        std::vector<double> all;
        const toml::array* array = node.as_array();
        if (array == nullptr) fail("must be a list of numbers");
        for (const toml::node& element : *array) all.push_back(Reading{file, key, element}.number(low, high));
        return all;
    }
    /// One of the words that `name_of` gives to the values from 0 to `count` - 1.
    template <typename Enum, typename NameOf>
    Enum word(int count, NameOf name_of) const {
        const std::string given = text();
        std::vector<std::string> words;
        for (int i = 0; i < count; ++i) {
            words.emplace_back(name_of(static_cast<Enum>(i)));
            if (words.back() == given) return static_cast<Enum>(i);
        }
        fail(fmt::format("must be one of {}, not \"{}\"", fmt::join(words, ", "), given));
    }
};

template <typename T>
struct Key {
    const char* name;
    const char* meaning;
    std::function<void(T&, const Reading&)> read;
};

const std::vector<Key<Scenario>>& scenario_table() {
    static const std::vector<Key<Scenario>> table{
        {"about", "one line for people", [](auto& s, const auto& r) { s.about = r.text(); }},
        {"target_batch_size", "samples of a global step",
         [](auto& s, const auto& r) { s.target_batch_size = r.whole(1, 1'000'000'000); }},
        {"steps", "ends after this many global steps; 0: after `duration`",
         [](auto& s, const auto& r) { s.steps = r.whole(0, 1'000'000); }},
        {"duration", "seconds of virtual time at most",
         [](auto& s, const auto& r) { s.duration = r.number(1, kLongest); }},
        {"payload_megabytes", "of one encoded gradient, 10^6 bytes",
         [](auto& s, const auto& r) { s.payload_bytes = 1e6 * r.number(1e-6, 1e6); }},
        {"parameters", "floats of the vector that really travels and stands for the payload",
         [](auto& s, const auto& r) { s.parameters = static_cast<std::size_t>(r.whole(16, 1 << 24)); }},
        {"ideal_averaging_seconds", "of one averaging without latency and overhead, for --check",
         [](auto& s, const auto& r) { s.ideal_averaging_seconds = r.number(0, kLongest); }},
        {"ideal_step_seconds", "of one step without latency and overhead, for --check",
         [](auto& s, const auto& r) { s.ideal_step_seconds = r.number(0, kLongest); }},
        {"adaptive_quorum", "true: a round waits for late peers only as long as it pays",
         [](auto& s, const auto& r) { s.adaptive_quorum = r.flag(); }},
        {"choose_roles", "true: who sends too slowly to be of use computes nothing",
         [](auto& s, const auto& r) { s.choose_roles = r.flag(); }},
        {"group_size", "the swarm averages in groups of about so many peers; 0: in one group",
         [](auto& s, const auto& r) { s.group_size = r.whole(0, 64); }},
        {"parameter_spread", "standard deviation of the parameters that the peers begin with",
         [](auto& s, const auto& r) { s.parameter_spread = r.number(0, 1000); }},
        {"delayed", "true: the next batch is computed while this one is averaged",
         [](auto& s, const auto& r) { s.delayed = r.flag(); }},
        {"load_balancing", "false: every reducer owns an equal share",
         [](auto& s, const auto& r) { s.load_balancing = r.flag(); }},
        {"segment_bytes", "that a stream sends at most before another may; less on slow lines",
         [](auto& s, const auto& r) { s.segment_bytes = static_cast<std::size_t>(r.whole(1500, 1 << 30)); }},
        {"jitter", "seconds, of each packet's way",
         [](auto& s, const auto& r) { s.jitter = r.number(0, 10); }},
        {"directory_delay", "seconds until a record is seen, at most",
         [](auto& s, const auto& r) { s.directory_delay = r.number(0.001, 60); }},
        {"directory_loss", "share of the pushes that come 5 s late",
         [](auto& s, const auto& r) { s.directory_loss = r.number(0, 1); }},
        {"regions", "names of the regions", [](auto& s, const auto& r) { s.regions = r.texts(); }},
        {"region_latency_ms", "rows and columns in the order of `regions`, one way",
         [](auto& s, const auto& r) {
             const toml::array* rows = r.node.as_array();
             if (rows == nullptr) r.fail("must be a list of lists of numbers");
             for (const toml::node& row : *rows) {
                 s.region_latency.push_back(Reading{r.file, r.key, row}.numbers(0, 10'000));
                 for (double& latency : s.region_latency.back()) latency /= 1000;
             }
         }}};
    return table;
}

const std::vector<Key<PeerGroup>>& peer_table() {
    static const std::vector<Key<PeerGroup>> table{
        {"name", "of the group", [](auto& p, const auto& r) { p.name = r.text(); }},
        {"count", "how many peers", [](auto& p, const auto& r) { p.count = r.whole(1, kMostPeers); }},
        {"role", "full, client (accepts no connections), or auxiliary (computes nothing)",
         [](auto& p, const auto& r) {
             p.role = r.template word<Role>(3, [](Role role) { return to_string(role); });
         }},
        {"upload", "Mbit/s; 0: unlimited",
         [](auto& p, const auto& r) { p.upload = kBytesPerMegabit * r.number(0, 1e6); }},
        {"download", "Mbit/s; 0: unlimited",
         [](auto& p, const auto& r) { p.download = kBytesPerMegabit * r.number(0, 1e6); }},
        {"latency_ms", "from the peer to its region's middle, one way",
         [](auto& p, const auto& r) { p.latency = from_seconds(r.number(0, 10'000) / 1000); }},
        {"region", "where the peers are", [](auto& p, const auto& r) { p.region = r.text(); }},
        {"samples_per_second", "of one peer",
         [](auto& p, const auto& r) { p.samples_per_second = r.number(1e-6, 1e9); }},
        {"micro_batch", "samples", [](auto& p, const auto& r) { p.micro_batch = r.whole(1, 1'000'000); }},
        {"time_jitter", "a micro-batch takes up to this share longer",
         [](auto& p, const auto& r) { p.time_jitter = r.number(0, 100); }},
        {"joins_at", "seconds", [](auto& p, const auto& r) { p.joins_at = r.number(0, kLongest); }},
        {"joins_within", "seconds over which the joins are spread",
         [](auto& p, const auto& r) { p.joins_within = r.number(0, kLongest); }},
        {"median_session", "seconds until a peer is gone; 0: it stays",
         [](auto& p, const auto& r) { p.median_session = r.number(0, kLongest); }},
        {"median_absence", "seconds until it is back; 0: never",
         [](auto& p, const auto& r) { p.median_absence = r.number(0, kLongest); }},
        {"crashes", "share of the sessions that end without a goodbye",
         [](auto& p, const auto& r) { p.crashes = r.number(0, 1); }}};
    return table;
}

const std::vector<Key<ScenarioEvent>>& event_table() {
    using What = ScenarioEvent::What;
    static const std::vector<Key<ScenarioEvent>> table{
        {"at", "seconds", [](auto& e, const auto& r) { e.at = r.number(0, kLongest); }},
        {"what", "partition, heal, crash, freeze, thaw, restart (of the crashed), slow, fast",
         [](auto& e, const auto& r) {
             e.what = r.template word<What>(8, [](What what) { return to_string(what); });
         }},
        {"peers", "names of groups; none: all", [](auto& e, const auto& r) { e.peers = r.texts(); }},
        {"count", "how many of them, drawn by the seed; 0: all",
         [](auto& e, const auto& r) { e.count = r.whole(0, kMostPeers); }},
        {"factor", "of `slow`: what is left of the rates",
         [](auto& e, const auto& r) { e.factor = r.number(1e-6, 1); }},
        {"every", "seconds between repetitions; 0: once",
         [](auto& e, const auto& r) { e.every = r.number(0, kLongest); }},
        {"until", "seconds: no repetition after this",
         [](auto& e, const auto& r) { e.until = r.number(0, kLongest); }}};
    return table;
}

template <typename T>
T read_table(const std::string& file, const toml::table& table, const std::vector<Key<T>>& keys) {
    T result;
    for (const auto& [name, node] : table) {
        const std::string key(name.str());
        const auto known =
            std::find_if(keys.begin(), keys.end(), [&key](const Key<T>& k) { return key == k.name; });
        if (known == keys.end()) {
            std::vector<std::string> names;
            for (const Key<T>& k : keys) names.emplace_back(k.name);
            const std::string guess = run::nearest(key, names);
            fail(file, node,
                 fmt::format("unknown key \"{}\"{}", key,
                             guess.empty() ? "" : "; did you mean \"" + guess + "\"?"));
        }
        known->read(result, Reading{file, key, node});
    }
    return result;
}

template <typename T>
std::vector<T> read_tables(const std::string& file, const toml::node& node, const std::string& name,
                           const std::vector<Key<T>>& keys) {
    const toml::array* array = node.as_array();
    if (array == nullptr) fail(file, node, fmt::format("write [[{}]], a table for each", name));
    std::vector<T> all;
    for (const toml::node& element : *array) {
        const toml::table* table = element.as_table();
        if (table == nullptr) fail(file, element, fmt::format("write [[{}]], a table for each", name));
        all.push_back(read_table(file, *table, keys));
    }
    return all;
}

void check_names(const std::string& file, const toml::table& root, const Scenario& scenario) {
    const auto wrong = [&](const std::string& what) { fail(file, root, what); };
    if (scenario.peers.empty()) wrong("a scenario needs [[peers]]");
    if (scenario.peer_count() > kMostPeers)
        wrong(fmt::format("{} peers are too many; at most {}", scenario.peer_count(), kMostPeers));
    std::vector<std::string> groups;
    for (const PeerGroup& group : scenario.peers) {
        if (group.name.empty()) wrong("every [[peers]] needs a name");
        if (std::find(groups.begin(), groups.end(), group.name) != groups.end())
            wrong(fmt::format("two [[peers]] are called \"{}\"", group.name));
        groups.push_back(group.name);
        const auto& regions = scenario.regions;
        if (!group.region.empty() && std::find(regions.begin(), regions.end(), group.region) == regions.end())
            wrong(fmt::format("peers \"{}\": there is no region \"{}\"", group.name, group.region));
    }
    for (const ScenarioEvent& event : scenario.events) {
        for (const std::string& name : event.peers)
            if (std::find(groups.begin(), groups.end(), name) == groups.end())
                wrong(
                    fmt::format("the event at {} s names peers \"{}\", which there are not", event.at, name));
        if (event.what == ScenarioEvent::What::partition && event.peers.empty())
            wrong(fmt::format("the partition at {} s needs `peers`: who finds itself apart", event.at));
    }
    const std::size_t regions = scenario.regions.size();
    bool square = scenario.region_latency.size() == regions;
    for (const auto& row : scenario.region_latency) square = square && row.size() == regions;
    if (!square)
        wrong(
            fmt::format("region_latency_ms must have {0} rows of {0} numbers, one for each region", regions));
}

template <typename T>
void append_keys(std::string& text, const char* section, const std::vector<Key<T>>& keys) {
    text += section;
    text += '\n';
    for (const Key<T>& key : keys) text += fmt::format("  {:<24} {}\n", key.name, key.meaning);
}

}  // namespace

std::int64_t Scenario::peer_count() const {
    std::int64_t count = 0;
    for (const PeerGroup& group : peers) count += group.count;
    return count;
}

std::string_view to_string(ScenarioEvent::What what) {
    constexpr std::array<std::string_view, 8> kWords{"partition", "heal",    "crash", "freeze",
                                                     "thaw",      "restart", "slow",  "fast"};
    return kWords.at(static_cast<std::size_t>(what));
}

Scenario parse_scenario(std::string_view toml, const std::string& file) {
    toml::table root;
    try {
        root = toml::parse(toml, file);
    } catch (const toml::parse_error& error) {
        throw Error(ErrorKind::bad_input,
                    fmt::format("{}:{}: {}", file, error.source().begin.line, error.description()));
    }
    Scenario scenario;
    if (const toml::node* node = root.get("scenario")) {
        if (!node->is_table()) fail(file, *node, "write [scenario]");
        scenario = read_table(file, *node->as_table(), scenario_table());
    }
    for (const auto& [name, node] : root) {
        const std::string section(name.str());
        if (section == "peers")
            scenario.peers = read_tables(file, node, section, peer_table());
        else if (section == "events")
            scenario.events = read_tables(file, node, section, event_table());
        else if (section != "scenario")
            fail(file, node,
                 fmt::format("unknown section \"{}\"; there are scenario, peers and events", section));
    }
    scenario.name = std::filesystem::path(file).stem().string();
    if (scenario.group_size == 1 || (scenario.group_size > 0 && scenario.delayed))
        fail(file, root, "group_size must be 0 or at least 2, and does not go with delayed = true");
    check_names(file, root, scenario);
    return scenario;
}

Scenario load_scenario(const std::string& name_or_file) {
    std::vector<std::string_view> names;
    for (const ReadyScenario& ready : ready_scenarios()) {
        if (ready.name == name_or_file) return parse_scenario(ready.toml, name_or_file + ".toml");
        names.push_back(ready.name);
    }
    std::ifstream in(name_or_file, std::ios::binary);
    std::error_code error;
    if (!in || std::filesystem::is_directory(name_or_file, error))
        throw Error(ErrorKind::bad_input,
                    fmt::format("{} is neither a file nor a ready scenario; those are {}", name_or_file,
                                fmt::join(names, ", ")));
    std::ostringstream text;
    text << in.rdbuf();
    return parse_scenario(std::move(text).str(), name_or_file);
}

void shorten(Scenario& scenario) {
    if (scenario.steps > 0) scenario.steps = std::max<std::int64_t>(1, scenario.steps / 8);
    scenario.duration = std::max(60.0, scenario.duration / 8);
}

std::string scenario_keys() {
    std::string text;
    append_keys(text, "[scenario]", scenario_table());
    append_keys(text, "[[peers]]", peer_table());
    append_keys(text, "[[events]]", event_table());
    return text;
}

}  // namespace shoal::sim
