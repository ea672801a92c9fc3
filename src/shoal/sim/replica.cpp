#include "shoal/sim/replica.h"

#include <memory>

#include "shoal/base/error.h"
#include "shoal/run/gated_compute.h"
#include "shoal/run/node.h"
#include "shoal/sim/quadratic_compute.h"

namespace shoal::sim {
namespace {

/// A process that starts again must not compute the samples of its last life: so they are numbered at random.
constexpr unsigned kSampleNumberBits = 48;

QuadraticSettings problem(const ReplicaSettings& settings, Random& random) {
    QuadraticSettings quadratic;
    quadratic.width = static_cast<std::size_t>(settings.parameters);
    quadratic.samples = settings.micro_batch;
    // QuadraticCompute lets it take up to the whole jitter longer; here the mean is what counts.
    const double mean = static_cast<double>(settings.micro_batch) / settings.speed;
    quadratic.time = from_seconds(mean * (1 - settings.jitter));
    quadratic.time_jitter = 2 * settings.jitter / (1 - settings.jitter);
    quadratic.first_sample = random.below(std::uint64_t{1} << kSampleNumberBits);
    quadratic.rate = settings.rate;
    return quadratic;
}

/// The parts of a replica, in the order in which they need each other.
class Replica {
  public:
    Replica(run::Node& node, const ReplicaSettings& settings)
        : node_(node),
          random_(settings.seed == 0 ? Random::from_entropy() : Random(settings.seed)),
          compute_(node.id(), node.clock(), random_.split(), std::make_shared<Ledger>(), violations_,
                   problem(settings, random_)),
          gated_(compute_, node.membership()) {
        observers_.add(node.metrics());
        observers_.add(gated_);
    }

    awaitable<void> run() {
        const auto peer = collective::make_training_peer(node_.network(), node_.clock(), node_.averager(),
                                                         node_.progress(), &gated_, node_.transfer_settings(),
                                                         node_.training_settings(), observers_, node_.log());
        const Step start{};
        co_await peer->run(start);
    }

    void check() const {
        if (!violations_->empty()) throw Error(ErrorKind::corrupted, violations_->front());
    }

  private:
    run::Node& node_;
    Random random_;
    std::shared_ptr<std::vector<std::string>> violations_ = std::make_shared<std::vector<std::string>>();
    QuadraticCompute compute_;
    run::GatedCompute gated_;
    run::ObserverList observers_;
};

}  // namespace

void run_replica(const run::RunDefinition& definition, const ReplicaSettings& settings) {
    run::NodeOptions options;
    options.purpose = run::Purpose::training;
    options.log = settings.log;
    std::unique_ptr<Replica> replica;  // before the node: what is left waiting there uses it
    run::Node node(definition, options);
    node.run([&](run::Node& started) {
        replica = std::make_unique<Replica>(started, settings);
        return replica->run();
    });
    if (replica) replica->check();
}

}  // namespace shoal::sim
