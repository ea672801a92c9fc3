// Looks where the swarm is, for a peer that averages in groups: reads the census (group_census.h) now and
// then, and sees with its own eyes what that says before it moves anybody who trains.
//
// A peer that trains alone goes to the step of the census if more are in its own group of that step than are
// with it; one in company only if that is more than a step ahead. To an earlier step only a peer that has
// been alone for some steps: it has resumed a newer checkpoint than the swarm's. So keys made for the census
// alone move nobody, and nobody leaves company for fewer.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "shoal/collective/group_census.h"
#include "shoal/collective/progress.h"

namespace shoal::collective {

class GroupScout {
  public:
    /// What a peer is doing.
    struct Place {
        bool trains = false;
        Step step{};
        std::uint32_t groups = 1;  ///< that the swarm falls into
        std::size_t company = 0;   ///< others that are in its group of this step, or coming
        bool long_alone = false;   ///< nobody was, for some steps
        double swarm_size = 1;     ///< as it believes
    };
    /// All are called on the protocol thread, while run() runs.
    struct Questions {
        std::function<Place()> place;
        std::function<bool(const PeerId&)> doubted;
        std::function<void()> looked;  ///< told after each reading
    };

    GroupScout(net::Network& network, dht::Directory& directory, Clock& clock, ProgressSettings settings,
               Log log);

    /// Looks around for ever: often until the peer trains and when asked to, seldom else.
    awaitable<void> run(Questions questions);
    /// Look soon.
    void ask();

    const GroupCensus& census() const { return census_; }
    /// The step that a peer at this one should go to instead.
    std::optional<Step> elsewhere(Step from) const { return from == from_ ? elsewhere_ : std::nullopt; }

  private:
    awaitable<void> until_asked();
    awaitable<void> look_elsewhere(const Questions& questions);

    Clock& clock_;
    ProgressSettings settings_;
    PeerId self_;
    Log log_;
    GroupCensus census_;
    Step from_{};
    std::optional<Step> elsewhere_;
    bool is_asking_ = false;
    Signal asks_;
};

}  // namespace shoal::collective
