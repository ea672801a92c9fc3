#include "shoal/sim/simulated_directory.h"

#include <algorithm>
#include <memory>

namespace shoal::sim {

namespace {

using Name = std::pair<PeerId, std::string>;  // owner, subkey

/// Records never change; all that see one share it.
using RecordPointer = std::shared_ptr<const dht::Record>;

struct Entry {
    RecordPointer record;
    std::uint64_t partition = 0;  // the one in which it was stored
    RecordPointer previous;       // what those beyond that partition go on seeing
};

struct Watch {
    PeerId peer;
    std::string key;
    dht::Watcher watcher;
    std::map<Name, std::uint64_t> seen;  // newest sequence pushed
    bool missed = false;                 // a push, for want of a way to the peer
};

void check_bounds(const std::string& key, const std::string& subkey, const Bytes& value,
                  Duration time_to_live) {
    const auto refuse = [](const char* what) { throw Error(ErrorKind::invalid_argument, what); };
    if (key.empty() || key.size() > dht::kMaximumKeyBytes)
        refuse("the key of a directory record is too long");
    if (subkey.size() > dht::kMaximumSubkeyBytes) refuse("the subkey of a directory record is too long");
    if (value.size() > dht::kMaximumValueBytes) refuse("the value of a directory record is too long");
    if (time_to_live <= Duration(0) || time_to_live > dht::kMaximumTimeToLive)
        refuse("the time to live of a directory record is out of bounds");
}

}  // namespace

struct SimulatedDirectoryService::State : std::enable_shared_from_this<State> {
    State(SimulatedInternet& net, DirectorySettings given)
        : internet(net), settings(given), random(net.simulation().random().split()) {}

    SimulatedInternet& internet;
    DirectorySettings settings;
    Random random;
    bool closed = false;
    std::map<std::string, std::map<Name, Entry>> records;  // an entry stays where it is, for ever
    std::map<PeerId, std::uint64_t> sequences;
    std::map<std::string, std::vector<std::weak_ptr<Watch>>> watches;  // by key

    Timeline& timeline() { return *internet.simulation().timeline(); }

    Duration delay() {
        const auto range = settings.maximum_delay - settings.minimum_delay;
        if (range <= Duration(0)) return settings.minimum_delay;
        return settings.minimum_delay + Duration(random.below(static_cast<std::uint64_t>(range.count()) + 1));
    }

    const dht::Record* seen_by(const PeerId& reader, const Entry& entry) const {
        if (!entry.record) return nullptr;
        if (internet.is_reachable(entry.record->owner, reader) ||
            entry.partition != internet.partition_number())
            return entry.record.get();
        return entry.previous.get();
    }

    void store(dht::Record given) {
        const auto record = std::make_shared<const dht::Record>(std::move(given));
        Entry& entry = records[record->key][{record->owner, record->subkey}];
        if (entry.record && entry.record->sequence >= record->sequence) return;
        if (entry.record && entry.partition != internet.partition_number())
            entry.previous = std::move(entry.record);
        entry.partition = internet.partition_number();
        entry.record = record;
        const auto watching = watches.find(record->key);
        if (watching == watches.end()) return;
        for (const auto& weak : watching->second)
            if (const auto watch = weak.lock()) push_later(watch, entry, record);
    }

    void push_later(const std::shared_ptr<Watch>& watch, const Entry& entry, const RecordPointer& record) {
        Duration wait = delay();
        if (settings.push_loss > 0 && random.uniform() < settings.push_loss) wait += settings.repair_delay;
        const std::weak_ptr<Watch> weak = watch;
        timeline().after(wait, [state = shared_from_this(), weak, place = &entry, record] {
            if (const auto still = weak.lock(); still && !state->closed) state->push(*still, *place, *record);
        });
    }

    /// The caller holds the watch: its watcher may drop its own token.
    void push(Watch& watch, const Entry& entry, const dht::Record& record) {
        if (internet.is_crashed(watch.peer)) return;
        if (internet.is_frozen(watch.peer)) {  // again when it thaws
            watch.missed = true;
            return;
        }
        const dht::Record* visible = seen_by(watch.peer, entry);
        if (!visible || visible->sequence < record.sequence) {  // again when the partition heals
            watch.missed = true;
            return;
        }
        if (record.expires <= internet.clock(watch.peer).wall_now()) return;
        std::uint64_t& seen = watch.seen[{record.owner, record.subkey}];
        if (record.sequence <= seen) return;
        seen = record.sequence;
        watch.watcher(record);
    }

    void push_missed(const std::shared_ptr<Watch>& watch) {
        for (const auto& [name, entry] : records[watch->key])
            if (entry.record && entry.record->sequence > watch->seen[name])
                push_later(watch, entry, entry.record);
    }

    void topology_changed() {
        for (auto& [key, watching] : watches) {
            std::erase_if(watching, [](const auto& weak) { return weak.expired(); });
            for (const auto& weak : watching)
                if (const auto watch = weak.lock(); watch && std::exchange(watch->missed, false))
                    push_missed(watch);
        }
        std::erase_if(watches, [](const auto& of_key) { return of_key.second.empty(); });
    }
};

namespace {

class SimulatedDirectory final : public dht::Directory {
  public:
    SimulatedDirectory(std::shared_ptr<SimulatedDirectoryService::State> state, const PeerId& owner)
        : state_(std::move(state)), owner_(owner) {}

    awaitable<void> publish(std::string key, std::string subkey, Bytes value,
                            Duration time_to_live) override {
        check_bounds(key, subkey, value, time_to_live);
        const auto state = state_;
        VirtualClock& clock = state->internet.clock(owner_);
        dht::Record record;
        record.key = std::move(key);
        record.owner = owner_;
        record.subkey = std::move(subkey);
        record.sequence = ++state->sequences[owner_];
        record.expires = clock.wall_now() + std::chrono::floor<std::chrono::milliseconds>(time_to_live);
        record.value = std::move(value);
        co_await clock.sleep_for(state->delay());
        state->store(std::move(record));
    }

    awaitable<std::vector<dht::Record>> read(std::string key) override {
        const auto state = state_;
        VirtualClock& clock = state->internet.clock(owner_);
        co_await clock.sleep_for(state->delay());
        std::vector<dht::Record> result;
        for (const auto& [name, entry] : state->records[key]) {
            const dht::Record* record = state->seen_by(owner_, entry);
            if (!record || record->expires <= clock.wall_now()) continue;
            if (state->settings.read_loss > 0 && state->random.uniform() < state->settings.read_loss)
                continue;
            result.push_back(*record);
        }
        co_return result;
    }

    std::shared_ptr<void> watch(std::string key, dht::Watcher watcher) override {
        auto watch = std::make_shared<Watch>();
        watch->peer = owner_;
        watch->key = std::move(key);
        watch->watcher = std::move(watcher);
        state_->watches[watch->key].push_back(watch);
        state_->push_missed(watch);
        return watch;
    }

  private:
    std::shared_ptr<SimulatedDirectoryService::State> state_;
    PeerId owner_;
};

}  // namespace

SimulatedDirectoryService::SimulatedDirectoryService(SimulatedInternet& internet, DirectorySettings settings)
    : state_(std::make_shared<State>(internet, settings)) {
    const std::weak_ptr<State> weak = state_;
    internet.on_topology_change([weak] {
        if (const auto state = weak.lock(); state && !state->closed) state->topology_changed();
    });
}

SimulatedDirectoryService::~SimulatedDirectoryService() {
    state_->closed = true;
}

std::shared_ptr<dht::Directory> SimulatedDirectoryService::join(const PeerId& owner) {
    return std::make_shared<SimulatedDirectory>(state_, owner);
}

void SimulatedDirectoryService::inject(dht::Record record) {
    state_->store(std::move(record));
}

}  // namespace shoal::sim
