// A small sample of a swarm that averages in groups, in the directory: how large it is, how far it has come,
// and who has its state. Nobody watches it, and nobody need read all of it.
//
// Every peer has a level by a hash of its PeerId (census_level): half of the peers have level 0, a quarter
// level 1, and so on. There is a key for each level. A reader begins at the level from which on some
// kEnoughInCensus peers are to be found, by what it believes of the swarm's size, and reads kLevelsRead
// levels at once; only if there are far too few it goes down. Whoever is at or above the level at which it
// stopped itself keeps a record there; the many below need none.
//
// Identities cost nothing, and those that stand high little, so a census is a hint: it may tell a newcomer
// where to look, and is one claim among others of the swarm's size. It moves nobody who trains
// (group_progress.h).
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "shoal/base/log.h"
#include "shoal/collective/progress_record.h"

namespace shoal::collective {

inline constexpr std::size_t kEnoughInCensus = 32;
/// Above the lowest: the 2^-8-th part of the sample stands higher.
inline constexpr unsigned kLevelsRead = 8;

class GroupCensus {
  public:
    GroupCensus(dht::Directory& directory, Clock& clock, const PeerId& self, std::string run, Log log);

    /// Looks again. Throws what Directory::read throws; what is known is then as it was.
    /// @param expected_size  of the swarm, for where to begin; the first time all levels are read at once,
    /// and
    ///                       it is what most of them say
    awaitable<void> read(double expected_size);
    bool has_been_read() const { return has_been_read_; }

    /// Others in the sample whose records live. A record under a level that is not its owner's is none.
    const std::map<PeerId, Progress>& sample() const { return sample_; }
    /// Peers in the swarm, this one included.
    double size() const { return size_; }
    /// The same; nothing before it has been read.
    std::optional<double> counted() const { return has_been_read_ ? std::optional(size_) : std::nullopt; }
    /// The step that half of the sample's training peers have reached (of all, where none trains), without
    /// those in doubt; 0 where there is none.
    Step step(const std::function<bool(const PeerId&)>& doubted) const;
    /// These peers of a group, and those of the sample that are not in doubt, both by ascending PeerId: of a
    /// peer in both the group knows better.
    std::vector<Progress> and_sample(std::vector<Progress> group,
                                     const std::function<bool(const PeerId&)>& doubted) const;
    /// True if this peer's record is wanted.
    bool wants_us() const { return level_ >= stopped_at_; }
    /// Where it goes.
    std::string own_key() const { return key(level_); }

    /// Reads one group's key, to see whether the swarm is where a census says: how many train at about that
    /// step, of those that have their place there and are not in doubt. Throws as read().
    awaitable<std::size_t> count_in_group(std::string group_key, Step step,
                                          std::function<bool(const PeerId&)> counts);

  private:
    using Sample = std::map<PeerId, Progress>;
    std::string key(unsigned level) const;
    awaitable<void> read_levels(unsigned lowest, unsigned end, std::vector<Sample>& levels);
    awaitable<void> read_level(unsigned level, Sample& sample);
    double size_by_levels(const std::vector<Sample>& levels) const;

    dht::Directory& directory_;
    Clock& clock_;
    PeerId self_;
    std::string run_;
    Log log_;
    unsigned level_;
    unsigned stopped_at_ = 0;
    bool has_been_read_ = false;
    double size_ = 1;
    Sample sample_;
};

}  // namespace shoal::collective
