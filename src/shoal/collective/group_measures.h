// What a peer that averages in groups has found out about its swarm: how many peers there are, and how long
// they take for a batch.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>

#include "shoal/collective/step_group.h"

namespace shoal::collective {

class GroupMeasures {
  public:
    double size() const { return size_; }
    void set_size(double size) { size_ = size; }

    /// Into how many groups most of those whom this peer has heard of have the swarm fall; 0: nobody has
    /// said.
    std::uint32_t groups() const { return groups_; }
    void set_groups(const std::map<PeerId, Progress>& sample);

    /// A step is over: learns from what the members of its group said, from how many they were, and from the
    /// census, which is one claim among those if it has been read.
    void learn_size(const StepGroup& group, std::optional<double> by_census,
                    const std::function<bool(const PeerId&)>& doubted);
    /// After a round for which this peer worked from `begin` to `end`.
    void learn_pace(const StepGroup& group, Samples whole_batch, TimePoint begin, TimePoint end);

    /// The longest that anybody is waited for: twice the time that a batch takes to fill, without the waiting
    /// for those that are late, and a little.
    Duration longest_wait() const;
    /// That the batch of a usual group takes; 0: not known yet. A group of the slowest would hold up all
    /// others that are to meet its members next: after `longest` it makes do with what it has.
    Duration batch_time() const { return from_seconds(batch_seconds_); }
    std::optional<Duration> longest_batch() const;
    /// True for a group of so few members that it may be much quicker than others.
    bool is_thin(const ProgressSettings& settings, std::size_t members) const;
    /// What a group of the usual size gathers, or this one if it is larger.
    double part_of_the_batch(const ProgressSettings& settings, std::size_t members) const;

  private:
    double said_by_most(const StepGroup& group) const;
    double seconds_by_speeds(const StepGroup& group, Samples whole_batch) const;

    double size_ = 1;           ///< peers, this one included
    std::uint32_t groups_ = 0;  ///< 0: unknown
    double batch_seconds_ = 0;  ///< 0: unknown
};

}  // namespace shoal::collective
