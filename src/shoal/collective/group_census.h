// A small sample of a swarm that averages in groups, in the directory: how large it is, how far it has come,
// and who has its state. Nobody watches it, and nobody need read all of it.
//
// Every peer has a level by a hash of its PeerId (census_level): half of the peers have level 0, a quarter
// level 1, and so on. There is a key for each level. A reader begins at the highest level and stops as soon
// as it has seen kEnoughInCensus peers; at level k these are the 2^-k-th part of the swarm. Whoever is at or
// above the level at which it stopped itself keeps a record there; the many below need none.
#pragma once

#include <map>
#include <string>

#include "shoal/base/log.h"
#include "shoal/collective/progress_record.h"

namespace shoal::collective {

inline constexpr std::size_t kEnoughInCensus = 32;

class GroupCensus {
  public:
    GroupCensus(dht::Directory& directory, Clock& clock, const PeerId& self, std::string run, Log log);

    /// Looks again. Throws what Directory::read throws; what is known is then as it was.
    awaitable<void> read();
    bool has_been_read() const { return has_been_read_; }

    /// Others in the sample whose records live. A record under a level that is not its owner's is none.
    const std::map<PeerId, Progress>& sample() const { return sample_; }
    /// Peers in the swarm, this one included.
    double size() const { return size_; }
    /// The step that half of the sample's training peers have reached (of all, where none trains); 0 where
    /// there is none.
    Step step() const { return step_; }
    /// True if this peer's record is wanted.
    bool wants_us() const { return level_ >= stopped_at_; }
    /// Where it goes.
    std::string own_key() const { return key(level_); }

  private:
    std::string key(unsigned level) const;
    Step middle_step() const;

    dht::Directory& directory_;
    Clock& clock_;
    PeerId self_;
    std::string run_;
    Log log_;
    unsigned level_;
    unsigned stopped_at_ = 0;
    bool has_been_read_ = false;
    double size_ = 1;
    Step step_{};
    std::map<PeerId, Progress> sample_;
};

}  // namespace shoal::collective
