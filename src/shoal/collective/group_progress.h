// The progress tracker of a swarm that averages in groups (group_partition.h). Where everybody hears
// everybody, n peers say n^2 things; here a peer says what it does to those with whom it averages:
//
//   - It works for a step with the peers of its group of that step. Its record lies in the directory under
//     that group's key, which the group's members watch.
//   - When it begins to work for a step it also says so under the key of its group of the step after it: its
//     members wait for it. When it leaves a group that others may wait in, it says that, too (step_group.h).
//   - A group gathers its part of the target batch, by how many members it has and how large the swarm is.
//   - So there is no barrier of all; peers that mix in every step hold each other back, and together.
//   - The swarm's size and step come from a small sample (group_census.h); the size also from what the
//     members of a group say, and from how many they are.
//
// A peer that finds the swarm at another step is told so by view().step, which is behind its own, too, if it
// has gone on alone from a newer checkpoint. Whom that believes: believed_step(), group_scout.h. States are
// not compared: of a step there is one for each group. Nothing is vouched for (vouchers(), named_by_most()
// say nothing).
#pragma once

#include "shoal/collective/progress.h"

namespace shoal::collective {

/// @param settings  with a group_size
std::shared_ptr<ProgressTracker> make_group_progress_tracker(net::Network& network, dht::Directory& directory,
                                                             Clock& clock, ProgressSettings settings,
                                                             Log log);

}  // namespace shoal::collective
