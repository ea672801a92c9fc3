#include "shoal/collective/step_group.h"

#include <algorithm>
#include <functional>

#include "shoal/collective/group_partition.h"

namespace shoal::collective {

namespace {

/// More than any group has members; a flood of made-up identities ends here.
constexpr std::size_t kMostGone = 1024;

bool trains(const Progress& peer) {
    return peer.training && peer.role != Role::auxiliary;
}

}  // namespace

std::string group_key(const std::string& run, Step step, std::uint32_t index) {
    return run + "/group/" + std::to_string(value(step)) + "/" + std::to_string(index);
}

StepGroup::StepGroup(Step of_step, std::uint32_t of_groups, const PeerId& self,
                     const ProgressSettings& settings, std::shared_ptr<BrokenPromises> promises)
    : step(of_step),
      groups(of_groups),
      index(group_of(self, of_step, of_groups)),
      key(group_key(settings.run, of_step, index)),
      book(self, settings, std::move(promises)) {}

bool StepGroup::has_place_for(const PeerId& peer) const {
    return group_of(peer, step, groups) == index;
}

bool StepGroup::take(ProgressRecord words, Duration alive_for, TimePoint now) {
    const PeerId peer = words.progress.peer;
    const Step claimed = words.progress.step;
    const bool leaves = !words.goodbye && claimed > step;
    if (leaves && value(claimed) > value(step) + kFarthestGone) return false;
    if (!words.goodbye && next(claimed) < step) return false;
    const bool trained = trains(words.progress);
    if (leaves) words.goodbye = true;  // of this book
    if (!book.accept(words, ProgressBook::Source::directory, alive_for, now)) return false;
    gone.erase(peer);
    if (leaves && trained && gone.size() < kMostGone) gone[peer] = claimed;
    return true;
}

std::vector<PeerId> StepGroup::others() const {
    std::vector<PeerId> all;
    for (const Progress& peer : book.peers())
        if (peer.peer != book.own().peer && trains(peer)) all.push_back(peer.peer);
    return all;
}

std::size_t StepGroup::waited_for() const {
    return book.count_others(
        [this](const Progress& peer) { return trains(peer) && (peer.step == step || book.will_come(peer)); });
}

Step StepGroup::gone_to(bool believes_one) const {
    const std::size_t all = gone.size() + waited_for();
    if (2 * gone.size() <= all || (all == 1 && !believes_one)) return step;
    std::vector<Step> steps;
    for (const auto& [peer, reached] : gone) steps.push_back(reached);
    if (all == 1) return std::min(steps.front(), static_cast<Step>(value(step) + kStepsByOneVoice));
    std::sort(steps.begin(), steps.end(), std::greater<>());
    return steps[all / 2];  // which more than half of all have reached
}

bool StepGroup::is_at_work(bool believes_one) const {
    const std::size_t here = gone.size() + book.count_others([this](const Progress& peer) {
        return trains(peer) && peer.step == step;
    });
    const std::size_t all = gone.size() + waited_for();
    if (here == 0 || (all == 1 && !believes_one)) return false;
    return all < 3 ? here == all : 2 * here > all;
}

}  // namespace shoal::collective
